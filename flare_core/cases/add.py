"""What comes into a case store: a scan, a label map, an old version once more."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

from flare_core.cases import files
from flare_core.cases.image import Image, find_image
from flare_core.cases.names import key_of
from flare_core.cases.records import BY_PEOPLE, LabelFacts
from flare_core.cases.rows import Values, facts_of, find_case, insert_case, next_event, version_row
from flare_core.cases.schema import now
from flare_core.cases.settle import case_facts, new_case, put_version, version_facts, version_stem
from flare_core.cases.write import Writing
from flare_core.cases.written import number_of
from flare_core.errors import InputError


def same_image(db: sqlite3.Connection, image: Image, name: str) -> sqlite3.Row | None:
    """Return the case that has this image already; None if the image and the name are new.

    Raises
    ------
    InputError
        If the image is there under another name, or the name belongs to another image.
    """
    row = find_image(db, image)
    if row is not None and row["key"] != key_of(name):
        raise InputError(
            "image",
            f"{name}, whose image is the same as that of case {row['name']}",
            "each image once, under one name",
            f"Use case {row['name']}, or leave this one out.",
        )
    if row is None and db.execute("SELECT 1 FROM cases WHERE key = ?", (key_of(name),)).fetchone():
        raise InputError(
            "name of the case",
            f"{name}, which is the name of another image",
            "a name that is not in the store (capitals do not count)",
            "Choose another name.",
        )
    return row


def check_patient(row: sqlite3.Row, patient: str) -> None:
    """Refuse to take a scan that is there for another patient's; "" and its own name say nothing.

    Raises
    ------
    InputError
        If the patient is another one.
    """
    if patient and key_of(patient) not in (row["patient_key"], row["key"]):
        raise InputError(
            "patient",
            f"{patient} for case {row['name']}, which is there as a scan of {row['patient']}",
            f"{row['patient']}, or nothing: a case stays its patient's, by whom training and hold-"
            "out are parted",
            f"Correct it; if the store's is wrong: `flare cases patient {row['name']} NAME`.",
        )


def insert_scan(write: Writing, values: Values, copy: files.Staged, suffix: str) -> None:
    """Put a scan into the store.

    Parameters
    ----------
    values : dict
        name, patient, source, grid, voxels, weight, linked, author.
    copy : Staged
        The flushed copy in ``pending/``, or the linked file itself.
    """
    folder, name = write.files.folder, values["name"]
    place = folder / files.CASES / name
    if os.path.lexists(place / files.CASE_FACTS):
        raise _in_the_way(place, "the folder of a case that is not in the catalogue")
    write.files.announce(name)
    write.files.make_folder(place / files.LABELS)
    image = copy.path if values["linked"] else place / f"image{suffix}"
    if not values["linked"]:
        write.files.move(copy, image)
    known = {
        **values,
        "image": str(image) if values["linked"] else image.relative_to(folder).as_posix(),
        "sha256": copy.sha256,
        "size": copy.size,
        "added": now(),
    }
    write.files.write(place / files.CASE_FACTS, case_facts(known))
    insert_case(write.db, new_case(known))
    _tell(write, name, values["author"], "added", "linked" if values["linked"] else "")


def insert_labels(
    write: Writing, name: str, copy: files.Staged, facts: LabelFacts, *, once: bool = False
) -> int | None:
    """Put a label map into the store as a case's next version; return its number.

    Parameters
    ----------
    once : bool
        Return None, and add nothing, if a version of the case has the same file.
    """
    row = find_case(write.db, name)
    same = "SELECT 1 FROM versions WHERE case_id = ? AND sha256 = ?"
    if once and write.db.execute(same, (row["id"], copy.sha256)).fetchone():
        return None
    labels = write.files.folder / files.CASES / row["name"] / files.LABELS
    number = _next_number(row, labels)
    target = labels / f"{version_stem(number)}-{copy.sha256[:8]}.nii.gz"
    values = _values(write, target, number, copy.sha256, copy.size)
    write.files.announce(row["name"])
    write.files.move(copy, target)
    write.files.write(_facts_file(target, number), version_facts(values, facts, None))
    put_version(write.db, row["id"], values, facts, chosen=False)
    _tell(write, row["name"], facts.author, "labelled", facts.kind, number)
    return number


def insert_restored(write: Writing, name: str, old: int, author: str, note: str) -> int:
    """Add a version that has an old version's file, and choose it; return its number."""
    row = find_case(write.db, name)
    record = version_row(write.db, row, old)
    path = write.files.folder / record["file"]
    number = _next_number(row, path.parent)
    old_facts = facts_of(record["facts"], row["name"])
    facts = replace(old_facts, author=author, parent=old, note=note)
    values = _values(write, path, number, record["sha256"], record["size"])
    write.files.announce(row["name"])
    write.files.write(_facts_file(path, number), version_facts(values, facts, old))
    put_version(write.db, row["id"], values, facts, chosen=True)
    detail = f"version {old}" + (f": {note}" if note else "")
    _tell(write, row["name"], author, "restored", detail, number)
    return number


def stated_absent(row: sqlite3.Row) -> tuple[str, ...]:
    """Return the organs that a person has said are not in the scan, unless that was rejected."""
    by_person = row["kind"] in BY_PEOPLE and row["status"] != "rejected"
    return tuple(filter(None, row["absent"].split(","))) if by_person else ()


def _next_number(row: sqlite3.Row, labels: Path) -> int:
    """Return a version's number that none has, not even one that can no longer be read."""
    there = [number_of(path) or 0 for path in labels.glob("v*")]
    return max(row["latest"] or 0, *there, 0) + 1


def _in_the_way(place: Path, what: str) -> InputError:
    return InputError(
        "name of the case",
        f"{place.name}: {place} is {what}",
        "a name whose folder is free",
        "Run `flare cases verify`, which says what is wrong with it, or choose another name.",
    )


def _facts_file(labels: Path, number: int) -> Path:
    """Return where the facts of a version are: beside the labels, with its own number."""
    digest = labels.name.partition("-")[2].removesuffix(".nii.gz")
    return labels.with_name(f"{version_stem(number)}-{digest}.json")


def _values(write: Writing, path: Path, number: int, sha256: str, size: int) -> Values:
    file = path.relative_to(write.files.folder).as_posix()
    return {"number": number, "file": file, "sha256": sha256, "size": size, "created": now()}


def _tell(
    write: Writing, name: str, author: str, what: str, detail: str, version: int | None = None
) -> None:
    event = next_event(write.db, find_case(write.db, name), author, what, detail)
    write.tell({**event, "version": version})
