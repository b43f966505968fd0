"""Folders that a living process fills, told from those that a killed one left.

A writer holds a lock on its unfinished folder itself; the system lets go of it however the process
ends. So whoever can take the lock may take the folder away, at once and without knowing who made
it. Where folders cannot be locked (Windows, some network systems) only age tells.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

STALE_S = 24 * 3600.0
"""Where there are no locks: what was untouched for this long was left by a killed process."""

LOOK_S = 0.1
"""Time between two looks whether another process is done."""

NO_LOCK = -1


@contextmanager
def held(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a folder and hold its lock until the block ends; its name may change meanwhile."""
    folder, number = _new(make)
    try:
        yield folder
    finally:
        _let_go(number)


@contextmanager
def scratch(place: Path, prefix: str) -> Iterator[Path]:
    """Yield a folder of this process in `place`; it goes when the block ends.

    What killed processes left there under this prefix goes first.
    """
    sweep(place, f"{prefix}*")
    with held(lambda: Path(tempfile.mkdtemp(dir=place, prefix=prefix))) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Be the only process in a folder that does so; yield whether that can be known.

    Parameters
    ----------
    waiting : callable
        Called again and again while another process is in it; may raise to give up.
    """
    number = NO_LOCK
    while sys.platform != "win32" and number == NO_LOCK:
        try:
            number = _locked(folder)
        except BlockingIOError:
            waiting()
            time.sleep(LOOK_S)
        except OSError:
            break
    try:
        yield number != NO_LOCK
    finally:
        _let_go(number)


def sweep(folder: Path, pattern: str) -> None:
    """Remove what killed processes left under such names; what a living one holds stays."""
    for left in folder.glob(pattern):
        with suppress(OSError):  # another process may be sweeping too
            _remove_abandoned(left)


def _new(make: Callable[[], Path]) -> tuple[Path, int]:
    folder = make()
    while True:
        try:
            number = _locked(folder)
        except BlockingIOError:  # a sweeper was quicker: it removes the folder now
            time.sleep(LOOK_S / 10)
        except FileNotFoundError:
            folder = make()
        except OSError:  # no locks here
            return folder, NO_LOCK
        else:
            with suppress(FileNotFoundError):
                if os.stat(folder).st_ino == os.fstat(number).st_ino:
                    return folder, number
            _let_go(number)


def _locked(folder: Path) -> int:
    """Return the number of an open folder that is locked now.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    OSError
        If folders cannot be locked here.
    """
    if sys.platform == "win32":
        raise OSError("folders have no locks on Windows")
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        raise
    return number


def _let_go(number: int) -> None:
    if number != NO_LOCK:
        os.close(number)


def _remove_abandoned(left: Path) -> None:
    if not left.is_dir() or left.is_symlink():
        if time.time() - left.lstat().st_mtime > STALE_S:
            left.unlink()
        return
    try:
        number = _locked(left)
    except BlockingIOError:
        return
    except OSError:
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left)
        return
    try:
        shutil.rmtree(left)
    finally:
        _let_go(number)
