"""A new catalogue of a case store, made of its files and its journal.

It is built in memory while the old one is locked, looked at, and only then put in the old one's
place, in one transaction. So a rebuild that fails or is killed leaves the store as it was.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from flare_core.cases import files, schema
from flare_core.cases.change import FITS, write_scores
from flare_core.cases.names import is_text, key_of
from flare_core.cases.place import is_writable
from flare_core.cases.rows import Values, add_event, choose, facts_of
from flare_core.cases.scores import is_score, put_scores
from flare_core.cases.settle import put_hold_out, settle
from flare_core.cases.write import Writing, agree, tell_found, writing
from flare_core.cases.written import hold_out_file, journal_lines
from flare_core.errors import InputError

Table = dict[str, dict[str, float]]
"""Case -> name -> score."""


def rebuild(folder: Path) -> int:
    """Make a new catalogue and keep the old one beside; return the number of cases.

    Everything comes back: cases, versions, facts, scores, events, statuses, the hold-out. Scores
    that an older program kept in the catalogue alone come from there, if it can still be read.
    A file that cannot be read is passed over; `CaseStore.verify` names it.

    Raises
    ------
    InputError
        If the folder holds no store or cannot be written to, another program uses it for long, or
        nothing tells the frozen hold-out any more.
    """
    if not (folder / files.CASES).is_dir() or not is_writable(folder):
        raise InputError(
            "case store",
            str(folder),
            f"a folder with {files.CASES}/ that can be written to",
            "Check the path and its permissions.",
        )
    files.make_folders(folder)
    with (
        schema.explaining_errors(folder),
        _locked(folder) as old,
        closing(schema.empty(":memory:")) as fresh,
    ):
        count = _fill(fresh, folder, old)
        _check_sound(fresh)
        if old is None or not _swapped(old, fresh, folder):
            _placed(fresh, folder)
        return count


@contextmanager
def _locked(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """Yield the old catalogue, locked for writing; None if there is none or it is no database."""
    place = folder / schema.CATALOGUE
    if not place.is_file():
        yield None
        return
    with closing(schema.database(place)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            db.row_factory = sqlite3.Row
        except sqlite3.OperationalError:  # busy, or the disk fails
            raise
        except sqlite3.DatabaseError:
            db.close()
            yield None
            return
        try:
            yield db
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _swapped(old: sqlite3.Connection, fresh: sqlite3.Connection, folder: Path) -> bool:
    """Replace everything in the old catalogue in one transaction; False if it is too damaged.

    Whoever has it open goes on with the new one. A file put in its place would not do: the others'
    write-ahead log would be taken for the new one's.
    """
    aside = _aside(folder)
    part = schema.part_beside(aside)
    try:
        _copy_beside(folder, part)
        try:
            _replace_all(old, fresh)
            _check_sound(old)
            os.replace(part, aside)  # before the lock goes: others sweep what is unfinished
            old.execute("COMMIT")
        except sqlite3.OperationalError:  # the disk is full, or fails
            raise
        except sqlite3.DatabaseError:
            return False
        return True
    finally:
        if old.in_transaction:
            old.execute("ROLLBACK")
            aside.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _copy_beside(folder: Path, aside: Path) -> None:
    try:
        with (
            closing(schema.database(folder / schema.CATALOGUE)) as reader,
            closing(schema.database(aside)) as copy,
        ):
            reader.backup(copy)
    except sqlite3.DatabaseError:
        shutil.copyfile(folder / schema.CATALOGUE, aside)


def _replace_all(old: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    query = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    there = old.execute(query).fetchall()
    for kind in ("view", "trigger", "table"):  # indexes go with their tables
        for name in (row[1] for row in there if row[0] == kind):
            old.execute(f'DROP {kind} IF EXISTS "{name.replace(chr(34), chr(34) * 2)}"')
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC"
    for (sql,) in fresh.execute(made).fetchall():  # tables, then indexes
        old.execute(sql)
    for table, names in schema.columns().items():
        rows = (tuple(row) for row in fresh.execute(f"SELECT {', '.join(names)} FROM {table}"))
        places = ", ".join("?" * len(names))
        old.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
    old.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")


def _placed(fresh: sqlite3.Connection, folder: Path) -> None:
    """Put a new catalogue where there is none, or none that SQLite can read.

    In between there is none, which `open_store` says; never one that lacks something.
    """
    target = folder / schema.CATALOGUE
    part, aside = schema.part_beside(target), _aside(folder)
    try:
        with closing(schema.database(part)) as db:
            fresh.backup(db)
        for end in ("", "-wal", "-shm", "-journal"):
            left = Path(f"{target}{end}")
            if left.exists():
                files.set_aside(left, Path(f"{aside}{end}"))
        os.replace(part, target)
        files.sync_folder(folder)
    finally:
        part.unlink(missing_ok=True)


def _aside(folder: Path) -> Path:
    stamp = schema.now()[:23].replace(":", "").replace(".", "")
    return folder / f"catalogue-{stamp}.old.sqlite"


def _check_sound(db: sqlite3.Connection) -> None:
    (line,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if line != "ok":
        raise sqlite3.DatabaseError(str(line))


def _fill(db: sqlite3.Connection, folder: Path, old: sqlite3.Connection | None) -> int:
    scores = _scores_in(old)
    with writing(db, folder, settled=True) as write:
        if old is not None:
            with suppress(sqlite3.DatabaseError, TypeError, ValueError):  # too damaged to tell
                agree(old, write.files)
        names = sorted(p.name for p in (folder / files.CASES).iterdir() if p.is_dir())
        told = [found for name in ["", *names] for found in settle(db, folder, name, keep=True)]
        journal = journal_lines(folder)
        _keep_hold_out(db, folder, old, journal)
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


def _scores_in(old: sqlite3.Connection | None) -> Table:
    """Return case -> name -> value of the scores in an old catalogue, as far as it can be read."""
    query = "SELECT c.name, s.name, s.value FROM scores s JOIN cases c ON c.id = s.case_id"
    table: Table = {}
    if old is not None:
        with suppress(sqlite3.Error):
            for case, name, value in old.execute(query):
                if is_score(name, value):
                    table.setdefault(case, {})[name] = value
    return table


def _keep_hold_out(
    db: sqlite3.Connection, folder: Path, old: sqlite3.Connection | None, journal: list[Values]
) -> None:
    """See that a frozen hold-out is in the new catalogue, though its file is damaged or gone.

    Raises
    ------
    InputError
        If it is not told by the old catalogue or the journal either: without it, a training would
        learn from what it is measured on.
    """
    if db.execute("SELECT 1 FROM hold_out").fetchone():
        return
    frozen = [event for event in journal if event["what"] == "hold-out"]
    patients = _hold_out_in(old) or (_patients(db, frozen[-1]["detail"]) if frozen else [])
    if patients:
        put_hold_out(db, patients)
    elif frozen or os.path.lexists(folder / files.HOLD_OUT):
        hold_out_file(folder)  # says what is wrong with it
        told = f"; the journal says: {frozen[-1]['detail'][:500]}" if frozen else ""
        raise InputError(
            str(folder / files.HOLD_OUT),
            f"no hold-out, though one was frozen{told}",
            '{"patients": ["...", ...]}',
            "Copy it from a backup or write it anew, then rebuild again; nothing was changed.",
        )


def _hold_out_in(old: sqlite3.Connection | None) -> list[str]:
    found: list[str] = []
    if old is not None:
        with suppress(sqlite3.Error):
            found = [row[0] for row in old.execute("SELECT patient FROM hold_out")]
    return found if all(map(is_text, found)) else []


def _patients(db: sqlite3.Connection, detail: str) -> list[str]:
    """Return the patients that an event names, if each is one of the store's."""
    known = {row[0] for row in db.execute("SELECT patient_key FROM cases")}
    told = detail.split(", ")
    return told if all(key_of(patient) in known for patient in told) else []


