"""Files that a living process is writing, told from those that a killed one left.

A writer holds a lock on its unfinished file; the system lets go of it however the process ends. So
whoever can take the lock may take the file away, at once and without knowing who wrote it. Where
there are no such locks (Windows, some network systems) only age tells.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flare_core.alive import STALE_S
from flare_core.errors import InputError

if sys.platform != "win32":
    import fcntl

LOCK = "lock"
"""File in a folder that is being filled; its lock stands for the folder."""

SMALL_FILE_S = 60.0
"""No writer of a small file takes so long."""


@contextmanager
def held(path: Path) -> Iterator[BinaryIO]:
    """Make a new file and hold its lock until the block ends; the file stays."""
    stream = _locked_new(path)
    try:
        yield stream
    finally:
        with suppress(OSError):  # whoever wrote has flushed, or failed for this reason before
            stream.close()


@contextmanager
def held_folder(place: Path) -> Iterator[Path]:
    """Make a new folder with a lock in it; what is left of it goes when the block ends."""
    stream = None
    while stream is None:
        place.mkdir()
        with suppress(FileNotFoundError):  # swept before it was locked
            stream = _locked_new(place / LOCK)
    try:
        yield place
    finally:
        stream.close()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def finished_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; it gets that name if the block succeeds.

    What killed writers of the same target left goes first; that of a living one stays.

    Raises
    ------
    InputError
        If `target` is there and not empty, or it cannot be written; it names `target`.
    """
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.part.{target.name}")
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        for left in target.parent.glob(f".????????.part.{glob.escape(target.name)}"):
            remove_abandoned(left)  # also if the target is there: this is its owner's next run
        _check_new(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with held_folder(part):
            yield part
            (part / LOCK).unlink()
            _check_new(target)
            if target.exists():
                target.rmdir()  # empty; Windows renames over nothing
            os.rename(part, target)
    except InputError as error:
        raise InputError(*(text.replace(str(part), str(target)) for text in error.parts)) from error
    except OSError as error:
        raise InputError(
            str(target),
            f"writing failed: {error.strerror or error}",
            "a new folder that may be written to, with free space",
            "Free space or choose another place, then run again; nothing was left behind.",
        ) from error
    finally:
        if not target.exists():
            for folder in made:
                with suppress(OSError):  # not made, or somebody else uses it
                    folder.rmdir()


def _check_new(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise InputError(
            "output", f"{target}, which is not empty", "a new folder", "Name another folder."
        )


def scratch_in(folder: Path) -> AbstractContextManager[Path]:
    """Make a folder for files on their way, as `held_folder` does, under a name of its own."""
    return held_folder(folder / f"{uuid.uuid4().hex}.scratch")


def remove_abandoned(path: Path) -> bool:
    """Remove a file or folder that no living process holds; return whether it went."""
    with suppress(OSError):  # another process may be sweeping too
        if path.is_dir() and not path.is_symlink():
            lock = path / LOCK
            return _with_lock(lock if lock.exists() else path, path)
        return _with_lock(path, path)
    return False


def sweep_parts(target: Path) -> None:
    """Remove what killed writers of a file left beside it; small files take no minute to write."""
    for path in target.parent.glob(f".????????.part.{glob.escape(target.name)}"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > SMALL_FILE_S:
                _take_away(path)


def remove(path: Path) -> None:
    """Remove a read-only file if it is there."""
    if os.path.lexists(path):
        with suppress(OSError):
            path.chmod(stat.S_IWRITE | stat.S_IREAD)  # Windows keeps read-only files
        path.unlink(missing_ok=True)


def _locked_new(path: Path) -> BinaryIO:
    while True:
        stream = path.open("xb")
        if sys.platform == "win32":
            return stream
        with suppress(OSError):  # no locks here: age tells
            fcntl.flock(stream, fcntl.LOCK_EX)  # a sweeper holds it for a moment at most
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        stream.close()  # swept before it was locked


def _with_lock(lock: Path, path: Path) -> bool:
    """Remove `path` while its lock is ours; False if it is another's."""
    if sys.platform == "win32" or lock.is_symlink():
        return _removed_if_old(path)
    number = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return _removed_if_old(path)
    else:
        _take_away(path)
        return True
    finally:
        os.close(number)


def _removed_if_old(path: Path) -> bool:
    if time.time() - path.lstat().st_mtime <= STALE_S:
        return False
    _take_away(path)
    return True


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        remove(path)
