"""Who owns a run: looking must not be in the way of the process that is about to."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.rounds.state import _is_locked as looks_locked
from flare_core.train.rounds.state import _locked as locked

LOCK = "lock.sqlite"


def owner(folder: Path) -> sqlite3.Connection:
    db = sqlite3.connect(folder / LOCK, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN EXCLUSIVE")
    return db


def test_a_look_sees_the_owner_and_makes_nothing(tmp_path: Path):
    assert not looks_locked(tmp_path / LOCK) and list(tmp_path.iterdir()) == []
    db = owner(tmp_path)
    assert looks_locked(tmp_path / LOCK)
    db.close()
    assert not looks_locked(tmp_path / LOCK)


def test_a_look_that_lasts_keeps_nobody_from_owning(tmp_path: Path):
    owner(tmp_path).close()
    looker = sqlite3.connect(tmp_path / LOCK, isolation_level=None, check_same_thread=False)
    looker.execute("BEGIN")
    looker.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a shared lock

    def leave() -> None:
        time.sleep(0.2)
        looker.close()

    threading.Thread(target=leave).start()
    with locked(tmp_path / LOCK) as mine:
        assert mine


def test_many_looks_never_take_the_lock(tmp_path: Path):
    owner(tmp_path).close()
    ended = threading.Event()

    def looks() -> None:
        while not ended.is_set():
            looks_locked(tmp_path / LOCK)

    looker = threading.Thread(target=looks)
    looker.start()
    try:
        for _ in range(100):
            with locked(tmp_path / LOCK) as mine:
                assert mine
    finally:
        ended.set()
        looker.join()


def test_a_lock_that_cannot_be_is_no_owner(tmp_path: Path):
    (tmp_path / LOCK).write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="cannot be locked"):
        looks_locked(tmp_path / LOCK)
    with pytest.raises(InputError, match="cannot be locked"), locked(tmp_path / LOCK):
        pass
