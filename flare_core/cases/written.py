"""What the files of a case store say, read strictly: a damaged one is named, never believed.

Any of them may have been edited, cut short or restored from somewhere else. So types, ranges and
places are looked at before a value goes into the catalogue or becomes a path.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from flare_core.cases import files
from flare_core.cases.names import is_text, key_of, safe_name
from flare_core.cases.records import STATUSES, LabelFacts
from flare_core.errors import InputError
from flare_core.json_fields import decode, read_json

T = TypeVar("T")
Values = dict[str, Any]

LARGEST = 64 * 2**20
"""Bytes of a JSON file that is read; our own are a thousand times smaller."""

LONGEST_LINE = 2**24
"""Bytes of a line of the journal."""

MOST = 2**63 - 1
"""Largest number that SQLite holds."""


@dataclass(frozen=True)
class CaseFile:
    """What ``case.json`` says."""

    name: str
    """Of the case."""
    patient: str
    """Whoever was scanned."""
    source: str
    """Collection it comes from."""
    image: str
    """The scan: below the store, or absolute if it is linked."""
    linked: bool
    """Whether it stays outside the store."""
    sha256: str
    """Of the file, 64 hex digits."""
    size: int
    """Of the file, bytes."""
    grid: str
    """Shape and spacing, six numbers."""
    added: str
    """When, ISO 8601."""
    weight: float
    """How often it is drawn."""
    voxels: str = ""
    """Of the voxels, 64 hex digits; empty in files of older programs."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _refuse_odd_text(self)
        _check("name", self.name, safe_name(self.name) == self.name, "a legal name of a case")
        _check("sha256", self.sha256, _is_hash(self.sha256), "64 hex digits")
        _check("size", self.size, 0 <= self.size <= MOST, "bytes")
        _check("grid", self.grid, _is_grid(self.grid), "six numbers")
        _check("weight", self.weight, 0 <= self.weight < math.inf, "0 or more")
        inside = self.linked or _is_below(self.image, files.CASES, self.name)
        _check("image", self.image, inside, f"a file below {files.CASES}/{self.name}")


@dataclass(frozen=True)
class VersionFile:
    """What the JSON beside a label map says."""

    number: int
    """From 1 on."""
    file: str
    """The label map, below the store."""
    sha256: str
    """Of the file, 64 hex digits."""
    size: int
    """Of the file, bytes."""
    created: str
    """When, ISO 8601."""
    restores: int | None = None
    """Version whose file this is, if it is not its own."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields of `LabelFacts`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _refuse_odd_text(self)
        _check("number", self.number, 1 <= self.number <= 10**9, "1 or more")
        _check("sha256", self.sha256, _is_hash(self.sha256), "64 hex digits")
        _check("size", self.size, 0 <= self.size <= MOST, "bytes")
        _check("file", self.file, _is_below(self.file, files.CASES), f"a file below {files.CASES}/")


def case_file(folder: Path, case: str) -> Values | None:
    """Return what ``case.json`` says of a case; None if there is none.

    Raises
    ------
    InputError
        If it is damaged, or speaks of another case.
    """
    path = folder / files.CASES / case / files.CASE_FACTS
    found = _decoded(CaseFile, path)
    if found is None:
        return None
    if key_of(found.name) != key_of(case):
        raise _damaged(path, f"name {found.name}", f"case {case}")
    return asdict(found)


def version_file(path: Path) -> tuple[Values, LabelFacts] | None:
    """Return what the JSON beside a label map says; None if there is none.

    Raises
    ------
    InputError
        If it is damaged, or its name and content disagree.
    """
    found = _decoded(VersionFile, path)
    if found is None:
        return None
    if number_of(path) != found.number:
        raise _damaged(path, f"number {found.number}", "the number in the file's name")
    case = path.parent.parent.name
    if not _is_below(found.file, files.CASES, case, files.LABELS):
        raise _damaged(path, f"file {found.file}", f"a label map of case {case}")
    facts = decode(LabelFacts, found.facts, f"{path}: facts")
    values = asdict(found)
    del values["facts"]
    return values, facts


def number_of(path: Path) -> int | None:
    """Return the number of the version that a file below ``labels/`` belongs to.

    Examples
    --------
    >>> number_of(Path("v0012-1f3a6c02.json")), number_of(Path("notes.txt"))
    (12, None)
    """
    found = re.match(r"v(\d{4,9})-", path.name, re.ASCII)
    return int(found[1]) if found else None


def hold_out_file(folder: Path) -> list[str] | None:
    """Return the patients of the frozen hold-out; None if none was chosen.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / files.HOLD_OUT
    found = read_file(path)
    if found is None:
        return None
    patients = found.get("patients")
    if not isinstance(patients, list) or not patients or not all(map(is_text, patients)):
        raise _damaged(path, "no list of patients", '{"patients": ["...", ...]}')
    return list({key_of(patient): patient for patient in patients}.values())


