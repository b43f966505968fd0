"""Rows of the catalogue: written, read, filtered, and turned into what the store speaks of."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.cases.names import key_of
from flare_core.cases.records import (
    BY_PEOPLE,
    KINDS,
    STATUSES,
    CaseRecord,
    Event,
    LabelFacts,
    LabelVersion,
)
from flare_core.cases.schema import damaged, now
from flare_core.errors import InputError
from flare_core.json_fields import decode, encode, read_json
from flare_core.wording import many

Values = dict[str, Any]

CASE_COLUMNS = (
    "name", "key", "patient", "patient_key", "source", "image", "linked", "sha256", "size", "grid",
    "added", "weight", "status", "latest", "chosen", "kind", "organs", "absent", "voxels",
)  # fmt: skip

_SELECT = """
SELECT c.*, v.file AS label_file, h.patient IS NOT NULL AS held
FROM cases c LEFT JOIN versions v ON v.case_id = c.id AND v.number = c.chosen
LEFT JOIN hold_out h ON h.patient_key = c.patient_key
"""


def status_after(kind: str, number: int, before: sqlite3.Row | Values) -> tuple[str, int]:
    """Return a case's status and chosen version after labels of `kind` came as version `number`.

    Examples
    --------
    >>> status_after("pseudo", 2, {"status": "corrected", "kind": "corrected", "chosen": 1})
    ('corrected', 1)
    >>> status_after("corrected", 2, {"status": "pseudo", "kind": "pseudo", "chosen": 1})
    ('corrected', 2)
    """
    if kind in BY_PEOPLE:
        return ("accepted" if kind == "expert" else "corrected"), number
    if before["kind"] in BY_PEOPLE and before["status"] != "rejected":
        return before["status"], before["chosen"]
    return "pseudo", number


def insert_case(db: sqlite3.Connection, values: Values) -> int:
    """Add a row to the cases; return its id. `values` has all of CASE_COLUMNS."""
    places = ", ".join(f":{name}" for name in CASE_COLUMNS)
    found = db.execute(f"INSERT INTO cases ({', '.join(CASE_COLUMNS)}) VALUES ({places})", values)
    return int(found.lastrowid or 0)


def insert_version(db: sqlite3.Connection, case_id: int, values: Values) -> None:
    """Add a row to the versions: number, file, sha256, size, created, parent, facts."""
    db.execute(
        "INSERT INTO versions VALUES"
        " (:case_id, :number, :file, :sha256, :size, :created, :parent, :facts)",
        {"case_id": case_id, **values},
    )


def choose(
    db: sqlite3.Connection, case_id: int, status: str, number: int, facts: LabelFacts
) -> None:
    """Make a version the one that a case's status, kind and organs speak of."""
    db.execute(
        "UPDATE cases SET status = ?, chosen = ?, kind = ?, organs = ?, absent = ? WHERE id = ?",
        (status, number, facts.kind, listed(facts.annotated), listed(facts.absent), case_id),
    )


def last_event(db: sqlite3.Connection) -> int:
    """Return the number of the last event; 0 before the first."""
    return int(db.execute("SELECT max(number) FROM events").fetchone()[0] or 0)


def next_event(
    db: sqlite3.Connection, case: sqlite3.Row | None, author: str, what: str, detail: str = ""
) -> Values:
    """Return the next event as plain values; `add_event` puts it into the catalogue."""
    return {
        "number": last_event(db) + 1, "case": case["name"] if case else "", "at": now(),
        "author": author, "what": what, "detail": detail,
        "version": case["chosen"] if case else None,
        "status": case["status"] if case else "", "chosen": case["chosen"] if case else None,
        "latest": case["latest"] if case else None,
    }  # fmt: skip


def add_event(db: sqlite3.Connection, event: Values) -> None:
    """Put an event into the catalogue; its case must be there."""
    db.execute(
        "INSERT INTO events SELECT :number, (SELECT id FROM cases WHERE name = :case), :at,"
        " :author, :what, :detail, :version, :status",
        event,
    )


