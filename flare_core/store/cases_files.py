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

import hashlib
import json
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.store.integrity import STALE_S
from flare_core.store.json_fields import read_json

MARK = "store.json"
JOURNAL = "history.jsonl"
HOLD_OUT = "hold_out.json"
CASES = "cases"
CASE_FACTS = "case.json"
SCORES = "scores.json"
LABELS = "labels"
PENDING = "pending"

FORMAT = 1
"""Of the files, in ``store.json``."""

EVENT = {"number", "case", "at", "author", "what", "detail", "version", "status", "chosen"}
"""What every line of the journal says."""

_CHUNK = 2**20


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
        atomic.write_json(folder / MARK, {"what": "FLARESeg case store", "format": FORMAT})


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
        with atomic.atomic_path(place) as part:
            digest, size = _copy(source, part)
        place.chmod(0o444)
        yield Staged(place, digest, size)
    finally:
        remove(place)


def _copy(source: Path, target: Path) -> tuple[str, int]:
    """Copy and hash in one pass; return hash and size."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as old, target.open("wb") as new:
        while chunk := old.read(_CHUNK):
            new.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def remove(path: Path) -> None:
    """Remove a read-only file if it is there."""
    if path.exists():
        path.chmod(stat.S_IWRITE | stat.S_IREAD)  # Windows keeps read-only files
        path.unlink(missing_ok=True)


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
        self._intent.write_text(json.dumps({"case": cases[0], "cases": cases}), "utf-8")

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
            raise FileExistsError(0, "a file of the store is already there", str(target))
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


def _byte_at(stream: Any, place: int) -> bytes:
    stream.seek(place)
    return bytes(stream.read(1))


def journal_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the events of the journal; of those with the same number the last one counts.

    A line without its end, or a number used again, is of a writer that was killed before its
    event was in the catalogue.
    """
    try:
        text = (folder / JOURNAL).read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    events: dict[int, dict[str, Any]] = {}
    for line in text.split("\n")[:-1]:
        with suppress(ValueError, TypeError, AttributeError):  # a line that somebody spoiled
            event = json.loads(line)
            if event.keys() >= EVENT:
                events[int(event["number"])] = event
    return [events[number] for number in sorted(events)]


def intents(folder: Path) -> dict[Path, list[str]]:
    """Return the notes of intent that lie about, and the cases each speaks of."""
    found = {}
    for path in sorted((folder / PENDING).glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # just removed, or cut short:
            note = json.loads(path.read_text("utf-8"))  # nothing was placed yet
            found[path] = list(note["cases"] if "cases" in note else [note["case"]])
    return found


def sweep_pending(folder: Path, older_s: float = STALE_S) -> int:
    """Remove copies and parts of files that killed writers left; return how many."""
    count = 0
    for path in (*(folder / PENDING).glob("*"), *folder.glob(".*.part.*")):
        with suppress(OSError):  # another process may be sweeping too
            if time.time() - path.stat().st_mtime > older_s:
                remove(path)
                count += 1
    return count


def read_object(path: Path) -> dict[str, Any] | None:
    """Return a small JSON file of the store; None if it is missing or damaged."""
    try:
        value = read_json(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError, InputError):
        return None
    return value if isinstance(value, dict) else None


def set_aside(path: Path, place: Path) -> None:
    """Move a file that is in the way to another name; it is never deleted."""
    shutil.move(path, place)
