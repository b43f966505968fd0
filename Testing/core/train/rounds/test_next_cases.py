"""Which case comes next: doubt first, but not the same one twice, and what was seen last."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import open_store
from flare_core.train.rounds.next_cases import (
    case_doubt,
    case_scores,
    organ_doubt,
    rank_cases,
    seen_cases,
    store_scores,
)
from flare_core.train.strategies.candidate import CaseEvidence, OrganEvidence
from rounds_world import make_store


def case(name: str, doubt: float, like: float = 0.0, **organs: OrganEvidence) -> CaseEvidence:
    liver = OrganEvidence(volume_ml=1000.0, confidence=1 - doubt, border_entropy=doubt)
    features = {"ml_1": 1000.0 + like, "hu_1": 60.0 + like, "spacing_z": 2.5, "height": 300.0}
    return CaseEvidence(name, "m", organs or {"liver": liver}, features=features)


def names(found: object) -> list[str]:
    return [each.case for each in found]  # type: ignore[attr-defined]


def test_the_doubtful_come_first():
    assert names(rank_cases([case("a", 0.1), case("b", 0.6), case("c", 0.3)])) == ["b", "c", "a"]


def test_a_small_organ_counts_as_much_as_a_large_one():
    sure = OrganEvidence(volume_ml=1500.0, confidence=1.0, border_entropy=0.0)
    unsure = OrganEvidence(volume_ml=4.0, confidence=0.2, border_entropy=0.8)
    small = case("small", 0, liver=sure, left_adrenal_gland=unsure)
    large = case("large", 0, liver=OrganEvidence(volume_ml=1500.0, confidence=0.2,
                 border_entropy=0.8), left_adrenal_gland=OrganEvidence(volume_ml=4.0,
                 confidence=1.0, border_entropy=0.0))  # fmt: skip
    assert case_doubt(small) == pytest.approx(case_doubt(large)) == pytest.approx(0.4)


def test_two_of_a_kind_do_not_follow_each_other():
    twins = [case("twin1", 0.60, 0.0), case("twin2", 0.59, 0.0)]
    other = case("other", 0.5, 400.0)
    assert names(rank_cases([*twins, other])) == ["twin1", "other", "twin2"]


def test_seen_cases_sink_and_what_resembles_them_is_less_new():
    rows = [case("seen", 0.9), case("alike", 0.5), case("unlike", 0.48, 400.0)]
    ranked = rank_cases(rows, seen={"seen"})
    assert names(ranked) == ["unlike", "alike", "seen"]
    assert ranked[-1].seen and ranked[-1].reason.startswith("already seen")


def test_the_reason_names_the_worst_organs_and_what_is_wrong():
    bad = OrganEvidence(
        volume_ml=20.0, confidence=0.8, border_entropy=0.62, disagreement=0.41, pieces=3
    )
    evidence = CaseEvidence(
        "a", "m", {"pancreas": bad}, remarks={"pancreas": "3 pieces", "spleen": "not found"}
    )
    (only,) = rank_cases([evidence])
    assert "pancreas: changed by 41 % of its size, 80 % sure, border 0.62 bits" in only.reason
    assert "pancreas: 3 pieces" in only.reason and "not found" not in only.reason


def test_an_implausible_organ_is_more_doubtful():
    fine = OrganEvidence(volume_ml=9.0, confidence=0.9)
    odd = OrganEvidence(volume_ml=9.0, confidence=0.9, volume_plausible=False)
    assert organ_doubt(odd) > organ_doubt(fine)


def test_a_scan_without_evidence_is_listed_with_its_note():
    (only,) = rank_cases([CaseEvidence("a", "m", notes=("cannot be read",))])
    assert only.score == pytest.approx(0.35) and "cannot be read" in only.reason
    assert rank_cases([]) == ()


def test_a_scan_in_which_nothing_was_found_comes_first():
    rows = [case("a", 0.3), case("b", 0.5)]
    scan = case("empty", 0.0).features
    missed = OrganEvidence(volume_ml=0.0)
    for nothing in (
        CaseEvidence("empty", "m", features=scan, notes=("No abdominal organ was found.",)),
        CaseEvidence(
            "empty", "m", {"liver": missed}, features=scan, remarks={"liver": "not found"}
        ),
    ):
        first, *others = rank_cases([*rows, nothing])
        assert (first.case, first.doubt) == ("empty", 1.0) and "no organ was found" in first.reason
        assert names(others) == ["b", "a"]
    assert rank_cases([*rows, nothing], seen=["empty"])[-1].case == "empty"


def test_the_store_knows_what_was_seen_and_keeps_the_scores(tmp_path):
    make_store(tmp_path)
    with open_store(tmp_path / "store") as store:
        store.set_scores("una", {"seen": 1.0})
        store_scores(store, [case("una", 0.4)])
        assert store.scores("una") == {"seen": 1.0} | case_scores(case("una", 0.4))
        store.set_scores("uwe", {"confidence": 0.9})
        assert {"anna", "una"} <= seen_cases(store) and "uwe" not in seen_cases(store)


def test_an_earlier_models_word_on_a_scan_does_not_stay_beside_the_latest_ones(tmp_path):
    """A scan in which the latest model finds nothing was shown as confident as before."""
    make_store(tmp_path)
    with open_store(tmp_path / "store") as store:
        store.set_scores("una", {"seen": 1.0, "own": 3.0})
        store_scores(store, [case("una", 0.4), case("uwe", 0.2)])
        assert "confidence" in store.scores("una")
        store_scores(store, [CaseEvidence("una", "m", notes=("nothing found",))])
        assert store.scores("una") == {"seen": 1.0, "own": 3.0, "doubt": 0.0}
        assert store.scores("uwe") == case_scores(case("uwe", 0.2))
    rebuild(tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        assert store.scores("una") == {"seen": 1.0, "own": 3.0, "doubt": 0.0}


def test_long_lists_are_ranked_whole():
    random = np.random.default_rng(0)
    rows = [case(str(i), float(d), float(w)) for i, (d, w) in enumerate(random.random((1000, 2)))]
    ranked = rank_cases(rows)
    assert len({each.case for each in ranked}) == 1000
    tail = [each.doubt for each in ranked[200:]]
    assert tail == sorted(tail, reverse=True)


def test_the_dsc_to_expect_decides_where_it_is_known():
    """Sure probabilities of an organ that is expected to be wrong do not hide it."""
    wrong = OrganEvidence(volume_ml=60.0, confidence=0.97, border_entropy=0.1, expected_dsc=0.4)
    right = OrganEvidence(volume_ml=60.0, confidence=0.7, border_entropy=0.8, expected_dsc=0.9)
    assert organ_doubt(wrong) == pytest.approx(0.6) and organ_doubt(right) == pytest.approx(0.1)
    ranked = rank_cases([case("b", 0, pancreas=right), case("a", 0, pancreas=wrong)], ())
    assert ranked[0].case == "a" and "DSC of 0.40 expected" in ranked[0].reason
    assert case_scores(case("a", 0, pancreas=wrong))["expected_dsc"] == pytest.approx(0.4)
