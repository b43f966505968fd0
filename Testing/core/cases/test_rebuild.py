from __future__ import annotations

from pathlib import Path

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import LabelFacts, open_store
from flare_core.errors import InputError

ORGANS = ("liver", "spleen")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store in which everything happened once."""
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    edited = labels(tmp_path / "edited.nii.gz", {LIVER: 21, SPLEEN: 4})
    with open_store(tmp_path / "store", create=True) as store:
        store.add_case(scan(tmp_path / "a.nii.gz"), patient="P1", source="clinic", weight=2.0)
        store.add_case(scan(tmp_path / "b.nii.gz", 1), patient="P2", link=True)
        store.add_case(scan(tmp_path / "c.nii.gz", 2), patient="P3")
        store.add_labels("a", truth, LabelFacts("pseudo", ORGANS, evidence={"c": 0.5}))
        store.add_labels("a", edited, LabelFacts("corrected", ORGANS, parent=1, author="Ada"))
        store.add_labels("a", truth, LabelFacts("pseudo", ORGANS))
        store.add_labels("b", truth, LabelFacts("pseudo", ORGANS))
        store.restore("a", 1)
        store.set_status("a", "rejected", reason="no")
        store.set_status("b", "accepted", reason="yes")
        store.set_weight("b", 3.0)
        store.freeze_hold_out(["P3"])
        store.set_scores("a", {"x": 1.0, "doubt": 0.1 + 0.2})
        store.set_scores("b", {"doubt": 0.5})
    return tmp_path / "store"


def everything(folder: Path) -> list[object]:
    with open_store(folder) as store:
        names = [case.name for case in store.cases()]
        versions = [store.versions(name) for name in names]
        told = [store.cases(), store.history(), versions, store.hold_out(), store.labels_before()]
        return [*told, store.score_table()]


def test_a_lost_catalogue_comes_back_from_the_files(folder: Path):
    before = everything(folder)
    for path in folder.glob("catalogue*"):
        path.unlink()
    with pytest.raises(InputError, match="--rebuild"):
        open_store(folder)
    with pytest.raises(InputError, match="--rebuild"):
        open_store(folder, create=True)

    assert rebuild(folder) == 3
    assert everything(folder) == before
    with open_store(folder) as store:
        assert store.verify() == ()
        assert store.add_labels("c", store.version("a", 1).path,
                                LabelFacts("expert", ORGANS)).number == 1  # fmt: skip
        assert store.history()[-1].number == len(store.history())


def test_a_damaged_catalogue_is_kept_beside(folder: Path):
    before = everything(folder)
    catalogue = folder / "catalogue.sqlite"
    damaged = b"no database" * 1000
    catalogue.write_bytes(damaged)
    with pytest.raises(InputError, match="--rebuild"):
        open_store(folder)

    assert rebuild(folder) == 3
    assert everything(folder) == before
    assert [path.read_bytes() for path in folder.glob("catalogue-*.old.sqlite")] == [damaged]


def test_without_the_journal_the_files_alone_tell_the_most(folder: Path):
    (folder / "history.jsonl").unlink()
    assert rebuild(folder) == 3
    with open_store(folder) as store:
        assert [v.number for v in store.versions("a")] == [1, 2, 3, 4]
        assert store.version("a", 2).facts.author == "Ada"
        assert (store.case("a").status, store.case("a").chosen) == ("pseudo", 4)
        assert store.hold_out() == ("P3",)
        assert {event.what for event in store.history("a")} == {"added", "labelled", "restored"}
        assert store.verify() == ()


def test_lines_that_somebody_spoiled_are_passed_over(folder: Path):
    journal = folder / "history.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(["rubbish", "{}", *lines, '{"number": 99, "case": "gone"}', ""]))
    before = everything(folder)
    rebuild(folder)
    assert everything(folder) == before


def of_an_older_program(folder: Path) -> dict[str, dict[str, float]]:
    """Take the files with the scores away, as they are in a store from before there were any."""
    found = list(folder.glob("cases/*/scores.json"))
    assert len(found) == 2
    for path in found:
        path.unlink()
    with open_store(folder) as store:
        return store.score_table()


def test_scores_that_are_in_the_old_catalogue_alone_come_back(folder: Path):
    scores = of_an_older_program(folder)
    rebuild(folder)
    (folder / "catalogue.sqlite").write_bytes(b"no database" * 1000)
    rebuild(folder)  # from the files that the first one wrote
    with open_store(folder) as store:
        assert store.score_table() == scores != {}


def test_verify_writes_scores_down_that_are_in_the_catalogue_alone(folder: Path):
    scores = of_an_older_program(folder)
    (folder / "cases" / "b" / "scores.json").write_text('{"doubt": "damaged')
    with open_store(folder) as store:
        told = [(p.case, p.kind) for p in store.verify()]
        assert told == [("a", "repaired"), ("b", "repaired")] and store.verify() == ()
    for path in folder.glob("catalogue*"):
        path.unlink()
    rebuild(folder)
    with open_store(folder) as store:
        assert store.score_table() == scores != {}


def test_verify_takes_in_scores_that_the_catalogue_lost(folder: Path):
    with open_store(folder) as store:
        scores = store.score_table()
        store._db.execute("DELETE FROM scores WHERE name = 'x'")
        assert [(p.case, p.kind) for p in store.verify()] == [("a", "repaired")]
        assert store.score_table() == scores


def test_only_a_store_is_rebuilt(tmp_path: Path):
    with pytest.raises(InputError, match="a folder with cases/"):
        rebuild(tmp_path)


def test_verify_names_what_is_missing_changed_or_astray(folder: Path):
    with open_store(folder) as store:
        image, version = store.case("a").image, store.version("a", 2)
        linked = store.case("b").image
    image.chmod(0o644)
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    version.path.unlink()
    linked.unlink()
    next(version.path.parent.glob("v0003-*.json")).unlink()
    (folder / "cases" / "a" / "notes.txt").write_text("mine")
    with open_store(folder) as store:
        problems = store.verify()
        assert [(p.case, p.kind) for p in problems] == [
            ("a", "changed"), ("a", "missing"), ("a", "facts"), ("b", "missing"), ("a", "orphan"),
        ]  # fmt: skip
        assert all(p.what and p.action and p.wrong for p in problems)
        assert (folder / "cases" / "a" / "notes.txt").exists(), "verify removes nothing"
        quick = store.verify(hashes=False)
        assert ("a", "changed") not in [(p.case, p.kind) for p in quick], "the size is the same"


def test_verify_takes_in_what_is_whole(folder: Path):
    """Files copied from a backup of the store are found although the catalogue is older."""
    import sqlite3

    db = sqlite3.connect(folder / "catalogue.sqlite")
    db.execute("DELETE FROM versions WHERE case_id = 1 AND number = 4")
    db.execute("UPDATE cases SET latest = 3, chosen = 2, status = 'corrected', kind = 'corrected'"
               " WHERE id = 1")  # fmt: skip
    db.execute("DELETE FROM events WHERE case_id = 3")
    db.execute("DELETE FROM cases WHERE id = 3")
    db.commit()
    db.close()
    told = []
    with open_store(folder) as store:
        problems = store.verify(on_done=lambda done, count: told.append((done, count)))
        assert [(p.case, p.kind, p.wrong) for p in problems] == [
            ("a", "repaired", False), ("c", "repaired", False),
        ]  # fmt: skip
        assert store.case("a").chosen == 4 and store.case("c").patient == "P3"
        assert store.verify() == ()
    assert told == [(1, 3), (2, 3), (3, 3)]
