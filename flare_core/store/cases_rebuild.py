"""A new catalogue of a case store, made of its files and its journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from flare_core.errors import InputError
from flare_core.store import cases_files as files
from flare_core.store import cases_schema as schema
from flare_core.store.cases_place import is_writable
from flare_core.store.cases_rows import Values, add_event, choose, facts_of
from flare_core.store.cases_scores import put_scores, write_file
from flare_core.store.cases_settle import settle
from flare_core.store.cases_write import Writing, tell_found, writing

Table = dict[str, dict[str, float]]
"""Case -> name -> score."""


def rebuild(folder: Path) -> int:
    """Set the catalogue aside and make a new one; return the number of cases.

    Nobody else may use the store meanwhile. Everything comes back: cases, versions, facts, scores,
    events, statuses, the hold-out. Scores that an older program kept in the catalogue alone come
    from there, if it can still be read.

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
    old = _set_aside(folder)
    files.make_folders(folder)
    schema.create(folder)
    db = schema.connect(folder, read_only=False)
    try:
        with schema.told(folder):
            return _fill(db, folder, _scores_in(old) if old else {})
    finally:
        db.close()


def _set_aside(folder: Path) -> Path | None:
    """Rename the old catalogue and its logs together, never deleting them; return its place."""
    stamp = schema.now()[:23].replace(":", "").replace(".", "")
    for end in ("", "-wal", "-shm", "-journal"):
        old = folder / f"{schema.CATALOGUE}{end}"
        if old.exists():
            files.set_aside(old, folder / f"catalogue-{stamp}.old.sqlite{end}")
    aside = folder / f"catalogue-{stamp}.old.sqlite"
    return aside if aside.exists() else None


def _scores_in(catalogue: Path) -> Table:
    """Return case -> name -> value of the scores in an old catalogue, as far as it can be read."""
    query = "SELECT c.name, s.name, s.value FROM scores s JOIN cases c ON c.id = s.case_id"
    table: Table = {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(catalogue)) as db:
        for case, name, value in db.execute(query):
            table.setdefault(case, {})[name] = value
    return table


def _put_back(write: Writing, scores: Table) -> None:
    """Put scores back that are not in the files."""
    for row in write.db.execute("SELECT * FROM cases").fetchall():
        put_scores(write.db, row["id"], scores.get(row["name"], {}), newer=False)
        write_file(write, row)


def _fill(db: sqlite3.Connection, folder: Path, scores: Table) -> int:
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
        _put_back(write, scores)
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
