from __future__ import annotations

from collections.abc import Callable

import pytest

from flare_core.train.strategies.agreement import Agreement
from flare_core.train.strategies.candidate import Candidate


@pytest.mark.parametrize(("second", "accepted"), [(0.76, True), (0.74, False)])
def test_a_case_is_accepted_from_a_mean_of_85_hundredths_on(
    second: float, accepted: bool, candidate: Callable[..., Candidate]
) -> None:
    case = candidate(liver={"fold_agreement": 0.95}, spleen={"fold_agreement": second})
    assert Agreement().select([case])[0].accepted == accepted


def test_an_organ_the_folds_quarrel_about_is_left_out(candidate: Callable[..., Candidate]) -> None:
    organs = {key: {"fold_agreement": 0.97} for key in ("liver", "spleen", "aorta", "stomach")}
    case = candidate(**organs, pancreas={"fold_agreement": 0.6}, duodenum={"fold_agreement": None})
    (decision,) = Agreement().select([case])
    assert set(decision.organs) == set(organs)
    assert decision.refused["pancreas"] == "agreement 0.60 < 0.7"
    assert decision.refused["duodenum"] == "agreement not measured"


def test_without_folds_nothing_is_accepted(candidate: Callable[..., Candidate]) -> None:
    (decision,) = Agreement().select([candidate(liver={"fold_agreement": None})])
    assert not decision.accepted and "not measured" in decision.reason


@pytest.mark.parametrize("agreement", [1.0, None])
def test_organs_that_no_fold_found_do_not_lift_the_mean(
    agreement: float | None, candidate: Callable[..., Candidate]
) -> None:
    nothing = {"volume_ml": 0.0, "fold_agreement": agreement}
    case = candidate(liver={"fold_agreement": 0.72}, spleen=nothing, aorta=nothing)
    (decision,) = Agreement().select([case])
    assert not decision.accepted and "mean agreement 0.72" in decision.reason
