"""Run ``flare`` from a checkout; print its files that execute a function, first ones first.

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
    """Notes the files of a package that execute a function.

    What lies beside it in the checkout, as the libraries in its ``.venv`` and the tests, is no
    part of the way; nor does it make an import of what it calls.

    Parameters
    ----------
    package : Path
        The package's folder; files are named with its name first.
    """

    def __init__(self, package: Path) -> None:
        self.package = f"{package}/"
        self._before = f"{package.parent}/"
        self.files: list[str] = []
        self._seen: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Take one event of `sys.setprofile`."""
        del argument
        name = frame.f_code.co_filename
        if event != "call" or name in self._seen or not name.startswith(self.package):
            return
        if not _is_import(frame, self.package):
            self._seen.add(name)
            self.files.append(name.removeprefix(self._before))


def _is_import(frame: FrameType | None, package: str) -> bool:
    """Whether a frame is part of, or called by, the body of a module or class of the package."""
    while frame is not None:
        code = frame.f_code
        if not code.co_flags & OPTIMISED and code.co_filename.startswith(package):
            return True
        frame = frame.f_back
    return False


def main(arguments: Sequence[str]) -> int:
    """Run the command, then print the files it passed, relative to the checkout."""
    follower = Follower(Path(flare_core.__file__).parent)
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
