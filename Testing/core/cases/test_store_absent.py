"""What a person said is not in the scan stays said."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.datasets.case import load_cases, save_cases
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError

BOTH = ("liver", "spleen")


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    """A case of which a person says: liver, and no spleen."""
    opened = open_store(tmp_path / "store", create=True)
    opened.add_case(scan(tmp_path / "a.nii.gz"))
    mine = labels(tmp_path / "mine.nii.gz", {LIVER: 20})
    opened.add_labels("a", mine, LabelFacts("expert", BOTH, author="Ada", absent=("spleen",)))
    return opened


def test_the_statement_is_kept_with_the_case(store: CaseStore, tmp_path: Path):
    assert store.case("a").absent == ("spleen",)
    (case,) = cases_of_store(store)
    assert (case.annotated, case.absent) == (BOTH, ("spleen",))
    save_cases(tmp_path / "list.json", [case])
    assert load_cases(tmp_path / "list.json")[0].absent == ("spleen",)


def test_it_survives_completion_by_a_teacher(store: CaseStore, tmp_path: Path):
    more = labels(tmp_path / "more.nii.gz", {LIVER: 20, 4: 9})
    facts = LabelFacts("pseudo", ("liver", "pancreas"), model="teacher-1", parent=1)
    version = store.add_labels("a", more, facts)
    assert version.facts.absent == ("spleen",)
    assert version.facts.annotated == ("liver", "pancreas", "spleen")
    assert store.case("a").absent == ("spleen",) and store.case("a").chosen == 1
    before = store.cases(), store.versions("a")
    rebuild(store.folder)
    with open_store(store.folder) as again:
        assert (again.cases(), again.versions("a")) == before


def test_a_models_spleen_is_refused_until_the_person_is_overruled(store: CaseStore, tmp_path: Path):
    wrong = labels(tmp_path / "wrong.nii.gz", {LIVER: 20, SPLEEN: 9})
    with pytest.raises(InputError, match="a person said"):
        store.add_labels("a", wrong, LabelFacts("soft", BOTH))
    store.set_status("a", "rejected")
    assert store.add_labels("a", wrong, LabelFacts("soft", BOTH)).facts.absent == ()
    assert store.case("a").absent == ()


def test_another_person_may_say_otherwise(store: CaseStore, tmp_path: Path):
    theirs = labels(tmp_path / "theirs.nii.gz", {LIVER: 20, SPLEEN: 9})
    store.add_labels("a", theirs, LabelFacts("corrected", BOTH, author="Bo", parent=1))
    assert store.case("a").absent == ()
    store.restore("a", 1)
    assert store.case("a").absent == ("spleen",)


def test_an_older_store_tells_it_too(store: CaseStore):
    store.close()
    db = sqlite3.connect(store.folder / "catalogue.sqlite", isolation_level=None)
    db.execute("DROP INDEX cases_voxels")
    for name in ("voxels", "absent"):
        db.execute(f"ALTER TABLE cases DROP COLUMN {name}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    with open_store(store.folder) as opened:
        assert opened.case("a").absent == ("spleen",)
