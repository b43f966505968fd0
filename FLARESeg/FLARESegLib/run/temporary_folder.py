"""The folder through which a volume goes to the worker: only ours, and always removed.

It holds a patient's scan, so nobody else on the computer may read it. Its maker holds its lock
(Windows: has a file in it open) as long as it lives: what a killed Slicer has left behind is
removed when Slicer starts the next time, and by the next run.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from flare_core.alive import STALE_S as STALE_S
from flare_core.alive import held_folder, remove_abandoned
from FLARESegLib.qt.event_loop import EventLoop, in_slicer

PREFIX = "FLARESeg-run-"
IN_USE = "in-use"
"""File that the maker holds open, which keeps Windows from removing it."""
AGAIN_S = (0.1, 0.5, 2.0, 10.0, 60.0)
"""When removing is tried again: Windows refuses while a process or scanner has a file open."""

_held: dict[Path, ExitStack] = {}
"""Folders of this process with what keeps sweepers away."""


def make_folder(parent: Path) -> Path:
    """Make a folder that only this person may read; sweep away those of killed processes.

    Raises
    ------
    OSError
        If `parent` does not exist or may not be written.
    """
    sweep(parent)
    with ExitStack() as held:
        make = held_folder(lambda: Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)))
        folder = held.enter_context(make)
        if sys.platform == "win32":
            held.enter_context((folder / IN_USE).open("wb"))
        _held[folder] = held.pop_all()
    return folder


def remove_folder(folder: Path, loop: EventLoop, again_s: tuple[float, ...] = AGAIN_S) -> None:
    """Remove a folder with all that is in it; if a file is still in use, try again later."""
    held = _held.pop(folder, None)
    if held is not None:
        held.close()
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and again_s:
        loop.call_later(again_s[0], lambda: remove_folder(folder, loop, again_s[1:]))


def sweep(parent: Path) -> None:
    """Remove the folders of processes that were killed; those of living ones stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        if folder in _held:
            continue
        mark = folder / IN_USE
        if sys.platform == "win32" and mark.exists():
            with suppress(OSError):  # its maker lives: the file is open
                mark.unlink()
                shutil.rmtree(folder, ignore_errors=True)
        else:
            remove_abandoned(folder)


def sweep_in_background() -> None:
    """Sweep Slicer's temporary folder in a thread; for the start of Slicer, which must not wait."""
    parent = parent_folder()
    threading.Thread(target=sweep, args=(parent,), daemon=True).start()


def parent_folder() -> Path:
    """Return Slicer's temporary folder, or the system's."""
    if not in_slicer():
        return Path(tempfile.gettempdir())
    import slicer

    return Path(slicer.app.temporaryPath)
