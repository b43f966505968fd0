"""What a living process writes or uses, told from what a killed one left: by locks, at once.

A writer holds the lock of its unfinished file, or of the folder it fills, itself; the system lets
go of it however the process ends. So whoever can take the lock may take the thing away, without
knowing who made it. Where nothing can be locked (Windows, some network systems) only age tells.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flare_core.errors import InputError

if sys.platform != "win32":
    import fcntl

STALE_S = 24 * 3600.0
"""Where there are no locks: what was untouched for this long was left by a killed process."""

SMALL_FILE_S = 60.0
"""No writer of a small file takes so long."""

LOOK_S = 0.1
"""Time between two looks whether another process is done."""

NO_LOCK = -1

BUSY = (errno.EWOULDBLOCK, errno.EACCES)
"""What the system says if another process holds the lock; anything else: there are no locks."""


# --- locks


@contextmanager
def locked(
    path: Path, *, shared: bool = False, waiting: Callable[[], bool] = lambda: False
) -> Iterator[bool | None]:
    """Lock a file or folder itself, which leaves no other file behind.

    Parameters
    ----------
    shared : bool
        Others may share the lock; only who wants it alone is kept out.
    waiting : callable
        Asked, while another process holds the lock, whether to look again.

    Yields
    ------
    bool or None
        Whether it is locked now; None if that cannot be known, as nothing can be locked here.
    """
    number, got = NO_LOCK, None
    while got is None:
        try:
            number, got = _take(path, shared), True
        except BlockingIOError:
            got = None if waiting() else False
        except OSError:
            break
    try:
        yield got
    finally:
        _let_go(number)


@contextmanager
def alone_in(folder: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Be the only process in a folder that does so; yield whether that can be known.

    Parameters
    ----------
    waiting : callable
        Called again and again while another process is in it; may raise to give up.
    """

    def again() -> bool:
        waiting()
        time.sleep(LOOK_S)
        return True

    with locked(folder, waiting=again) as alone:
        yield bool(alone)


def _take(path: Path, shared: bool = False) -> int:
    """Return the number of an open file or folder that is locked now.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    OSError
        If it is not there, a link, or cannot be locked here.
    """
    if sys.platform == "win32":
        raise OSError("no such locks on Windows")
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no waiting for a pipe
    try:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        raise BlockingIOError(*error.args) if error.errno in BUSY else error from None
    return number


def _let_go(number: int) -> None:
    if number != NO_LOCK:
        os.close(number)


