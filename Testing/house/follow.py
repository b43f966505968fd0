"""Run ``flare`` from a checkout; print the product files that execute a function, first ones first.

    PYTHONPATH=CHECKOUT python follow.py segment scan.nii.gz -o out

What runs while a module is being imported does not count: only what the command does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import flare_core
from flare_core.cli import main as flare

OPTIMISED = 0x1
"""Flag of a function's code object; bodies of modules and classes lack it."""


class Follower:
    """Notes the files below a folder that execute a function.

    Parameters
    ----------
    root : Path
        The checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root) + "/"
        self.files: list[str] = []
        self._seen: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Take one event of `sys.setprofile`."""
        del argument
        name = frame.f_code.co_filename
        if event != "call" or name in self._seen or not name.startswith(self.root):
            return
        if not _is_import(frame, self.root):
            self._seen.add(name)
            self.files.append(name.removeprefix(self.root))


def _is_import(frame: FrameType | None, root: str) -> bool:
    """Whether a frame is part of, or called by, the body of a module or class of the checkout."""
    while frame is not None:
        code = frame.f_code
        if not code.co_flags & OPTIMISED and code.co_filename.startswith(root):
            return True
        frame = frame.f_back
    return False


def main(arguments: Sequence[str]) -> int:
    """Run the command, then print the files it passed, relative to the checkout."""
    follower = Follower(Path(flare_core.__file__).parents[1])
    threading.setprofile(follower)
    sys.setprofile(follower)
    try:
        code = flare(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    print(*follower.files, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
