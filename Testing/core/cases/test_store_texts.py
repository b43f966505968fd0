"""Texts, places and disks that a store cannot take: four parts, and nothing half done."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.cases.small_cases import LIVER, labels, scan
from flare_core.cases import schema
from flare_core.cases.names import check_name, safe_name
from flare_core.cases.place import offers_locks
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.errors import InputError

NUL, HALF = "a\x00b", "a\udc80b"

LIVER_ONLY = ("liver",)


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    opened = open_store(tmp_path / "store", create=True)
    opened.add_case(scan(tmp_path / "a.nii.gz"), patient="P")
    return opened


Write = Callable[[CaseStore, Path, str], object]

WRITES: dict[str, Write] = {
    "patient": lambda s, f, t: s.add_case(scan(f / "b.nii.gz", 1), patient=t),
    "source": lambda s, f, t: s.add_case(scan(f / "b.nii.gz", 1), source=t),
    "author": lambda s, f, t: s.add_case(scan(f / "b.nii.gz", 1), author=t),
    "facts author": lambda s, f, t: LabelFacts("pseudo", LIVER_ONLY, author=t),
    "facts note": lambda s, f, t: LabelFacts("pseudo", LIVER_ONLY, note=t),
    "facts model": lambda s, f, t: LabelFacts("pseudo", LIVER_ONLY, model=t),
    "status": lambda s, f, t: s.set_status("a", "unlabelled", reason=t),
    "weight": lambda s, f, t: s.set_weight("a", 1.0, author=t),
    "hold-out": lambda s, f, t: s.freeze_hold_out([t]),
    "score": lambda s, f, t: s.set_scores("a", {t: 1.0}),
    "name": lambda s, f, t: s.add_case(scan(f / "b.nii.gz", 1), name=t),
    "case": lambda s, f, t: s.case(t),
    "image": lambda s, f, t: s.add_case(f / f"{t}.nii.gz"),
    "link": lambda s, f, t: s.add_case(f / f"{t}.nii.gz", link=True),
    "store": lambda s, f, t: open_store(f / t, create=True),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("text", [NUL, HALF])
def test_text_that_cannot_be_kept_is_refused(
    store: CaseStore, tmp_path: Path, write: str, text: str
):
    before = store.cases(), store.history()
    with pytest.raises(InputError) as caught:
        WRITES[write](store, tmp_path, text)
    assert all(part.strip() for part in caught.value.parts)
    str(caught.value).encode("utf-8")  # can be shown
    assert "\0" not in str(caught.value)
    assert (store.cases(), store.history()) == before and store.verify() == ()
    assert os.listdir(store.folder / "pending") == []


@pytest.mark.parametrize("value", [HALF, {"x": [HALF]}, float("nan")])
def test_settings_that_cannot_be_kept_are_refused(store: CaseStore, tmp_path: Path, value: Any):
    truth = labels(tmp_path / "t.nii.gz", {LIVER: 5})
    for name in ("settings", "evidence"):
        with pytest.raises(InputError, match="facts"):
            store.add_labels("a", truth, LabelFacts("pseudo", LIVER_ONLY, **{name: {"k": value}}))
    assert store.versions("a") == () and store.verify() == ()


def test_settings_that_are_too_deep_are_refused(store: CaseStore, tmp_path: Path):
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    truth = labels(tmp_path / "t.nii.gz", {LIVER: 5})
    with pytest.raises(InputError, match="facts"):
        store.add_labels("a", truth, LabelFacts("pseudo", LIVER_ONLY, settings=deep))
    assert store.versions("a") == () and store.verify() == ()


def test_numbers_beyond_the_catalogues(store: CaseStore):
    for ask in (
        lambda: store.version("a", 10**30),
        lambda: store.cases(limit=10**30),
        lambda: store.restore("a", 10**30),
        lambda: store.set_scores("a", {"x": 10**400}),
        lambda: store.cases(text=HALF),
    ):
        with pytest.raises(InputError):
            ask()
    assert store.verify() == ()


def test_names_fit_into_a_folder_everywhere():
    """80 signs may be 320 bytes, which no file system has room for."""
    for sign in ("a", "ä", "肝", "\U0001f9e0"):
        name = safe_name(sign * 300)
        assert len(f"{name}_0000.nii.gz".encode()) < 240 and check_name(name) == name
    with pytest.raises(InputError, match="at most 80"):
        check_name("\U0001f9e0" * 80)
    assert safe_name(HALF) == "a_b"


def test_names_and_folders_that_are_too_long(store: CaseStore, tmp_path: Path):
    for long in ("x" * 300, "/".join(["y" * 100] * 60)):
        with pytest.raises(InputError):
            store.add_case(tmp_path / f"{long}.nii.gz")
        with pytest.raises(InputError):
            open_store(tmp_path / long, create=True)
        with pytest.raises(InputError):
            store.add_labels("a", tmp_path / f"{long}.nii.gz", LabelFacts("pseudo", LIVER_ONLY))


def test_a_busy_store_without_locks_says_so(store: CaseStore, monkeypatch: pytest.MonkeyPatch):
    """SQLite takes ENOLCK for a busy store; waiting would not help."""
    fcntl = pytest.importorskip("fcntl")

    def refuses(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuses)
    assert not offers_locks(store.folder)
    with pytest.raises(InputError, match="local disk"), schema.explaining_errors(store.folder):
        raise sqlite3.OperationalError("database is locked")
    monkeypatch.undo()
    assert offers_locks(store.folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_more_is_named(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    other, truth = scan(tmp_path / "b.nii.gz", 1), labels(tmp_path / "t.nii.gz", {LIVER: 5})
    for step in ("os.fsync", "os.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(step, fails)
            for write in (
                lambda: store.add_case(other),
                lambda: store.add_labels("a", truth, LabelFacts("pseudo", LIVER_ONLY)),
            ):
                with pytest.raises(InputError) as caught:
                    write()
                assert os.strerror(number) in str(caught.value)
                assert str(store.folder) in caught.value.parts[1], "the store, no hidden file"
                assert "pending" not in str(caught.value)
    assert [case.name for case in store.cases()] == ["a"] and store.verify() == ()
    assert os.listdir(store.folder / "pending") == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", fails)
        with pytest.raises(InputError, match="Read-only file system"):
            open_store(tmp_path / "new", create=True)
