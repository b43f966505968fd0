"""FLARESeg: segmentation of abdominal CT, fast on the computer a clinic already has.

For research use; not a medical device. Importing this package loads neither torch nor SimpleITK;
its names are imported when they are first used.
"""

from __future__ import annotations

import os
import sys

if (
    sys.argv[:1] == ["-m"]
    and "flare_core" in sys.orig_argv
    and not getattr(sys.flags, "safe_path", False)
    and sys.path[0] != __file__.rpartition("flare_core")[0][:-1]
):
    # `python -m flare_core` has put the current folder first. Nothing in it may run, unless we
    # ourselves are there. Done here, before any import, and not where `processes` does it else.
    del sys.path[0]

# A thread that has to wait for another sleeps. torch's OpenMP would have it spin, and beside one
# other busy program a run would take six times as long; it reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME_OF = {
    "segment_ct": "flare_core.segment.pipeline",
    "Settings": "flare_core.segment.settings",
    "Segmentation": "flare_core.segment.pipeline",
    "Volume": "flare_core.imaging.volume",
    "Geometry": "flare_core.imaging.geometry",
    "read_volume": "flare_core.imaging.files",
    "ORGANS": "flare_core.anatomy.organs",
    "InputError": "flare_core.errors",
    "NothingFound": "flare_core.errors",
}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"flare_core has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME_OF[name]), name)
