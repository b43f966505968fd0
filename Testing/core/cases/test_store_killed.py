"""A writer may die at any moment: what it had promised is there, the rest leaves no trace."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core import alive
from flare_core.alive import held_file, scratch
from flare_core.cases.files import intents
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.errors import InputError
from flare_core.imaging import label_map  # noqa: F401 - loaded before the writers are forked
from force.killing import read_here

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.fork")
SYNCED = True

PSEUDO = LabelFacts("pseudo", ("liver", "spleen"))
KILLS = 12

DEADLY = {
    "rename", "replace", "fsync", "mkdir", "unlink", "chmod", "write", "truncate",
    "execute", "executemany",
}  # fmt: skip
"""C functions after or before which a writer is killed: all that leave something on the disk."""


def _forked(work: Callable[..., Any], *arguments: object) -> multiprocessing.Process:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_reading_here, args=(work, *arguments))
    process.start()
    return process  # type: ignore[return-value]


def _reading_here(work: Callable[..., Any], *arguments: object) -> None:
    read_here()
    work(*arguments)


def _write_until_killed(folder: Path, images: list[Path], truth: Path, pipe: Connection) -> None:
    """Write without end and tell of each write when it is done."""
    store = open_store(folder)
    for turn, image in enumerate(images):
        store.add_case(image)
        pipe.send(("added", image.name.split(".")[0], 0))
        name = images[random.Random(turn).randrange(turn + 1)].name.split(".")[0]
        number = store.add_labels(name, truth, PSEUDO).number
        pipe.send(("labelled", name, number))
        store.set_status(name, "accepted", reason=f"turn {turn}")
        pipe.send(("status", name, number))
        store.set_scores(name, {"turn": turn})
        pipe.send(("scored", name, turn))
    pipe.send(("end", "", 0))
    time.sleep(60)


def test_killed_at_random_moments_loses_nothing(tmp_path: Path):
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    folder = tmp_path / "store"
    open_store(folder, create=True).close()
    promised: list[tuple[str, str, int]] = []
    for kill in range(KILLS):
        images = [scan(tmp_path / f"{kill}" / f"k{kill}n{i}.nii.gz", 99 * kill + i)
                  for i in range(12)]  # fmt: skip
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = _forked(_write_until_killed, folder, images, truth, theirs)
        theirs.close()
        chance = random.Random(kill)
        for _ in range(chance.randint(1, 5)):
            start = time.monotonic()
            assert ours.poll(60), "the writer works"
            promised.append(ours.recv())
            pause_s = time.monotonic() - start
        time.sleep(chance.uniform(0, 2 * pause_s))  # somewhere in the next two writes
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        while ours.poll():
            try:
                promised.append(ours.recv())
            except EOFError:
                break
        ours.close()

    with open_store(folder) as store:
        names = {record.name for record in store.cases()}
        assert {case for what, case, _ in promised if what == "added"} <= names
        for what, case, number in promised:
            if what == "labelled":
                assert store.version(case, number).path.is_file()
        told = [(e.what, e.case, e.version) for e in store.history()]
        for what, case, number in promised:
            assert what in ("end", "scored") or (what, case, number or None) in told
        assert [p for p in store.verify() if p.wrong] == []
        scores = store.score_table()
    kept = {case: turn for what, case, turn in promised if what == "scored"}
    assert kept and all(scores[case]["turn"] >= turn for case, turn in kept.items())
    assert _rebuilt_scores(folder) == scores


def _rebuilt_scores(folder: Path) -> dict[str, dict[str, float]]:
    rebuild(folder)
    with open_store(folder) as store:
        return store.score_table()


class Killer:
    """Ends the process at its n-th call that leaves something on the disk."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and getattr(function, "__name__", "") in DEADLY:
            self.left -= 1
            if self.left < 0:
                os._exit(9)


def _killed_at(number: int, folder: Path, write: Callable[[CaseStore], object]) -> None:
    store = open_store(folder)
    sys.setprofile(Killer(number))
    write(store)
    sys.setprofile(None)
    os._exit(0)


def _every_kill(
    folder: Path, write: Callable[[CaseStore], object], check: Callable[[CaseStore], bool]
) -> tuple[int, int]:
    """Kill a write at its first, second, ... step, each time on a fresh copy of the store.

    Returns
    -------
    int, int
        After how many kills what was written is there, and after how many it is not.
    """
    there = absent = 0
    for number in range(500):
        copy = folder.with_name("copy")
        shutil.copytree(folder, copy)
        process = _forked(_killed_at, number, copy, write)
        process.join(30)
        with open_store(copy) as store:
            found = check(store)
            assert [p for p in store.verify() if p.kind != "repaired"] == [], number
            assert intents(copy) == {}, "notes are settled"
            if not found:
                write(store)  # the same once more: works whatever happened before
                assert check(store)
        there, absent = there + found, absent + (not found)
        for path in copy.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(copy)
        if process.exitcode == 0:
            assert found, "a write that ended is there"
            return there, absent
    raise AssertionError("the write never ended")


