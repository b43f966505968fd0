"""A new catalogue of a case store, made of its files and its journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from flare_core.errors import InputError
from flare_core.store import cases_files as files
from flare_core.store import cases_schema as schema
from flare_core.store.cases_place import is_writable
from flare_core.store.cases_rows import Values, add_event, choose, facts_of
from flare_core.store.cases_settle import settle
from flare_core.store.cases_write import tell_found, writing


def rebuild(folder: Path) -> int:
    """Set the catalogue aside and make a new one; return the number of cases.

    Nobody else may use the store meanwhile. Scores are not in the files and have to be computed
    again; everything else comes back: cases, versions, facts, events, statuses, the hold-out.

    Raises
    ------
    InputError
        If the folder holds no store or cannot be written to.
    """
    if not (folder / files.CASES).is_dir() or not is_writable(folder):
        raise InputError(
            "case store",
            str(folder),
            f"a folder with {files.CASES}/ that can be written to",
            "Check the path and its permissions.",
        )
    _set_aside(folder)
    files.make_folders(folder)
    schema.create(folder)
    db = schema.connect(folder, read_only=False)
    try:
        with schema.told(folder):
            return _fill(db, folder)
    finally:
        db.close()


def _set_aside(folder: Path) -> None:
    """Rename the old catalogue and its logs together; they are never deleted."""
    stamp = schema.now()[:23].replace(":", "").replace(".", "")
    for end in ("", "-wal", "-shm", "-journal"):
        old = folder / f"{schema.CATALOGUE}{end}"
        if old.exists():
            files.set_aside(old, folder / f"catalogue-{stamp}.old.sqlite{end}")


def _fill(db: sqlite3.Connection, folder: Path) -> int:
    with writing(db, folder) as write:
        names = sorted(p.name for p in (folder / files.CASES).iterdir() if p.is_dir())
        told = [found for name in ["", *names] for found in settle(db, folder, name, keep=True)]
        journal = files.journal_lines(folder)
        last: dict[str, Values] = {}
        for event in journal:
            if _replayed(db, event):
                last[event["case"]] = event
        for event in last.values():
            _set_status(db, event)
        known = {(event["case"], event["what"], _number(event)) for event in journal}
        for found in told:
            if found not in known:
                tell_found(write, *found)
    return int(db.execute("SELECT count(*) FROM cases").fetchone()[0])


def _number(event: Values) -> int | None:
    return event["version"] if event["what"] in ("labelled", "restored") else None


def _replayed(db: sqlite3.Connection, event: Values) -> bool:
    """Put an event back, and a weight that it changed; False for a line that means nothing here."""
    row = db.execute("SELECT id FROM cases WHERE name = ?", (event.get("case"),)).fetchone()
    if row is None and event.get("case") != "":
        return False
    try:
        add_event(db, event)
        if event["what"] == "weight":
            weight = float(event["detail"])
            db.execute("UPDATE cases SET weight = ? WHERE id = ?", (weight, row["id"]))
    except (sqlite3.Error, ValueError):  # a line that somebody edited
        return False
    return row is not None


def _set_status(db: sqlite3.Connection, event: Values) -> None:
    """Give a case the status it had after its last event, unless newer labels were found."""
    row = db.execute("SELECT * FROM cases WHERE name = ?", (event["case"],)).fetchone()
    version = db.execute(
        "SELECT facts FROM versions WHERE case_id = ? AND number = ?",
        (row["id"], event.get("chosen")),
    ).fetchone()
    if version is not None and row["latest"] == event.get("latest"):
        facts = facts_of(version["facts"], event["case"])
        choose(db, row["id"], event["status"], event["chosen"], facts)
