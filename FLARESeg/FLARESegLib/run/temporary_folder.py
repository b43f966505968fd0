"""The folder through which a volume goes to the worker: only ours, and always removed.

It holds a patient's scan, so nobody else on the computer may read it, and a folder that a killed
Slicer has left behind is removed by the next run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from FLARESegLib.qt.event_loop import EventLoop, in_slicer

PREFIX = "FLARESeg-run-"
STALE_S = 24 * 3600.0
"""Age from which a folder is taken for left behind; no run takes that long."""
AGAIN_S = (0.1, 0.5, 2.0, 10.0, 60.0)
"""When removing is tried again: Windows refuses while a process or scanner has a file open."""


def make_folder(parent: Path) -> Path:
    """Make a folder that only this person may read; sweep away old ones.

    Raises
    ------
    OSError
        If `parent` does not exist or may not be written.
    """
    for old in parent.glob(f"{PREFIX}*"):
        if time.time() - old.stat().st_mtime > STALE_S:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))


def remove_folder(folder: Path, loop: EventLoop, again_s: tuple[float, ...] = AGAIN_S) -> None:
    """Remove a folder with all that is in it; if a file is still in use, try again later."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and again_s:
        loop.call_later(again_s[0], lambda: remove_folder(folder, loop, again_s[1:]))


def parent_folder() -> Path:
    """Return Slicer's temporary folder, or the system's."""
    if not in_slicer():
        return Path(tempfile.gettempdir())
    import slicer

    return Path(slicer.app.temporaryPath)
