"""What training gets from a case store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cases.small_cases import LIVER, SPLEEN, labels, scan
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.datasets.case import load_cases, save_cases
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError

ORGANS = ("liver", "spleen")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    """Cases: a expert, b corrected, c accepted pseudo, d pseudo, e rejected, f without labels."""
    truth = labels(tmp_path / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    edited = labels(tmp_path / "edited.nii.gz", {LIVER: 22})
    with open_store(tmp_path / "store", create=True) as opened:
        for seed, name in enumerate("abcdef"):
            opened.add_case(scan(tmp_path / f"{name}.nii.gz", seed), patient=f"P-{name}",
                            source="trial", weight=1.0 + seed)  # fmt: skip
        opened.add_labels("a", truth, LabelFacts("expert", ORGANS))
        for name in "bcde":
            opened.add_labels(name, truth, LabelFacts("pseudo", ORGANS))
        opened.add_labels("b", edited, LabelFacts("corrected", ("liver",), parent=1))
        opened.set_status("c", "accepted")
        opened.set_status("e", "rejected")
        yield opened


def names(cases: object) -> str:
    return "".join(case.name for case in cases)  # type: ignore[attr-defined]


def test_only_believed_labels_are_learnt_from(store: CaseStore) -> None:
    cases = {case.name: case for case in cases_of_store(store)}
    assert list(cases) == ["a", "b", "c"]
    b = cases["b"]
    assert b.labels == store.version("b", 2).path and b.before == store.version("b", 1).path
    assert (b.annotated, b.patient, b.source, b.weight, b.kind) == (
        ("liver",), "P-b", "trial", 2.0, "corrected",
    )  # fmt: skip
    assert cases["a"].kind == "expert" and cases["a"].before is None
    assert cases["c"].kind == "pseudo"


def test_kinds_statuses_and_organs_are_chosen(store: CaseStore) -> None:
    assert names(cases_of_store(store, kinds=("expert", "corrected"))) == "ab"
    assert names(cases_of_store(store, kinds=("pseudo",), statuses=("accepted", "pseudo"))) == "cd"
    assert names(cases_of_store(store, organ="spleen")) == "ac"
    (bare,) = cases_of_store(store, statuses=("unlabelled",))
    assert (bare.name, bare.labels, bare.annotated) == ("f", None, ())
    for wrong in ({"kinds": ("good",)}, {"statuses": ("good",)}, {"organ": "heart"}):
        with pytest.raises(InputError):
            cases_of_store(store, **wrong)  # type: ignore[arg-type]


def test_the_hold_out_is_never_learnt_from(store: CaseStore, tmp_path: Path) -> None:
    store.freeze_hold_out(["P-a"])
    later = store.add_case(scan(tmp_path / "late.nii.gz", 50), patient="P-A").name
    store.add_labels(later, tmp_path / "truth.nii.gz", LabelFacts("expert", ORGANS))

    assert names(cases_of_store(store)) == "bc"
    assert [case.name for case in cases_of_store(store, held_out=True)] == ["a", "late"]
    assert len(cases_of_store(store, held_out=None)) == 4


def test_a_restored_correction_still_knows_what_it_was_made_of(store: CaseStore) -> None:
    store.restore("b", 1)
    assert cases_of_store(store, statuses=("pseudo",))[0].name == "b"
    store.restore("b", 2)
    (b,) = [case for case in cases_of_store(store) if case.name == "b"]
    assert b.labels == store.version("b", 2).path and b.before == store.version("b", 1).path


def test_a_list_of_them_can_be_saved(store: CaseStore, tmp_path: Path) -> None:
    cases = cases_of_store(store)
    save_cases(tmp_path / "list.json", cases)
    assert load_cases(tmp_path / "list.json") == cases


def test_a_correction_of_a_correction_counts_from_the_models_map(store: CaseStore, tmp_path: Path):
    """What was corrected in the first sitting is no less corrected after the second."""
    more = labels(tmp_path / "more.nii.gz", {LIVER: 22, SPLEEN: 7})
    store.add_labels("b", more, LabelFacts("corrected", ORGANS, parent=2))
    store.restore("b", 3)
    (b,) = [each for each in cases_of_store(store) if each.name == "b"]
    assert (b.labels, b.before) == (store.version("b", 3).path, store.version("b", 1).path)
