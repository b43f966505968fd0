"""The catalogue of a case store: an SQLite file that finds what the immutable files hold.

Everything in it can be made again from the files (`cases_rebuild`).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from flare_core.cases.place import is_on_network, offers_locks
from flare_core.errors import InputError

CATALOGUE = "catalogue.sqlite"
"""Its name in the store's folder."""

SCHEMA_VERSION = 2
"""Of the tables below, in SQLite's ``user_version``. Raise it with every change, and say in
`MIGRATIONS` how a store of the version before becomes one of the new."""

BUSY_S = 30.0
"""How long a writer waits for another one."""

TABLES = """
CREATE TABLE cases (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    patient TEXT NOT NULL, patient_key TEXT NOT NULL, source TEXT NOT NULL,
    image TEXT NOT NULL, linked INTEGER NOT NULL, sha256 TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL, grid TEXT NOT NULL, added TEXT NOT NULL, weight REAL NOT NULL,
    status TEXT NOT NULL, latest INTEGER, chosen INTEGER, kind TEXT NOT NULL, organs TEXT NOT NULL,
    absent TEXT NOT NULL DEFAULT '', voxels TEXT NOT NULL DEFAULT ''
);
CREATE INDEX cases_status ON cases (status);
CREATE INDEX cases_patient ON cases (patient_key);
CREATE INDEX cases_voxels ON cases (voxels);
CREATE TABLE versions (
    case_id INTEGER NOT NULL REFERENCES cases (id), number INTEGER NOT NULL, file TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, created TEXT NOT NULL, parent INTEGER,
    facts TEXT NOT NULL, PRIMARY KEY (case_id, number)
);
CREATE TABLE events (
    number INTEGER PRIMARY KEY, case_id INTEGER REFERENCES cases (id), at TEXT NOT NULL,
    author TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL, version INTEGER,
    status TEXT NOT NULL
);
CREATE INDEX events_case ON events (case_id);
CREATE TABLE scores (
    case_id INTEGER NOT NULL REFERENCES cases (id), name TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (case_id, name)
);
CREATE TABLE hold_out (patient_key TEXT PRIMARY KEY, patient TEXT NOT NULL);
"""


def _absent_and_voxels(db: sqlite3.Connection) -> None:
    """Organs known to be absent, from the chosen version's facts; an image's voxels, not known."""
    db.execute("ALTER TABLE cases ADD COLUMN absent TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE cases ADD COLUMN voxels TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX cases_voxels ON cases (voxels)")
    query = (
        "SELECT c.id, v.facts FROM cases c JOIN versions v"
        " ON v.case_id = c.id AND v.number = c.chosen WHERE instr(v.facts, '\"absent\"')"
    )
    for number, facts in db.execute(query).fetchall():
        with suppress(ValueError, TypeError, AttributeError, RecursionError):  # `verify` names it
            keys = json.loads(facts).get("absent") or []
            text = f",{','.join(keys)}," if keys else ""
            db.execute("UPDATE cases SET absent = ? WHERE id = ?", (text, number))


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _absent_and_voxels}
"""Version -> what turns its tables into those of the next version, within one transaction."""


class Database(sqlite3.Connection):
    """One whose errors are SQLite's: it quotes what it stumbled over, which may be no text."""

    def execute(self, *words: Any) -> sqlite3.Cursor:
        """Do as SQLite's own does."""
        with _spelt():
            return super().execute(*words)

    def executemany(self, *words: Any) -> sqlite3.Cursor:
        """Do as SQLite's own does."""
        with _spelt():
            return super().executemany(*words)

    def backup(self, target: sqlite3.Connection) -> None:  # type: ignore[override]
        """Do as SQLite's own does."""
        with _spelt():
            super().backup(target)


