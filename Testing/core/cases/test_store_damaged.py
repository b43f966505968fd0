"""Somebody spoiled a file: it is named, once, and everything else goes on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.cases import rebuild as cases_rebuild
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import LabelFacts, Problem, open_store
from flare_core.errors import InputError

ORGANS = ("liver", "spleen")

CATALOGUE = "catalogue.sqlite"

WRONG: tuple[Any, ...] = (
    None, True, 7, 1e300, "text", "", [], ["a"], {}, {"name": 5}, {"patients": 3},
    {"patients": []}, {"patients": [[]]}, {"name": "../../x", "image": "/etc/passwd"},
)  # fmt: skip
"""Valid JSON that is nothing a store writes."""

TEXTS = (
    *(json.dumps(value) for value in WRONG), "[" * 20_000, '{"a":' * 20_000, "NaN", "\ufeff{}",
    '{"name": "\\ud800"}', '{"name": "\\u0000"}', "9" * 5000, "\x00" * 100,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which everything happened once."""
    folder = tmp_path_factory.mktemp("made")
    truth = labels(folder / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    edited = labels(folder / "edited.nii.gz", {LIVER: 21, SPLEEN: 4})
    with open_store(folder / "store", create=True) as store:
        store.add_case(scan(folder / "a.nii.gz"), patient="P1")
        store.add_case(scan(folder / "b.nii.gz", 1), patient="P2")
        store.add_labels("a", truth, LabelFacts("pseudo", ORGANS))
        store.add_labels("a", edited, LabelFacts("corrected", ORGANS, parent=1, author="Ada"))
        store.set_weight("b", 2.0)
        store.set_scores("a", {"doubt": 0.5})
        store.freeze_hold_out(["P2"])
    return folder / "store"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


def spoil(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text, "utf-8")


def look(folder: Path) -> tuple[Problem, ...]:
    """Ask a store everything; a traceback is no answer, four parts are."""
    with open_store(folder) as store:
        for case in store.cases():
            store.versions(case.name)
            store.scores(case.name)
        store.history()
        store.hold_out()
        return tuple(p for p in store.verify() if p.wrong)


def facts_of(folder: Path, number: int) -> Path:
    return next((folder / "cases" / "a" / "labels").glob(f"v{number:04d}-*.json"))


@pytest.mark.parametrize("name", ["case.json", "version", "hold_out.json", "store.json"])
def test_one_spoilt_file_is_one_problem(folder: Path, name: str):
    places = {"case.json": folder / "cases/a/case.json", "version": facts_of(folder, 1)}
    path = places.get(name, folder / name)
    whole = path.read_text()
    for text in TEXTS:
        spoil(path, text)
        problems = look(folder)
        assert [(p.kind, path.name in p.what) for p in problems] == [("facts", True)], text[:40]
        assert all(p.action and len(p.what) < 500 for p in problems)
    spoil(path, whole)
    assert look(folder) == ()


@pytest.mark.parametrize(
    ("name", "cases"), [("case.json", 1), ("version", 2), ("hold_out.json", 2), ("store.json", 2)]
)
def test_a_rebuild_passes_over_one_spoilt_file_and_verify_names_it(
    folder: Path, name: str, cases: int
):
    places = {"case.json": folder / "cases/a/case.json", "version": facts_of(folder, 1)}
    path = places.get(name, folder / name)
    whole = path.read_text()
    there = {p for p in (folder / "cases").rglob("*") if p.is_file()}
    for text in ("[]", "[" * 20_000, '{"name": 5, "number": "x", "patients": 3}'):
        spoil(path, text)
        assert rebuild(folder) == cases
        wrong = look(folder)
        assert [(p.kind, path.name in p.what) for p in wrong] == [("facts", True)]
        with open_store(folder) as store:
            assert store.hold_out() == ("P2",), "what is measured on is never learnt from"
    assert {p for p in (folder / "cases").rglob("*") if p.is_file()} == there, "nothing is removed"
    spoil(path, whole)
    with open_store(folder) as store:
        store.verify()
        assert [v.number for v in store.versions("a")] == [1, 2]
    assert look(folder) == ()


def test_spoilt_scores_come_from_the_catalogue(folder: Path):
    for text in (each for each in TEXTS if each not in ('{"name": 5}', '{"patients": 3}')):
        spoil(folder / "cases/a/scores.json", text)
        assert look(folder) == (), text[:40]
        with open_store(folder) as store:
            assert store.score_table() == {"a": {"doubt": 0.5}}


def test_a_number_that_is_taken_on_disk_is_not_given_again(folder: Path, tmp_path: Path):
    """A version whose facts are spoilt is not listed after a rebuild; its files stay."""
    for number in (1, 2):
        spoil(facts_of(folder, number), "[]")
    before = {p: p.read_bytes() for p in (folder / "cases/a/labels").iterdir()}
    rebuild(folder)
    with open_store(folder) as store:
        assert store.versions("a") == ()
        truth = labels(tmp_path / "t.nii.gz", {LIVER: 20, SPLEEN: 5})
        assert store.add_labels("a", truth, LabelFacts("pseudo", ORGANS)).number == 3
    note = folder / "pending" / "note.json"
    note.write_text('{"case": "a", "cases": ["a"]}')  # a writer is killed
    assert len(look(folder)) == 2 and not note.exists()
    assert {p: p.read_bytes() for p in before} == before


def test_a_case_whose_facts_are_spoilt_keeps_its_folder(folder: Path, tmp_path: Path):
    spoil(folder / "cases/a/case.json", "[]")
    rebuild(folder)
    (folder / "pending" / "note.json").write_text('{"case": "a"}')
    assert len(look(folder)) == 1
    with open_store(folder) as store, pytest.raises(InputError, match="not in the catalogue"):
        store.add_case(scan(tmp_path / "x.nii.gz", 9), name="a")
    assert (folder / "cases/a/image.nii.gz").is_file() and facts_of(folder, 2).is_file()


def test_a_note_leads_nowhere_else(folder: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    (mine / "labels").mkdir(parents=True)
    (mine / "thesis.txt").write_text("x")
    for cases in ("../../mine", ["../../mine"], [["a"]], {"a": 1}, 5, [None], "a"):
        (folder / "pending" / "note.json").write_text(json.dumps({"cases": cases}))
        assert look(folder) == ()
    assert (mine / "thesis.txt").exists() and os.listdir(folder / "pending") == []


@pytest.mark.parametrize("change", [
    {"number": "7"}, {"number": -1}, {"number": 10**30}, {"number": True}, {"case": ["a"]},
    {"case": {}}, {"what": []}, {"detail": None}, {"version": "1"}, {"status": "best"},
    {"chosen": 10**30}, {"latest": []}, {"author": "\ud800"}, {"what": "weight", "detail": "nan"},
    {"what": "weight", "detail": "-1"},
])  # fmt: skip
def test_a_spoilt_line_of_the_journal_means_nothing(folder: Path, change: dict[str, Any]):
    line = {"number": 99, "case": "a", "at": "", "author": "", "what": "status", "detail": "",
            "version": 2, "status": "rejected", "chosen": 2, "latest": 2} | change  # fmt: skip
    with open_store(folder) as store:
        before = store.cases()
    with (folder / "history.jsonl").open("a") as journal:
        journal.write("[" * 20_000 + "\n" + json.dumps(line) + "\n")
    if change.get("what") != "weight":
        assert rebuild(folder) == 2
        with open_store(folder) as store:
            assert store.cases() == before
    else:
        rebuild(folder)
        with open_store(folder) as store:
            assert [case.weight for case in store.cases()] == [1.0, 2.0]


STATEMENTS = [
    "PRAGMA user_version = -1", "PRAGMA user_version = -2147483648", "DROP TABLE events",
    "DROP TABLE hold_out", "DROP TABLE scores", "ALTER TABLE cases DROP COLUMN weight",
    "ALTER TABLE versions RENAME COLUMN facts TO f", "UPDATE cases SET grid = 'x y'",
    "UPDATE cases SET grid = x'00ff'", "UPDATE cases SET organs = x'00ff'",
    "UPDATE cases SET image = x'00ff'",
    "UPDATE cases SET absent = x'00ff'", "UPDATE versions SET facts = '[]'",
    "UPDATE versions SET facts = 5", "UPDATE versions SET file = x'00ff'",
    "UPDATE versions SET facts = '{\"kind\": \"pseudo\", \"annotated\": 5}'",
]  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_catalogue_that_cannot_be_is_a_problem_and_rebuilt(folder: Path, statement: str):
    with open_store(folder) as store:
        before = (store.cases(), store.versions("a"), store.history())
    db = sqlite3.connect(folder / CATALOGUE, isolation_level=None)
    db.execute(statement)
    db.close()
    problems: tuple[Problem, ...] = ()
    with pytest.raises(InputError, match="--rebuild"), open_store(folder) as store:
        problems = store.verify()
        store.cases(), store.versions("a"), store.history()
    assert all(p.what and p.action for p in problems)
    assert rebuild(folder) == 2
    with open_store(folder) as store:
        assert (store.cases(), store.versions("a"), store.history()) == before
        assert store.verify() == ()


def test_a_rebuild_that_fails_leaves_the_store_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_store(folder) as store:
        before = (store.cases(), store.history(), store.hold_out())
    files = sorted(p.name for p in folder.iterdir() if "-" not in p.name)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    for step in ("_put_back", "_replace_all", "_copy_beside"):
        with monkeypatch.context() as patch:
            patch.setattr(cases_rebuild, step, full)
            with pytest.raises(InputError, match="Free space"):
                rebuild(folder)
        with open_store(folder) as store:
            assert (store.cases(), store.history(), store.hold_out()) == before, step
        assert sorted(p.name for p in folder.iterdir() if "-" not in p.name) == files
    assert look(folder) == ()


def test_a_rebuild_goes_on_under_open_stores(folder: Path):
    with open_store(folder) as other:
        before = other.cases()
        db = sqlite3.connect(folder / CATALOGUE, isolation_level=None)
        db.execute("DELETE FROM versions")
        db.close()
        assert rebuild(folder) == 2
        assert other.cases() == before and len(other.versions("a")) == 2
        other.set_weight("a", 3.0)
    with open_store(folder) as store:
        assert store.case("a").weight == 3.0 and store.verify() == ()


def test_a_rebuild_waits_for_a_writer(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flare_core.cases.schema.BUSY_S", 0.05)
    other = sqlite3.connect(folder / CATALOGUE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InputError, match="Wait until the other program is done"):
        rebuild(folder)
    other.close()


@pytest.mark.parametrize("damage", [
    lambda data: b"no database" * 1000, lambda data: data[:1000], lambda data: b"",
    lambda data: data[:4096] + bytes(len(data) - 4096),
    lambda data: data[:100] + b"\xff" * (len(data) - 100),
])  # fmt: skip
def test_a_catalogue_that_is_no_database_is_rebuilt(folder: Path, damage: Callable[[bytes], bytes]):
    with open_store(folder) as store:
        before = (store.cases(), store.history())
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = folder / CATALOGUE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="--rebuild"), open_store(folder) as store:
        store.verify()
        store.cases()
    assert rebuild(folder) == 2
    with open_store(folder) as store:
        assert (store.cases(), store.history()) == before and store.verify() == ()


def test_without_any_word_of_the_hold_out_nothing_is_rebuilt(folder: Path):
    db = sqlite3.connect(folder / CATALOGUE, isolation_level=None)
    db.execute("DELETE FROM hold_out")
    db.execute("UPDATE cases SET patient = 'P9', patient_key = 'p9'")
    db.close()
    spoil(folder / "hold_out.json", "{}")
    for path in folder.glob("cases/*/case.json"):
        spoil(path, path.read_text().replace('"P2"', '"P3"'))
    with pytest.raises(InputError, match="hold_out.json"):
        rebuild(folder)


def test_a_writer_in_flight_is_no_orphan(folder: Path, tmp_path: Path):
    """Files that are in place before their rows are."""
    image = scan(tmp_path / "c.nii.gz", 5)
    found: list[tuple[Problem, ...]] = []

    with open_store(folder) as writer, open_store(folder) as reader:
        reader.read_only = True  # as a store that cannot be locked
        add_event = "flare_core.cases.write.add_event"
        import flare_core.cases.write as write

        real = write.add_event

        def looks(*arguments: Any) -> None:
            if not found:
                found.append(reader.verify())
            real(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(add_event, looks)
            writer.add_case(image)
    assert found == [()]


def test_a_full_copy_of_the_catalogue_stays_beside(folder: Path):
    rebuild(folder)
    (old,) = folder.glob("catalogue-*.old.sqlite")
    db = sqlite3.connect(old)
    assert db.execute("SELECT count(*) FROM cases").fetchone()[0] == 2
    db.close()
    assert list(folder.glob(".*")) == []


def test_a_folder_that_goes_while_it_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A writer takes back what it had begun, or clears up after a killed one."""
    (folder / "cases" / "z" / "labels").mkdir(parents=True)
    real = os.scandir

    def late(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(path).name == "z":
            monkeypatch.setattr(os, "scandir", real)
            shutil.rmtree(folder / "cases" / "z", ignore_errors=True)
        return real(path)

    monkeypatch.setattr(os, "scandir", late)
    assert look(folder) == ()
    assert not (folder / "cases" / "z").exists()


def test_a_rebuild_keeps_the_old_catalogue_from_those_who_sweep(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Once it has committed, others write, and sweep what is unfinished."""
    real = os.replace

    def late(source: Any, target: Any) -> None:
        if ".old.sqlite" in str(target):
            with suppress(InputError), open_store(folder) as other:  # busy until it has let go
                other.set_weight("a", 5.0)
        real(source, target)

    monkeypatch.setattr("flare_core.cases.schema.BUSY_S", 0.05)
    monkeypatch.setattr("flare_core.cases.rebuild.os.replace", late)
    assert rebuild(folder) == 2
    assert len(list(folder.glob("catalogue-*.old.sqlite"))) == 1 and look(folder) == ()


def test_a_catalogue_whose_own_words_are_no_text(tmp_path: Path):
    """SQLite quotes such words in its message, and Python then cannot read that."""
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
    catalogue = tmp_path / "store" / "catalogue.sqlite"
    data = catalogue.read_bytes()
    spoilt = data.replace(b"CREATE TABLE events", b"CREATE TA\xff\xfeE events", 1)
    assert spoilt != data
    catalogue.write_bytes(spoilt)
    with pytest.raises(InputError, match=r"malformed(.|\n)*--rebuild"):
        open_store(tmp_path / "store")
    assert rebuild(tmp_path / "store") == 1


def test_a_problem_can_be_shown_whatever_the_files_say():
    problem = Problem("a\0", "facts", "x" * 5000, "\x1b[2J \ud800")
    assert problem.case == "a\\x00" and len(problem.what) <= 600
    (problem.what + problem.action).encode("utf-8")
    assert "\x1b" not in problem.action


@pytest.mark.parametrize("column", ["name", "patient", "organs", "added", "weight"])
def test_bytes_in_a_column(folder: Path, column: str):
    """SQLite takes them into a column of any type."""
    with sqlite3.connect(folder / CATALOGUE) as db:
        db.execute(f"UPDATE cases SET {column} = x'ff00' WHERE name = 'a'")
    with (
        open_store(folder) as store,
        pytest.raises(InputError, match=f"bytes in column {column}(.|\n)*--rebuild"),
    ):
        store.cases()
    assert rebuild(folder) == 2
    with open_store(folder) as store:
        assert [case.name for case in store.cases()] == ["a", "b"]
