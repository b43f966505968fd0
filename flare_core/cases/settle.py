"""Agreement between the files of a case store and its catalogue: what is there and not listed.

A writer that was killed left a note of intent. Whoever holds the catalogue's lock next settles that
case: what is whole is taken in, what is not was never promised to anybody and goes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from flare_core.cases import files
from flare_core.cases.names import key_of
from flare_core.cases.records import LabelFacts
from flare_core.cases.rows import (
    Values,
    choose,
    facts_text,
    insert_case,
    insert_version,
    status_after,
)
from flare_core.cases.scores import put_scores, read_scores
from flare_core.cases.written import case_file, hold_out_file, number_of, version_file
from flare_core.errors import InputError

Events = list[tuple[str, str, int | None]]
"""Case, ``added``, ``labelled`` or ``restored``, and the version: what was taken in."""


def settle(db: sqlite3.Connection, folder: Path, case: str, *, keep: bool = False) -> Events:
    """Take in what is whole of a case and not in the catalogue; remove the rest.

    Parameters
    ----------
    db : connection
        Within a transaction that holds the lock for writing.
    folder : Path
        The store.
    case : str
        Name of the case; "" for what concerns the store itself: the hold-out.
    keep : bool
        Remove nothing.

    Returns
    -------
    list
        What was taken in, in order.
    """
    if not case:
        return _settle_hold_out(db, folder)
    place = folder / files.CASES / case
    events: Events = []
    if _case_id(db, case) is None:
        if not _take_case(db, folder, place):
            if not keep:
                _clear(place)
            return events
        events.append((case, "added", None))
    case_id = _case_id(db, case)
    assert case_id is not None  # just looked up or put in
    for facts_file in sorted((place / files.LABELS).glob("v*.json")):
        events += _take_version(db, folder, case_id, facts_file)
    put_scores(db, case_id, read_scores(place / files.SCORES), newer=not keep)
    if not keep:
        for path in place.glob(files.UNFINISHED):
            files.remove(path)
        _clear_labels(db, folder, case_id, place / files.LABELS)
    return events


def case_facts(values: Values) -> str:
    """Return what ``case.json`` says of a case."""
    known = ("name", "patient", "source", "image", "linked", "sha256", "size", "grid", "added",
             "weight", "voxels")  # fmt: skip
    return json.dumps({key: values[key] for key in known}, indent=1, ensure_ascii=False) + "\n"


def new_case(values: Values) -> Values:
    """Complete what ``case.json`` says to a row of the catalogue: a case without labels."""
    return {
        "voxels": "", **values,
        "key": key_of(values["name"]), "patient_key": key_of(values["patient"]),
        "linked": int(values["linked"]), "status": "unlabelled", "latest": None, "chosen": None,
        "kind": "", "organs": "", "absent": "",
    }  # fmt: skip


def version_facts(values: Values, facts: LabelFacts, restores: int | None) -> str:
    """Return what the JSON beside a label map says."""
    known = ("number", "file", "sha256", "size", "created")
    record = {key: values[key] for key in known} | {"restores": restores}
    record["facts"] = json.loads(facts_text(facts))
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def version_stem(number: int) -> str:
    """Return how the file names of a version start.

    Examples
    --------
    >>> version_stem(3)
    'v0003'
    """
    return f"v{number:04d}"


def put_version(
    db: sqlite3.Connection, case_id: int, values: Values, facts: LabelFacts, *, chosen: bool
) -> str:
    """Put a label version into the catalogue; return the case's status afterwards.

    Parameters
    ----------
    values : dict
        number, file, sha256, size, created.
    chosen : bool
        Whether it is the one to learn from whatever was there; otherwise its kind decides.
    """
    more = {"parent": facts.parent, "facts": facts_text(facts)}
    insert_version(db, case_id, {**values, **more})
    row = db.execute("SELECT * FROM cases WHERE id = ?", (case_id,)).fetchone()
    nothing = {"status": "unlabelled", "kind": "", "chosen": None}
    status, number = status_after(facts.kind, values["number"], nothing if chosen else row)
    if number == values["number"]:
        choose(db, case_id, status, number, facts)
    db.execute("UPDATE cases SET latest = ? WHERE id = ?", (values["number"], case_id))
    return status


def _case_id(db: sqlite3.Connection, case: str) -> int | None:
    row = db.execute("SELECT id FROM cases WHERE key = ?", (key_of(case),)).fetchone()
    return None if row is None else int(row["id"])


def _settle_hold_out(db: sqlite3.Connection, folder: Path) -> Events:
    if db.execute("SELECT 1 FROM hold_out").fetchone():
        return []
    with suppress(InputError):  # `verify` names a damaged one
        patients = hold_out_file(folder)
        if patients:
            put_hold_out(db, patients)
            return [("", "hold-out", None)]
    return []


def put_hold_out(db: sqlite3.Connection, patients: list[str]) -> None:
    """Put the patients of the frozen hold-out into the catalogue."""
    rows = [(key_of(patient), patient) for patient in patients]
    db.executemany("INSERT INTO hold_out VALUES (?, ?)", rows)


def _take_case(db: sqlite3.Connection, folder: Path, place: Path) -> bool:
    values = None
    with suppress(InputError):  # `verify` names a damaged one
        values = case_file(folder, place.name)
    if values is None:
        return False
    if not values["linked"] and not (folder / values["image"]).is_file():
        return False
    query = "SELECT 1 FROM cases WHERE sha256 = ? OR key = ?"
    if db.execute(query, (values["sha256"], key_of(values["name"]))).fetchone():
        return False
    insert_case(db, new_case(values))
    return True


def _take_version(db: sqlite3.Connection, folder: Path, case_id: int, path: Path) -> Events:
    found = None
    with suppress(InputError):  # `verify` names a damaged one
        found = version_file(path)
    if found is None or not (folder / found[0]["file"]).is_file():
        return []
    values, facts = found
    there = db.execute(
        "SELECT 1 FROM versions WHERE case_id = ? AND number = ?", (case_id, values["number"])
    ).fetchone()
    if there:
        return []
    restored = values["restores"] is not None
    put_version(db, case_id, values, facts, chosen=restored)
    what = "restored" if restored else "labelled"
    return [(path.parent.parent.name, what, values["number"])]


def _clear(place: Path) -> None:
    """Remove what a killed writer left of a case that is not one: no facts, no labels."""
    facts, labels = place / files.CASE_FACTS, place / files.LABELS
    if os.path.lexists(facts) or not place.is_dir() or (labels.is_dir() and any(labels.iterdir())):
        return  # more than such a writer leaves
    for path in place.glob("*"):
        if path.is_file():
            files.remove(path)
    for path in (labels, place):
        if path.is_dir():
            path.rmdir()


def _clear_labels(db: sqlite3.Connection, folder: Path, case_id: int, labels: Path) -> None:
    """Remove what a killed writer left: unfinished files, and label maps without facts.

    A version's facts come last. Where there are any, the label map was promised, even if somebody
    has spoiled them since.
    """
    rows = db.execute("SELECT file FROM versions WHERE case_id = ?", (case_id,)).fetchall()
    known = {folder / row["file"] for row in rows}
    described = {number_of(path) for path in labels.glob("v*.json")}
    for path in labels.glob("*"):
        number = number_of(path)
        bare = path.name.endswith(".nii.gz") and number is not None and number not in described
        part = path.match(files.UNFINISHED)
        if path not in known and (bare or part) and not path.is_dir():
            files.remove(path)