class Row(sqlite3.Row):
    """One whose values are numbers, texts and nulls: no column of ours holds anything else."""

    def __new__(cls, cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
        """Refuse bytes, which an SQLite column takes whatever its type."""
        for place, value in enumerate(values):
            if type(value) is bytes:
                name = cursor.description[place][0]
                raise sqlite3.DatabaseError(f"catalogue malformed: bytes in column {name}")
        return super().__new__(cls, cursor, values)


@contextmanager
def _spelt() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        text = error.object.decode("utf-8", "backslashreplace")
        raise sqlite3.DatabaseError(text) from error


def database(place: str | Path, *, uri: bool = False) -> Database:
    """Open an SQLite file, or ``:memory:``."""
    return sqlite3.connect(place, timeout=BUSY_S, isolation_level=None, uri=uri, factory=Database)


def connect(folder: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the catalogue of a store, bring it to this version's form, and return the connection.

    Raises
    ------
    InputError
        If it is damaged, locked for long, or of a newer version.
    """
    with explaining_errors(folder):
        db = _for_reading(folder) if read_only else _for_writing(folder)
        db.row_factory = Row
        return db


def create(folder: Path) -> None:
    """Make an empty catalogue, unless another process was quicker; it appears whole.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    part = part_beside(folder / CATALOGUE)
    with explaining_errors(folder):
        try:
            with closing(empty(part)):
                pass
            _place_new(part, folder / CATALOGUE)
        except (sqlite3.Error, OSError):
            if not (folder / CATALOGUE).exists():  # else another was quicker, and swept this one
                raise
        finally:
            part.unlink(missing_ok=True)


def empty(place: str | Path) -> sqlite3.Connection:
    """Open a new catalogue without cases, in a file or ``:memory:``."""
    db = database(place)
    db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    db.row_factory = sqlite3.Row
    return db


def part_beside(target: Path) -> Path:
    """Return the name of a file that becomes `target`."""
    return target.with_name(f".{uuid.uuid4().hex[:8]}.part.{target.name}")


def _place_new(part: Path, target: Path) -> None:
    """Give a file its name unless that is taken."""
    try:
        os.link(part, target)
    except OSError:  # the name is taken, or a file system without links
        if not target.exists():
            os.rename(part, target)


def version_of(db: sqlite3.Connection) -> int:
    """Return the catalogue's schema version; 0 if it has no tables yet."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def set_journal(db: sqlite3.Connection, folder: Path) -> str:
    """Choose how writes are made safe, and return SQLite's name for it.

    A write-ahead log where all its users are on this machine, a rollback journal on a network.
    """
    mode = "DELETE" if is_on_network(folder) else "WAL"
    with suppress(sqlite3.OperationalError):  # others are at work: theirs stays, and is as safe
        db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute("PRAGMA synchronous = FULL")
    return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def now() -> str:
    """Return this moment, ISO 8601, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@contextmanager
def explaining_errors(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into errors for people."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(folder, str(error)) from error
    except OSError as error:
        raise _error(folder, error.strerror or str(error)) from error
    except UnicodeEncodeError as error:
        raise _error(
            folder, f"text with half of a character: {ascii(error.object[:60])}"
        ) from error
    except OverflowError as error:
        raise _error(folder, f"a number that is too large ({error})") from error


def _for_writing(folder: Path) -> sqlite3.Connection:
    with ExitStack() as on_failure:
        db = database(folder / CATALOGUE)
        on_failure.callback(db.close)
        _check_version(db, folder)
        set_journal(db, folder)
        if version_of(db) < SCHEMA_VERSION:
            _migrate(db, folder)
        _check_tables(db, folder)
        on_failure.pop_all()
        return db


def _for_reading(folder: Path) -> sqlite3.Connection:
    """Open without writing; where SQLite cannot, or the form is old, work on a copy in memory."""
    try:
        uri = f"{(folder / CATALOGUE).resolve().as_uri()}?mode=ro"
        db = database(uri, uri=True)
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # a write-ahead log, which even readers have to write to
        db = _copied(folder)
    _check_version(db, folder)
    if version_of(db) < SCHEMA_VERSION:
        old, db = db, database(":memory:")
        old.backup(db)
        old.close()
        _upgrade(db)
    _check_tables(db, folder)
    return db


def _copied(folder: Path) -> Database:
    memory = database(":memory:")
    with tempfile.TemporaryDirectory() as place:
        for end in ("", "-wal"):
            source = folder / f"{CATALOGUE}{end}"
            if source.exists():
                shutil.copyfile(source, Path(place) / source.name)
        copy = database(Path(place) / CATALOGUE)
        copy.backup(memory)
        copy.close()
    return memory


def _migrate(db: sqlite3.Connection, folder: Path) -> None:
    """Keep a backup beside, then take the tables to this version."""
    backup = folder / f"catalogue-v{version_of(db)}-{now()[:19].replace(':', '')}.sqlite"
    part = part_beside(backup)
    try:
        with closing(database(part)) as copy:
            db.backup(copy)
        os.replace(part, backup)
        _upgrade(db)
    finally:
        part.unlink(missing_ok=True)


def _upgrade(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")  # whoever waited here may find the work done
    with ExitStack() as on_failure:
        on_failure.callback(db.execute, "ROLLBACK")
        for version in range(version_of(db), SCHEMA_VERSION):
            MIGRATIONS[version](db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
        on_failure.pop_all()


@lru_cache(maxsize=1)
def columns() -> dict[str, tuple[str, ...]]:
    """Return the columns that each table has."""
    with closing(empty(":memory:")) as db:
        names = [
            row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: _columns(db, name) for name in names}


def _columns(db: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in db.execute(f'PRAGMA table_info("{table}")'))


def _check_tables(db: sqlite3.Connection, folder: Path) -> None:
    for table, wanted in columns().items():
        lost = [name for name in wanted if name not in _columns(db, table)]
        if lost:
            came = f"catalogue malformed: table {table} without {', '.join(lost)}"
            raise _error(folder, came)


def _check_version(db: sqlite3.Connection, folder: Path) -> None:
    found = version_of(db)
    if found > SCHEMA_VERSION:
        raise InputError(
            "case store",
            f"{folder}, whose catalogue has version {found}",
            f"version {SCHEMA_VERSION} or older",
            "Update FLARESeg on this machine; the store was used by a newer one.",
        )
    if found < 1:
        raise _error(folder, "file is not a database of cases")


REBUILD = "Run `flare cases verify --rebuild --store FOLDER`: the files make a new catalogue."

FREE_SPACE = "Free space on the disk, then try again; nothing was lost."

NO_LOCKS = (
    "This file system offers no file locks (a network mount without them, often). Keep the store on"
    " a local disk, or mount the share with locks; nothing was lost."
)

ACTIONS = (
    ("locked", "Wait until the other program is done, then try again; nothing was lost."),
    ("full", FREE_SPACE),
    ("space", FREE_SPACE),
    ("quota", FREE_SPACE),
    ("half of a character", "Type it again; text from a file must be UTF-8."),
    ("too large", "Give a smaller number."),
    ("not a database", REBUILD),
    ("malformed", REBUILD),
    ("", "Check the folder's permissions and free space, then try again; nothing was lost."),
)
"""Words in what SQLite or the system says -> what to do."""


def damaged(folder: Path, came: str) -> InputError:
    """Error about a catalogue whose rows cannot be; the files make a new one."""
    return _error(folder, f"catalogue malformed: {came}")


def _error(folder: Path, came: str) -> InputError:
    action = next(text for word, text in ACTIONS if word in came)
    if "lock" in came and not offers_locks(folder):  # SQLite takes it for a busy store
        came, action = "no file locks here", NO_LOCKS
    legal = "a store that may be written to, with free space, and is not busy for long"
    return InputError(
        "case store", f"{folder}: {came}", legal, action.replace("FOLDER", str(folder))
    )