def test_a_scan_killed_at_every_step(tmp_path: Path):
    folder = tmp_path / "store"
    open_store(folder, create=True).close()
    image = scan(tmp_path / "a.nii.gz")

    there, absent = _every_kill(
        folder,
        lambda store: store.add_case(image),
        lambda store: [case.name for case in store.cases()] == ["a"],
    )
    assert there > 1 and absent > 5


def test_labels_killed_at_every_step(tmp_path: Path):
    folder = tmp_path / "store"
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.add_labels("a", truth, PSEUDO)

    def write(store: CaseStore) -> None:
        if len(store.versions("a")) == 1:
            store.add_labels("a", truth, LabelFacts("corrected", ("liver", "spleen"), parent=1))

    there, absent = _every_kill(folder, write, lambda store: store.case("a").status == "corrected")
    assert there > 1 and absent > 5


def test_a_status_killed_at_every_step(tmp_path: Path):
    folder = tmp_path / "store"
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.add_labels("a", truth, PSEUDO)

    there, absent = _every_kill(
        folder,
        lambda store: store.set_status("a", "accepted", reason="r"),
        lambda store: store.case("a").status == "accepted",
    )
    assert there >= 1 and absent >= 1


def test_scores_killed_at_every_step(tmp_path: Path):
    """Catalogue and files agree whenever the writer dies; all cases' scores come, or none's."""
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        for seed, name in enumerate("ab"):
            store.add_case(scan(tmp_path / f"{name}.nii.gz", seed))
        store.set_scores("a", {"doubt": 0.1, "confidence": 0.9})
    new = {"a": {"doubt": 0.2}, "b": {"doubt": 0.3}}

    def check(store: CaseStore) -> bool:
        table = store.score_table()
        assert store.verify() == (), "catalogue and files agree"
        assert table["a"]["confidence"] == 0.9
        return table["a"]["doubt"] == 0.2 and table.get("b") == {"doubt": 0.3}

    there, absent = _every_kill(folder, lambda store: store.set_scores_of(new), check)
    assert there >= 1 and absent > 1


def test_a_hold_out_killed_at_every_step(tmp_path: Path):
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"), patient="P")

    there, absent = _every_kill(
        folder, lambda store: store.freeze_hold_out(["P"]), lambda store: store.hold_out() == ("P",)
    )
    assert there > 1 and absent > 1


def test_the_journal_of_killed_writers_still_rebuilds(tmp_path: Path):
    """Lines of events that were never promised, and a torn line, do not come back."""
    folder = tmp_path / "store"
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.add_labels("a", truth, PSEUDO)
        with (folder / "history.jsonl").open("a") as journal:
            journal.write('{"number": 3, "case": "a", "what": "status", "status": "rej')
        store.set_status("a", "accepted")
        before = store.cases(), store.history()
    assert rebuild(folder) == 1
    with open_store(folder) as store:
        assert (store.cases(), store.history()) == before


def _holds(folder: Path, pipe: Connection) -> None:
    """Write a file and a folder of a store for as long as nobody ends this process."""
    with held_file(folder / "new.nii.gz") as stream, scratch(folder, "scratch-") as place:
        stream.write(b"x")
        pipe.send(place.name)
        time.sleep(60)


def test_what_killed_writers_left_is_swept_and_living_ones_go_on(tmp_path: Path):
    folder = tmp_path / "store"
    open_store(folder, create=True).close()
    left = ("pending/old.nii.gz", "pending/x.part", ".1f.part.hold_out.json", "pending/torn.json")
    for name in left:
        (folder / name).write_bytes(b'{"cases": ["a')
        (folder / name).chmod(0o444)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = _forked(_holds, folder / "pending", theirs)
    living = {"new.nii.gz", ours.recv()}
    for path in (folder / "pending").glob("*"):
        os.utime(path, (0, 0))  # age says nothing
    open_store(folder).close()
    assert set(os.listdir(folder / "pending")) == living
    assert list(folder.glob(".*")) == []

    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    open_store(folder).close()
    assert os.listdir(folder / "pending") == [], "at once, not a day later"