def find_case(db: sqlite3.Connection, name: str) -> sqlite3.Row:
    """Return the row of a case.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    row: sqlite3.Row | None = db.execute(
        f"{_SELECT} WHERE c.key = ?", (key_of(str(name)),)
    ).fetchone()
    if row is None:
        count = db.execute("SELECT count(*) FROM cases").fetchone()[0]
        raise InputError(
            "case", repr(str(name)[:100]), f"the name of one of the store's {many(count, 'case')}",
            "See `flare cases list`.",
        )  # fmt: skip
    return row


def version_row(db: sqlite3.Connection, case: sqlite3.Row, number: int) -> sqlite3.Row:
    """Return the row of a label version.

    Raises
    ------
    InputError
        If the case has no version of that number.
    """
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM versions WHERE case_id = ? AND number = ?", (case["id"], number)
    ).fetchone()
    if row is None:
        legal = f"1 to {case['latest']}" if case["latest"] else "none: the case has no labels yet"
        raise InputError(
            "version", f"{number} of case {case['name']}", legal,
            f"See `flare cases history {case['name']}`.",
        )  # fmt: skip
    return row


def select_cases(
    db: sqlite3.Connection, conditions: Sequence[str], values: Sequence[Any], span: tuple[int, int]
) -> list[sqlite3.Row]:
    """Return rows of cases by name; `span` is (limit or -1, offset)."""
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{_SELECT} {where} ORDER BY c.key LIMIT ? OFFSET ?"
    return db.execute(query, (*values, *span)).fetchall()


def conditions_of(
    status: str | Sequence[str] | None,
    organ_name: str | None,
    kind: str | Sequence[str] | None,
    text: str | None,
    held_out: bool | None,
) -> tuple[list[str], list[Any]]:
    """Return the SQL conditions of a filter and their values.

    Raises
    ------
    InputError
        If a status, kind or organ is unknown.
    """
    conditions: list[str] = []
    values: list[Any] = []
    for column, wanted, legal in (("status", status, STATUSES), ("kind", kind, KINDS)):
        if wanted is not None:
            several = (wanted,) if isinstance(wanted, str) else tuple(wanted)
            check_among(column, several, legal)
            conditions.append(f"c.{column} IN ({', '.join('?' * len(several))})")
            values += several
    if organ_name is not None:
        conditions.append("instr(c.organs, ?)")
        values.append(f",{organ(organ_name).key},")
    if text:
        conditions.append("instr(c.key || char(10) || c.patient_key || char(10) ||"
                          " lower(c.source), ?)")  # fmt: skip
        values.append(key_of(text))
    if held_out is not None:
        conditions.append(f"h.patient IS {'NOT ' if held_out else ''}NULL")
    return conditions, values


def check_among(argument: str, came: Sequence[str], legal: Sequence[str]) -> None:
    """Refuse words that are not among the legal ones."""
    for word in came:
        if word not in legal:
            raise InputError(
                argument, repr(word), f"one of {', '.join(legal)}", "Choose one of these."
            )


def record_of(row: sqlite3.Row, folder: Path) -> CaseRecord:
    """Turn a row into a record.

    Raises
    ------
    InputError
        If the row holds what cannot be.
    """
    try:
        return _record_of(row, folder)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(folder, f"case {row['name']!r}: {error}") from error


def _record_of(row: sqlite3.Row, folder: Path) -> CaseRecord:
    numbers = row["grid"].split()
    z, y, x = (int(n) for n in numbers[:3])
    dz, dy, dx = (float(n) for n in numbers[3:])
    label_file = row["label_file"]
    return CaseRecord(
        row["name"],
        Path(row["image"]) if row["linked"] else folder / row["image"],
        row["sha256"],
        row["patient"],
        row["source"],
        row["status"],
        bool(row["linked"]),
        row["added"],
        bool(row["held"]),
        row["latest"],
        row["chosen"],
        row["kind"],
        tuple(filter(None, row["organs"].split(","))),
        row["weight"],
        (z, y, x),
        (dz, dy, dx),
        folder / label_file if label_file else None,
        tuple(filter(None, row["absent"].split(","))),
    )


def version_record(row: sqlite3.Row, case: str, folder: Path) -> LabelVersion:
    """Turn a row into a label version."""
    try:
        facts = facts_of(row["facts"], f"{case}, version {row['number']}")
        file = folder / row["file"]
    except (TypeError, ValueError, AttributeError) as error:
        why = "; ".join(error.parts[:2]) if isinstance(error, InputError) else str(error)
        raise damaged(folder, f"{case}, version {row['number']}: {why}") from error
    return LabelVersion(case, row["number"], file, row["sha256"], facts, row["created"])


def event_record(row: sqlite3.Row) -> Event:
    """Turn a row into an event."""
    return Event(
        row["number"], row["case_name"] or "", row["at"], row["author"], row["what"],
        row["detail"], row["version"], row["status"],
    )  # fmt: skip


def scores_of(db: sqlite3.Connection, case_id: int) -> dict[str, float]:
    """Return the scores of a case by name."""
    query = "SELECT name, value FROM scores WHERE case_id = ? ORDER BY name"
    return {each["name"]: each["value"] for each in db.execute(query, (case_id,))}


def files_before(db: sqlite3.Connection) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return, for cases whose chosen labels a person corrected, what was corrected.

    Labels that were corrected in several sittings differ from the map before the first one. Where a
    model completed them since, what the person corrected still counts.

    Returns
    -------
    dict
        Case -> the file before the correction, and the organs that the person looked at.
    """
    rows = db.execute(
        "SELECT c.name, c.chosen, v.number, v.parent, v.file, v.facts FROM versions v"
        " JOIN cases c ON c.id = v.case_id WHERE c.kind != 'expert'"
    ).fetchall()
    versions = {(row["name"], row["number"]): row for row in rows}
    result = {}
    for name, chosen in {(row["name"], row["chosen"]) for row in rows}:
        row = _persons(versions, name, chosen)
        if row is None:
            continue
        older = versions.get((name, row["parent"]))
        while older is not None and _corrects(older, name):
            older = versions.get((name, older["parent"]))
        if older is not None and older["file"] != row["file"]:
            result[name] = older["file"], facts_of(row["facts"], name).annotated
    return result