def mark_file(folder: Path) -> Values | None:
    """Return what ``store.json`` says; None if there is none.

    Raises
    ------
    InputError
        If it is damaged.
    """
    path = folder / files.MARK
    found = read_file(path)
    if found is not None and (found.get("what"), found.get("format")) != (files.WHAT, files.FORMAT):
        raise _damaged(path, ascii(found)[:80], json.dumps(files.THIS))
    return found


def read_file(path: Path) -> Values | None:
    """Return the object in a small JSON file; None if there is no such file.

    Raises
    ------
    InputError
        If it cannot be read, is too large, or holds something else.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, error.strerror or str(error), "a file that can be read") from error
    if len(data) > LARGEST:
        raise _damaged(path, f"more than {LARGEST >> 20} MiB", "a small JSON file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path, f"not UTF-8: {error.reason}", "one JSON object") from error
    value = read_json(text, str(path))
    if not isinstance(value, dict):
        raise _damaged(path, type(value).__name__, "one JSON object")
    return value


def journal_lines(folder: Path) -> list[Values]:
    """Return the events of the journal; of those with the same number the last one counts.

    A line without its end, or a number used again, is of a writer that was killed before its
    event was in the catalogue. Lines that somebody spoiled are passed over.
    """
    events: dict[int, Values] = {}
    with suppress(FileNotFoundError), (folder / files.JOURNAL).open("rb") as stream:
        for line in _whole_lines(stream):
            with suppress(ValueError, RecursionError):
                event = json.loads(line.decode("utf-8", "replace"))
                if _is_event(event):
                    events[event["number"]] = event
    return [events[number] for number in sorted(events)]


def _whole_lines(stream: Any) -> Iterator[bytes]:
    """Yield lines that end and are not absurdly long."""
    whole = True
    while line := stream.readline(LONGEST_LINE):
        ended = line.endswith(b"\n")
        if ended and whole:
            yield line
        whole = ended


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict) or not event.keys() >= files.EVENT:
        return False
    texts = all(
        is_text(event[k], LONGEST_LINE)
        for k in ("case", "at", "author", "what", "detail", "status")
    )
    numbers = all(_is_number(event.get(k), optional=True) for k in ("version", "chosen", "latest"))
    known = event["status"] in ("", *STATUSES) if texts else False
    return texts and numbers and known and _is_number(event["number"])


def _is_number(value: object, *, optional: bool = False) -> bool:
    return (optional and value is None) or (type(value) is int and 0 < value < MOST)


def _decoded(cls: type[T], path: Path) -> T | None:
    found = read_file(path)
    if found is None:
        return None
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    return decode(cls, {k: v for k, v in found.items() if k in known}, str(path))


def _refuse_odd_text(value: Any) -> None:
    for each in fields(value):
        found = getattr(value, each.name)
        if isinstance(found, str):
            _check(each.name, ascii(found[:60]), is_text(found), "text without NUL")


def _check(name: str, came: object, legal: bool, words: str) -> None:
    if not legal:
        raise InputError(name, str(came) or "nothing", words, "Copy the file from a backup.")


def _is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def _is_grid(text: str) -> bool:
    parts = text.split()
    with suppress(ValueError):
        shape, spacing = [int(n) for n in parts[:3]], [float(n) for n in parts[3:]]
        steps = all(0 < n < math.inf for n in spacing)
        return len(parts) == 6 and all(0 < n < 2**31 for n in shape) and steps
    return False


def _is_below(file: str, *folders: str) -> bool:
    """Whether a relative path stays in these folders of the store, whatever it is made of."""
    parts = PurePosixPath(file).parts
    plain = "\\" not in file and ":" not in file and ".." not in parts
    return plain and parts[: len(folders)] == folders and len(parts) > len(folders)


def _damaged(path: Path, came: str, legal: str) -> InputError:
    return InputError(str(path), came, legal, "Copy the file from a backup of the store.")