def _put_back(write: Writing, scores: Table) -> None:
    """Put scores back that are not in the files."""
    for row in write.db.execute("SELECT * FROM cases").fetchall():
        put_scores(write.db, row["id"], scores.get(row["name"], {}), newer=False)
        write_scores(write, row)


def _number(event: Values) -> int | None:
    return event["version"] if event["what"] in ("labelled", "restored") else None


def _replayed(db: sqlite3.Connection, event: Values) -> bool:
    """Put an event back, and what it changed of its case; False if it means nothing here."""
    row = db.execute("SELECT id FROM cases WHERE name = ?", (event["case"],)).fetchone()
    if row is None and event["case"] != "":
        return False
    try:
        weight = float(event["detail"]) if event["what"] == "weight" else None
        add_event(db, event)
    except (sqlite3.Error, ValueError):  # a line that somebody edited
        return False
    if row is not None and weight is not None and 0 <= weight < float("inf"):
        db.execute("UPDATE cases SET weight = ? WHERE id = ?", (weight, row["id"]))
    if row is not None and event["what"] == "patient" and event["detail"]:
        values = (event["detail"], key_of(event["detail"]), row["id"])
        db.execute("UPDATE cases SET patient = ?, patient_key = ? WHERE id = ?", values)
    return row is not None


def _set_status(db: sqlite3.Connection, event: Values) -> None:
    """Give a case the status it had after its last event, unless newer labels were found."""
    row = db.execute("SELECT * FROM cases WHERE name = ?", (event["case"],)).fetchone()
    version = db.execute(
        "SELECT facts FROM versions WHERE case_id = ? AND number = ?",
        (row["id"], event["chosen"]),
    ).fetchone()
    if version is not None and row["latest"] == event.get("latest"):
        facts = facts_of(version["facts"], event["case"])
        if event["status"] in FITS[facts.kind]:
            choose(db, row["id"], event["status"], event["chosen"], facts)
