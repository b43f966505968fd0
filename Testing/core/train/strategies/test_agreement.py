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