def test_without_locks_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alive.fcntl, "flock", refuses)
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))  # works without them
    for name, age_s in {"old.nii.gz": 2 * 24 * 3600, "new.nii.gz": 60}.items():
        path = folder / "pending" / name
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_s,) * 2)
    open_store(folder).close()
    assert os.listdir(folder / "pending") == ["new.nii.gz"]


def test_failed_scores_leave_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        for seed, name in enumerate("abc"):
            store.add_case(scan(tmp_path / f"{name}.nii.gz", seed))
        store.set_scores("a", {"doubt": 0.1})
        before = {p: p.read_bytes() for p in folder.glob("cases/*/*.json")}
        places, replace = iter((None, None, OSError(28, "No space left on device"))), os.replace

        def fills_up(*names: Any) -> None:
            if error := next(places, None):
                raise error
            replace(*names)

        monkeypatch.setattr("flare_core.cases.files.os.replace", fills_up)
        with pytest.raises(InputError, match="No space left"):
            store.set_scores_of({name: {"doubt": 0.2} for name in "abc"})
        assert store.score_table() == {"a": {"doubt": 0.1}}
        assert {p: p.read_bytes() for p in folder.glob("cases/*/*.json")} == before
        assert os.listdir(folder / "pending") == [] and store.verify() == ()


def test_a_failed_write_takes_its_files_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from flare_core.cases import add as cases_add

    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        before = sorted(path for path in folder.rglob("*"))
        journal = (folder / "history.jsonl").read_bytes()

        def fails(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(cases_add, "_tell", fails)
        with pytest.raises(InputError, match="Free space"):
            store.add_case(scan(tmp_path / "b.nii.gz", 1))
        truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
        with pytest.raises(InputError, match="Free space"):
            store.add_labels("a", truth, PSEUDO)
        assert sorted(path for path in folder.rglob("*")) == before
        assert (folder / "history.jsonl").read_bytes() == journal
        assert store.verify() == ()


def test_a_status_that_was_never_committed_does_not_come_back(tmp_path: Path):
    """Its line is in the journal; a rebuild would take it for what happened."""
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.add_labels("a", labels(tmp_path / "t.nii.gz", {LIVER: 20, SPLEEN: 5}), PSEUDO)
        before = store.cases(), store.history()
    journal = (folder / "history.jsonl").read_bytes()
    kinds = set()
    for number in range(60):
        process = _forked(_killed_at, number, folder, lambda s: s.set_status("a", "accepted"))
        process.join(30)
        if process.exitcode == 0:
            break
        kinds.add((folder / "history.jsonl").read_bytes() == journal)
        settled = number % 2
        if settled:
            open_store(folder).close()
        rebuild(folder)
        with open_store(folder) as store:
            if store.case("a").status == "accepted":  # killed after the commit
                break
            assert (store.cases(), store.history()) == before, number
        assert (folder / "history.jsonl").read_bytes() == journal
    assert kinds == {True, False}, "the journal had the line, and had it not"


def test_lines_of_a_catalogue_that_is_older_than_the_journal_stay(tmp_path: Path):
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.set_weight("a", 2.0)
        store._db.execute("DELETE FROM events WHERE number = 2")  # as a copy of yesterday has it
    journal = (folder / "history.jsonl").read_bytes()
    note = {"case": "a", "cases": ["a"], "journal": len(journal)}
    for told in (note, {"case": "a"}, note | {"journal": 0}, note | {"journal": "x"}):
        (folder / "pending" / "note.json").write_text(json.dumps(told))
        open_store(folder).close()
        assert (folder / "history.jsonl").read_bytes() == journal


def test_an_event_whose_line_is_gone_gets_it_back(tmp_path: Path):
    """A commit may show itself only when SQLite recovers, after its line was taken away."""
    folder = tmp_path / "store"
    with open_store(folder, create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"))
        store.add_labels("a", labels(tmp_path / "t.nii.gz", {LIVER: 20, SPLEEN: 5}), PSEUDO)
        store.set_status("a", "accepted", author="Ada", reason="seen")
        before = store.cases(), store.history()
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    kept = b"".join(lines[:-1])
    other = lines[-1].replace(b"seen", b"found after an interruption").replace(b"Ada", b"")
    for tail in (b"", other):  # taken away, or told otherwise by a rebuild that was killed too
        (folder / "history.jsonl").write_bytes(kept + tail)
        note = {"case": "a", "cases": ["a"], "journal": len(kept)}
        (folder / "pending" / "note.json").write_text(json.dumps(note))
        open_store(folder).close()
        assert os.listdir(folder / "pending") == []
        rebuild(folder)
        with open_store(folder) as store:
            assert (store.cases(), store.history()) == before
