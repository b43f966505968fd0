from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from core.cases.small_cases import scan
from flare_core.cases import schema
from flare_core.cases.place import is_network_system, is_on_network, is_writable, system_of
from flare_core.cases.store import open_store
from flare_core.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
    return tmp_path / "store"


@pytest.fixture
def newer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of this program, whose cases have one column more."""

    def add_column(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE cases ADD COLUMN ward TEXT NOT NULL DEFAULT 'none'")

    now = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", now + 1)
    monkeypatch.setitem(schema.MIGRATIONS, now, add_column)


def pragma(folder: Path, name: str) -> object:
    db = sqlite3.connect(folder / schema.CATALOGUE)
    try:
        return db.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        db.close()


def test_every_older_version_has_a_way_to_this_one():
    assert set(schema.MIGRATIONS) == set(range(1, schema.SCHEMA_VERSION))


def test_an_older_store_migrates_and_keeps_a_backup(folder: Path, newer_program: None):
    old = pragma(folder, "user_version")
    with open_store(folder) as store:
        assert [case.name for case in store.cases()] == ["a"]
        assert store._db.execute("SELECT ward FROM cases").fetchone()[0] == "none"
    (backup,) = folder.glob(f"catalogue-v{old}-*.sqlite")
    db = sqlite3.connect(backup)
    assert db.execute("PRAGMA user_version").fetchone()[0] == old
    assert [row[0] for row in db.execute("SELECT name FROM cases")] == ["a"]
    db.close()
    with open_store(folder) as store:
        assert store.verify() == ()
    assert len(list(folder.glob("catalogue-v*.sqlite"))) == 1, "no second migration"


def test_an_older_store_is_read_without_being_changed(
    folder: Path, newer_program: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flare_core.cases.store.is_writable", lambda _: False)
    old = pragma(folder, "user_version")
    with open_store(folder) as store:
        assert store.read_only and "for reading" in repr(store)
        assert store._db.execute("SELECT ward FROM cases").fetchone()[0] == "none"
    assert pragma(folder, "user_version") == old


def test_a_migration_that_fails_changes_nothing(
    folder: Path, newer_program: None, monkeypatch: pytest.MonkeyPatch
):
    old = pragma(folder, "user_version")

    def fails(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE cases ADD COLUMN half TEXT")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setitem(schema.MIGRATIONS, old, fails)
    with pytest.raises(InputError, match="nothing was lost"):
        open_store(folder)
    assert pragma(folder, "user_version") == old
    monkeypatch.undo()
    with open_store(folder) as store:
        assert store.verify() == ()


def test_a_newer_store_is_refused(folder: Path):
    db = sqlite3.connect(folder / schema.CATALOGUE)
    db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(InputError, match="Update FLARESeg"):
        open_store(folder)


def test_another_database_is_refused(tmp_path: Path):
    sqlite3.connect(tmp_path / schema.CATALOGUE).execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(InputError, match="--rebuild"):
        open_store(tmp_path)


def test_a_log_at_home_and_a_journal_on_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema, "is_on_network", lambda _: False)
    with open_store(folder) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    monkeypatch.setattr(schema, "is_on_network", lambda _: True)
    with open_store(folder) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        store.set_weight("a", 2.0)
        assert not (folder / f"{schema.CATALOGUE}-wal").exists()
    assert open_store(folder).case("a").weight == 2.0


def test_a_store_that_is_busy_for_long(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    with open_store(folder) as store:
        other = sqlite3.connect(folder / schema.CATALOGUE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="Wait until the other program is done"):
            store.set_weight("a", 2.0)
        assert [case.name for case in store.cases()] == ["a"], "reading goes on"
        other.execute("COMMIT")
        other.close()
        assert store.set_weight("a", 2.0).weight == 2.0


def test_which_folders_are_on_a_network(tmp_path: Path):
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\n"
        "nas:/share /mnt/my\\040share nfs4 rw 0 0\n"
        "me@host: /home/me/remote fuse.sshfs rw 0 0\n"
        "//pc/x /mnt/x cifs rw 0 0\nshort\n"
    )
    kinds = {
        path: is_network_system(system_of(path, mounts))
        for path in ("/data", "/mnt/my share/store", "/home/me/remote", "/home/me", "/mnt/x/y")
    }
    assert list(kinds.values()) == [False, True, True, False, True]
    assert not is_on_network(Path(__file__)) or is_on_network(Path("/"))


def test_a_folder_that_is_not_there_is_not_writable(tmp_path: Path):
    assert is_writable(tmp_path) and not is_writable(tmp_path / "none")
