"""Where programs that tests start look for modules."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def without_tests(path: str) -> str:
    """Return a `PYTHONPATH` without this folder and without empty entries."""
    kept = [each for each in path.split(os.pathsep) if each and Path(each).resolve() != TESTS]
    return os.pathsep.join(kept)
