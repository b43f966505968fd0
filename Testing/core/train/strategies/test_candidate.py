from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.strategies.candidate import (
    Candidate,
    Decision,
    OrganEvidence,
    decide,
    implausible,
    refuse,
)


def test_organs_are_accepted_one_by_one(candidate: Callable[..., Candidate]) -> None:
    case = candidate(liver={}, spleen={"volume_ml": 0.0}, pancreas={"volume_plausible": False})
    decision = decide(case, implausible, weight=0.5)
    assert decision.accepted and decision.organs == ("liver",) and decision.weight == 0.5
    assert decision.refused == {"spleen": "not found", "pancreas": "implausible volume"}
    assert "1 of 3" in decision.reason and "pancreas (implausible volume)" in decision.reason


def test_without_an_organ_the_case_is_refused(candidate: Callable[..., Candidate]) -> None:
    for decision in (
        decide(candidate(liver={"volume_ml": 0.0}), implausible, weight=1.0),
        refuse(candidate(liver={}), "too odd"),
    ):
        assert not decision.accepted and decision.organs == () and decision.weight == 0.0
        assert set(decision.refused) == {"liver"}


def test_what_was_not_measured_is_not_held_against_an_organ() -> None:
    assert implausible(OrganEvidence()) == ""


@pytest.mark.parametrize(
    "values",
    [{"confidence": 1.2}, {"fold_agreement": -0.1}, {"volume_ml": -1.0}, {"pieces": -1}],
)
def test_evidence_that_cannot_be_is_refused(values: dict) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        OrganEvidence(**values)


@pytest.mark.parametrize(
    ("accepted", "organs", "weight"),
    [(True, (), 1.0), (True, ("liver",), 0.0), (False, ("liver",), 0.0), (False, (), 1.0)],
)
def test_a_decision_does_not_contradict_itself(accepted: bool, organs: tuple, weight: float):
    with pytest.raises(InputError, match="decision on a"):
        Decision("a", accepted, organs, weight, "why")


def test_a_candidate_needs_no_evidence() -> None:
    assert Candidate("a", Path("a")).evidence == {}
