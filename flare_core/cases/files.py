"""The files of a case store: immutable, put in place one by one, journalled, never half there.

    store.json                        what this folder is
    catalogue.sqlite                  the index of everything below (`cases_schema`)
    history.jsonl                     one line per event, only ever appended to
    hold_out.json                     patients of the frozen hold-out
    cases/NAME/image.nii.gz           the scan (not if it is linked)
    cases/NAME/case.json              patient, source, hash
    cases/NAME/scores.json            numbers about it; the only file that is ever replaced
    cases/NAME/labels/v0001-1f3a6c02.nii.gz and .json    a label map and its facts
    pending/                          what is being written; empty when nobody writes

Order of a write: the file is copied into ``pending/`` and flushed; then, while the catalogue is
locked, a note of intent, renames to the final names, the journal, the catalogue's commit, and the
note goes. Whoever locks the catalogue next finds the note of a killed writer and settles the case.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flare_core import atomic
from flare_core.alive import held_file, remove, remove_abandoned
from flare_core.cases.names import safe_name
from flare_core.errors import InputError

MARK = "store.json"
JOURNAL = "history.jsonl"
HOLD_OUT = "hold_out.json"
CASES = "cases"
CASE_FACTS = "case.json"
SCORES = "scores.json"
LABELS = "labels"
PENDING = "pending"

SCRATCH = "scratch-"
"""Beginning of the names of folders in ``pending/`` for files on their way."""

UNFINISHED = ".????????.part.*"
"""Names of files that are written beside their place (`flare_core.atomic`)."""

FORMAT = 1
"""Of the files, in ``store.json``."""

WHAT = "FLARESeg case store"

THIS = {"what": WHAT, "format": FORMAT}
"""Content of ``store.json``."""

EVENT = {"number", "case", "at", "author", "what", "detail", "version", "status", "chosen"}
"""What every line of the journal says."""

_CHUNK = 2**20

LONGEST_TAIL = 2**26
"""Bytes of the journal that one write can have made."""


@dataclass(frozen=True)
class Staged:
    """A whole, flushed copy that waits for its final name."""

    path: Path
    """Where it waits, in ``pending/``."""
    sha256: str
    """Of its bytes, 64 hex digits."""
    size: int
    """Bytes."""


def make_folders(folder: Path) -> None:
    """Make the folders of a new store and say in it what it is.

    Raises
    ------
    InputError
        If they cannot be made.
    """
    try:
        for place in (folder / CASES, folder / PENDING):
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "case store",
            f"{folder}: {error.strerror or error}",
            "a folder that can be made and written to",
            "Choose another folder or change its permissions.",
        ) from error
    if not (folder / MARK).exists():
        try:
            atomic.write_json(folder / MARK, THIS)
        except InputError:
            if not (folder / MARK).exists():  # else another process was quicker
                raise


@contextmanager
def staged(folder: Path, source: Path, suffix: str) -> Iterator[Staged]:
    """Copy a file into ``pending/``, read-only and flushed; what is not used goes again.

    Raises
    ------
    InputError
        If it cannot be read or written, or the disk is full.
    """
    place = folder / PENDING / f"{uuid.uuid4().hex}{suffix}"
    try:
        with held_file(place) as stream:
            digest, size = _copy(source, stream, folder)
            place.chmod(0o444)
            if sys.platform == "win32":
                stream.close()  # an open file cannot be moved there
            yield Staged(place, digest, size)
    finally:
        with suppress(OSError):
            remove(place)


def _copy(source: Path, target: BinaryIO, folder: Path) -> tuple[str, int]:
    """Copy and hash in one pass, and flush; return hash and size."""
    digest, size = hashlib.sha256(), 0
    try:
        old = source.open("rb")
    except OSError as error:
        raise unreadable(source, error) from error
    with old:
        while chunk := _next(old, source):
            try:
                target.write(chunk)
            except OSError as error:
                raise unwritable(folder, error) from error
            digest.update(chunk)
            size += len(chunk)
    try:
        target.flush()
        os.fsync(target.fileno())
    except OSError as error:
        raise unwritable(folder, error) from error
    return digest.hexdigest(), size


def _next(stream: BinaryIO, source: Path) -> bytes:
    try:
        return stream.read(_CHUNK)
    except OSError as error:
        raise unreadable(source, error) from error


def unreadable(source: Path, error: OSError) -> InputError:
    """Error about a file that is to come in."""
    return InputError(
        str(source),
        f"reading failed: {error.strerror or error}",
        "a file that this user can read",
        "Check the file, its permissions and its disk, then try again; nothing was added.",
    )


def unwritable(folder: Path, error: OSError) -> InputError:
    """Error about a store that takes no more."""
    return InputError(
        "case store",
        f"{folder}: writing failed: {error.strerror or error}",
        "a folder that may be written to, with free space",
        "Free space or correct the permissions, then try again; nothing was lost.",
    )


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # some network systems refuse
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


class Placing:
    """The files of one write: all put in place, or taken away again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._intent: Path | None = None
        self._placed: list[Path] = []  # in order
        self._replaced: list[tuple[Path, bytes | None]] = []  # and what they held before
        self._journal_size: int | None = None  # bytes before this write

    def announce(self, *cases: str) -> None:
        """Leave a note that something of cases is being written ("" for the store itself)."""
        self._intent = self.folder / PENDING / f"{uuid.uuid4().hex}.json"
        # Not flushed: it outlives a killed process as it is, and after a power cut `verify` finds
        # by looking what the note would have told
        note = {"case": cases[0], "cases": cases, "journal": _size(self.folder / JOURNAL)}
        self._intent.write_text(json.dumps(note), "utf-8")

    @property
    def announced(self) -> bool:
        """Whether there is a note of intent."""
        return self._intent is not None

    def make_folder(self, place: Path) -> None:
        """Make a folder and its parents below the store."""
        for each in (*reversed(place.parents), place):
            if self.folder in each.parents and not each.exists():
                self._placed.append(each)
                each.mkdir()
                sync_folder(each.parent)

    def move(self, file: Staged, target: Path) -> None:
        """Give a staged file its final name, which must be new; `write` flushes the folder."""
        if target.exists():
            raise FileExistsError(errno.EEXIST, f"{target.name} is already there", str(target))
        self._placed.append(target)
        os.rename(file.path, target)

    def write(self, target: Path, text: str) -> None:
        """Write a small file, read-only, under a new name."""
        self._placed.append(target)
        atomic.write_text(target, text)
        target.chmod(0o444)
        sync_folder(target.parent)

    def replace(self, target: Path, text: str) -> None:
        """Give a small file another content."""
        old = target.read_bytes() if target.exists() else None
        self._replaced.append((target, old))
        self._put(target, text.encode("utf-8"))

    def _put(self, target: Path, data: bytes) -> None:
        part = self.folder / PENDING / f"{uuid.uuid4().hex}.part"  # swept if this is killed
        # Not flushed, which would take most of the time of scoring ten thousand cases: what a power
        # cut damages is still in the catalogue, and `verify` writes it again
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def journal(self, line: dict[str, Any]) -> None:
        """Append one line to the history."""
        path = self.folder / JOURNAL
        with path.open("a+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            if self._journal_size is None:
                self._journal_size = size
            torn = size and _byte_at(stream, size - 1) != b"\n"  # a killed writer's last line
            text = json.dumps(line, ensure_ascii=False)
            stream.write((b"\n" if torn else b"") + text.encode("utf-8") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def undo(self) -> None:
        """Take everything away again."""
        with suppress(OSError):
            if self._journal_size is not None:
                os.truncate(self.folder / JOURNAL, self._journal_size)
        for path, data in reversed(self._replaced):
            with suppress(OSError):
                path.unlink(missing_ok=True) if data is None else self._put(path, data)
        for path in reversed(self._placed):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else remove(path)
        self.done()

    def done(self) -> None:
        """Take the note of intent away; everything is in the catalogue, or nothing is there."""
        if self._intent is not None:
            with suppress(OSError):  # the next writer finds it and sees that all is settled
                self._intent.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _byte_at(stream: Any, place: int) -> bytes:
    stream.seek(place)
    return bytes(stream.read(1))


def intents(folder: Path) -> dict[Path, list[str]]:
    """Return the notes of intent that lie about, and the cases each speaks of.

    A note that was cut short speaks of none: nothing had been placed yet. One that somebody
    spoiled must not lead anywhere else.
    """
    found = {}
    for path in sorted((folder / PENDING).glob("*.json")):
        with suppress(FileNotFoundError):  # just removed
            found[path] = _cases_of(path)
    return found


def cut_journal(folder: Path, last: int) -> None:
    """Take away the lines of writers that were killed before their commit.

    Parameters
    ----------
    last : int
        Number of the catalogue's last event, while it is locked.
    """
    journal = folder / JOURNAL
    for size in sorted((_journal_before(note) for note in intents(folder)), reverse=True):
        if not 0 <= size < _size(journal) <= size + LONGEST_TAIL:
            continue
        with journal.open("r+b") as stream:
            stream.seek(size)
            if all(_is_after(line, last) for line in stream.read().split(b"\n") if line):
                stream.truncate(size)


def _journal_before(note: Path) -> int:
    """Return the journal's size before the write that a note tells of; -1 if it does not say."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        size = json.loads(note.read_text("utf-8"))["journal"]
        return size if type(size) is int else -1
    return -1


def _is_after(line: bytes, last: int) -> bool:
    """Whether a line of the journal tells of an event after the last one, or was cut short."""
    try:
        return bool(json.loads(line)["number"] > last)
    except (ValueError, TypeError, KeyError, RecursionError):
        return True


def _cases_of(note: Path) -> list[str]:
    try:
        told = json.loads(note.read_text("utf-8"))
        cases = told["cases"] if "cases" in told else [told["case"]]
        legal = isinstance(cases, list) and all(isinstance(c, str) for c in cases)
        return [c for c in cases if not c or safe_name(c) == c] if legal else []
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def left_behind(folder: Path) -> list[Path]:
    """Return what only the holder of the catalogue's lock writes, without its notes.

    The holder may remove it at once: whoever wrote it is dead.
    """
    return [*(folder / PENDING).glob("*.part"), *folder.glob(".*.part.*")]


def sweep_pending(folder: Path) -> int:
    """Remove copies and folders that killed writers left in ``pending/``; return how many."""
    there = [p for p in (folder / PENDING).glob("*") if p.suffix not in (".json", ".part")]
    return sum(remove_abandoned(path, files_s=None) for path in there)


def set_aside(path: Path, place: Path) -> None:
    """Move a file that is in the way to another name; it is never deleted."""
    shutil.move(path, place)
