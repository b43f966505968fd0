"""One write to a case store: files and catalogue change together, or neither does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from flare_core.cases import files
from flare_core.cases.rows import Values, add_event, last_event, next_event
from flare_core.cases.schema import explaining_errors
from flare_core.cases.settle import settle
from flare_core.cases.written import journal_lines

LATEST = 64
"""Events at the catalogue's end that killed writers and rebuilds may have told otherwise."""


class Writing:
    """A write that is under way: the locked catalogue and the files put in place so far."""

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self.db = db
        self.files = files.Placing(folder)
        self.committing = False
        self.settled: list[Path] = []  # of killed writers; removed at the end

    def tell(self, event: Values) -> None:
        """Put an event into journal and catalogue."""
        if not self.files.announced:
            self.files.announce(event["case"])
        self.files.journal(event)
        add_event(self.db, event)


@contextmanager
def writing(db: sqlite3.Connection, folder: Path, *, settled: bool = False) -> Iterator[Writing]:
    """Lock the catalogue, settle what killed writers left, and commit if the block succeeds.

    Parameters
    ----------
    settled : bool
        Leave what killed writers left as it is: this is not the catalogue to settle it with.

    Raises
    ------
    InputError
        If the catalogue is locked for long, the disk is full, or files cannot be written. Then
        everything is as before.
    """
    with explaining_errors(folder):
        db.execute("BEGIN IMMEDIATE")
        write = Writing(db, folder)
        with ExitStack() as on_failure:
            on_failure.push(partial(_take_back, write))
            if not settled:
                _settle_left(write, folder)
            yield write
            write.committing = True
            db.execute("COMMIT")
            on_failure.pop_all()
        _finish(write)


def _settle_left(write: Writing, folder: Path) -> None:
    notes = files.intents(folder)
    if notes:
        agree(write.db, write.files)
    for note, cases in notes.items():
        for case in cases:
            for name, what, number in settle(write.db, folder, case):
                tell_found(write, name, what, number)
        write.settled.append(note)
    write.settled += files.left_behind(folder)


def agree(db: sqlite3.Connection, placing: files.Placing) -> None:
    """Let the journal end where the catalogue's events end, after a writer was killed.

    What was never committed goes. The reverse happens too: a commit that the killed writer had
    almost done shows itself when SQLite recovers, after somebody has taken its line away.
    """
    folder = placing.folder
    if not files.intents(folder):
        return
    last = last_event(db)
    files.cut_journal(folder, last)
    told = {event["number"]: event for event in journal_lines(folder)}
    first = min(max(told, default=0), last - LATEST)
    query = """SELECT e.number, c.name AS "case", e.at, e.author, e.what, e.detail, e.version,
        e.status, c.chosen, c.latest FROM events e LEFT JOIN cases c ON c.id = e.case_id
        WHERE e.number > ? ORDER BY e.number"""
    for row in db.execute(query, (first,)).fetchall():
        event = {**dict(row), "case": row["case"] or ""}
        if not _same(event, told.get(row["number"])):
            placing.journal(event)  # of lines with one number the last one counts


def _same(event: Values, line: Values | None) -> bool:
    """Whether a line of the journal tells of this event; not what the case has become since."""
    said = ("case", "at", "author", "what", "detail", "version", "status")
    return line is not None and all(event[name] == line[name] for name in said)


def tell_found(write: Writing, case: str, what: str, number: int | None) -> None:
    """Tell of something whole that was found beside the catalogue."""
    query = "SELECT * FROM cases WHERE name = ?"
    row = write.db.execute(query, (case,)).fetchone()
    event = next_event(write.db, row, "", what, "found after an interruption")
    write.tell({**event, "version": number})


def _finish(write: Writing) -> None:
    write.files.done()
    for note in write.settled:
        with suppress(OSError):
            files.remove(note)


def _take_back(
    write: Writing,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """Make everything as it was before, unless the commit had been done when the error came."""
    # Ctrl-C that arrives during the commit is raised after it
    done = write.committing and not write.db.in_transaction and not isinstance(error, sqlite3.Error)
    if done:
        _finish(write)
        return
    write.files.undo()
    if write.db.in_transaction:
        with suppress(sqlite3.Error):
            write.db.execute("ROLLBACK")