def _persons(
    versions: Mapping[tuple[str, int], sqlite3.Row], case: str, chosen: int | None
) -> sqlite3.Row | None:
    """Return the corrected version that the chosen one is, or completes; None if there is none."""
    row = versions.get((case, chosen)) if chosen is not None else None
    while row is not None and facts_of(row["facts"], case).kind not in BY_PEOPLE:
        row = versions.get((case, row["parent"]))
    return row if row is not None and facts_of(row["facts"], case).kind == "corrected" else None


def _corrects(version: sqlite3.Row, case: str) -> bool:
    """Whether a version is itself the correction of an earlier one."""
    earlier = version["parent"] is not None and version["parent"] < version["number"]
    return earlier and facts_of(version["facts"], case).kind == "corrected"


def events_of(db: sqlite3.Connection, case: str | None) -> tuple[Event, ...]:
    """Return the events of a case, or all, the oldest first.

    Raises
    ------
    InputError
        If there is no such case.
    """
    where, values = ("", ()) if case is None else ("WHERE c.id = ?", (find_case(db, case)["id"],))
    query = f"""SELECT e.*, c.name AS case_name FROM events e
        LEFT JOIN cases c ON c.id = e.case_id {where} ORDER BY e.number"""
    return tuple(event_record(row) for row in db.execute(query, values))


def facts_of(text: str, where: str) -> LabelFacts:
    """Read facts from JSON text.

    Raises
    ------
    InputError
        If they are not legal.
    """
    return decode(LabelFacts, read_json(text, where), where)


def is_facts(text: object) -> bool:
    """Whether a value is what `facts_of` can read."""
    try:
        facts_of(str(text), "facts")
    except InputError:
        return False
    return True


def facts_text(facts: LabelFacts) -> str:
    """Write facts as JSON text on one line.

    Raises
    ------
    InputError
        If settings or evidence hold what JSON has no word for.
    """
    try:
        text = json.dumps(encode(facts), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
        read_json(text, "facts")  # what could not be read again is not written
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "facts", ascii(str(error))[1:-1],
            "text, finite numbers, true, false, null, lists and objects",
            "Convert settings and evidence to these first (NaN becomes null).",
        ) from error  # fmt: skip


def listed(keys: Sequence[str]) -> str:
    """Return organ keys as one text that `instr` can look into.

    Examples
    --------
    >>> listed(["liver", "spleen"])
    ',liver,spleen,'
    """
    return f",{','.join(keys)}," if keys else ""