def _is_still(path: Path, number: int) -> bool:
    """Whether the locked thing still has its name: a sweeper may have been quicker."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_ino == os.fstat(number).st_ino
    return False


# --- what is being written


@contextmanager
def held_file(path: Path) -> Iterator[BinaryIO]:
    """Make a new file and hold its lock until the block ends; the file stays."""
    stream = _locked_new(path)
    try:
        yield stream
    finally:
        with suppress(OSError):  # whoever wrote has flushed, or failed for this reason before
            stream.close()


@contextmanager
def held_folder(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a folder and hold its lock until the block ends; its name may change meanwhile."""
    folder, number = _locked_folder(make)
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
    with held_folder(lambda: Path(tempfile.mkdtemp(dir=place, prefix=prefix))) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; it gets that name if the block succeeds.

    What killed writers of the same target left goes first; that of a living one stays. On failure
    the hidden folder goes, and so do parents made for it.

    Raises
    ------
    InputError
        If `target` is there and not empty, or it cannot be written; it names `target`.
    """
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.part.{target.name}")
    made = [parent for parent in target.parents if not os.path.exists(parent)]
    try:
        sweep_folders(target)
        _check_new(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with held_folder(lambda: _made(part)):
            yield part
            _check_new(target)
            if os.path.isdir(target):
                target.rmdir()  # empty; Windows renames over nothing
            os.rename(part, target)  # fails, as it must, if somebody else was quicker
    except InputError as error:
        raise InputError(*(text.replace(str(part), str(target)) for text in error.parts)) from error
    except OSError as error:
        raise InputError(
            str(target),
            f"writing failed: {error.strerror or error}",
            "a new folder on a disk with free space, where this user may write",
            "Free space or choose another place, then run again; nothing was left behind.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if not os.path.lexists(target):
            remove_empty(made)


def _check_new(target: Path) -> None:
    if os.path.lexists(target) and not (os.path.isdir(target) and not any(target.iterdir())):
        raise InputError(
            str(target),
            "a folder that is not empty" if target.is_dir() else "a file that exists already",
            "a new folder",
            "Name another folder, or remove this one first.",
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _locked_folder(make: Callable[[], Path]) -> tuple[Path, int]:
    folder = make()
    while True:
        try:
            number = _take(folder)
        except BlockingIOError:  # a sweeper was quicker: it removes the folder now
            time.sleep(LOOK_S / 10)
        except FileNotFoundError:
            folder = make()
        except OSError:  # no locks here
            return folder, NO_LOCK
        else:
            if _is_still(folder, number):
                return folder, number
            _let_go(number)


def _locked_new(path: Path) -> BinaryIO:
    while True:
        stream = path.open("xb")
        if sys.platform == "win32":
            return stream
        with suppress(OSError):  # no locks here: age tells
            fcntl.flock(stream, fcntl.LOCK_EX)  # a sweeper holds it for a moment at most
        if _is_still(path, stream.fileno()):
            return stream
        stream.close()  # swept before it was locked


# --- what was left behind


def sweep(folder: Path, pattern: str, *, files_s: float | None = STALE_S) -> None:
    """Remove what killed processes left under such names; what a living one holds stays.

    Parameters
    ----------
    files_s : float or None
        As for `remove_abandoned`.
    """
    for left in folder.glob(pattern):
        remove_abandoned(left, files_s=files_s)


def sweep_files(target: Path, *, files_s: float | None = SMALL_FILE_S) -> None:
    """Remove what killed writers of the file `target` left beside it."""
    sweep(target.parent, f".????????.part.{glob.escape(target.name)}", files_s=files_s)


def sweep_folders(target: Path) -> None:
    """Remove what killed writers of the folder `target` left beside it."""
    sweep(target.parent, f".????????.part.{glob.escape(target.name)}")


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a folder while its files are written: what killed owners left half-written goes at once.

    Several may write there at the same time; whoever comes second sweeps by age alone.
    """
    with locked(folder) as alone:
        sweep(folder, ".????????.part.*", files_s=0.0 if alone else STALE_S)
        yield


def remove_abandoned(path: Path, *, files_s: float | None = STALE_S) -> bool:
    """Remove a folder, or a file, that no living process holds; return whether it went.

    Parameters
    ----------
    files_s : float or None
        Age from which a file counts as left behind, where writers hold no lock of theirs. None:
        they do (`held_file`), so the lock tells.
    """
    with suppress(OSError):  # another process may be sweeping too
        if path.is_symlink():
            return _removed_if_older(path, STALE_S)
        if files_s is not None and not path.is_dir():
            return _removed_if_older(path, files_s)
        with locked(path) as alone:
            if alone is None:
                return _removed_if_older(path, STALE_S)
            if alone:
                _take_away(path)
            return alone
    return False


def remove(path: Path) -> None:
    """Remove a file, read-only or not, if it is there."""
    if os.path.lexists(path):
        with suppress(OSError):
            path.chmod(stat.S_IWRITE | stat.S_IREAD)  # Windows keeps read-only files
        path.unlink(missing_ok=True)


def remove_empty(folders: list[Path]) -> None:
    """Remove those folders, innermost first, that are there and hold nothing."""
    for folder in folders:
        with suppress(OSError):  # not empty: somebody else uses it
            folder.rmdir()


def _removed_if_older(path: Path, age_s: float) -> bool:
    if time.time() - path.lstat().st_mtime <= age_s:
        return False
    _take_away(path)
    return True


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink() if path.is_symlink() else remove(path)
