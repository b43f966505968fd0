"""One write to a case store: files and catalogue change together, or neither does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flare_core.store import cases_files as files
from flare_core.store.cases_rows import Values, add_event, next_event
from flare_core.store.cases_schema import told
from flare_core.store.cases_settle import settle


@dataclass
class Writing:
    """A write that is under way: the locked catalogue and the files put in place so far."""

    db: sqlite3.Connection
    """Within a transaction."""
    files: files.Placing
    """What was put in place."""
    notes: list[Path] = field(default_factory=list)
    """Notes of killed writers that were settled on the way."""

    def tell(self, event: Values) -> None:
        """Put an event into journal and catalogue."""
        self.files.journal(event)
        add_event(self.db, event)


@contextmanager
def writing(db: sqlite3.Connection, folder: Path) -> Iterator[Writing]:
    """Lock the catalogue, settle what killed writers left, and commit if the block succeeds.

    Raises
    ------
    InputError
        If the catalogue is locked for long, the disk is full, or files cannot be written. Then
        everything is as before.
    """
    with told(folder):
        db.execute("BEGIN IMMEDIATE")
        write = Writing(db, files.Placing(folder))
        committing = False
        try:
            _settle_left(write, folder)
            yield write
            committing = True
            db.execute("COMMIT")
        except BaseException as error:
            # Ctrl-C that arrives during the commit is raised after it
            if committing and not db.in_transaction and not isinstance(error, sqlite3.Error):
                _finish(write)
            else:
                _take_back(write)
            raise
        _finish(write)


def _settle_left(write: Writing, folder: Path) -> None:
    for note, case in files.intents(folder).items():
        for name, what, number in settle(write.db, folder, case):
            tell_found(write, name, what, number)
        write.notes.append(note)


def tell_found(write: Writing, case: str, what: str, number: int | None) -> None:
    """Tell of something whole that was found beside the catalogue."""
    query = "SELECT * FROM cases WHERE name = ?"
    row = write.db.execute(query, (case,)).fetchone()
    event = next_event(write.db, row, "", what, "found after an interruption")
    write.tell({**event, "version": number})


def _finish(write: Writing) -> None:
    write.files.done()
    for note in write.notes:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _take_back(write: Writing) -> None:
    write.files.undo()
    if write.db.in_transaction:
        with suppress(sqlite3.Error):
            write.db.execute("ROLLBACK")
