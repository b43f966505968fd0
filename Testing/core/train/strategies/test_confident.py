from __future__ import annotations

from collections.abc import Callable

import pytest

from flare_core.train.strategies.candidate import Candidate
from flare_core.train.strategies.confident import Confident


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"confidence": 0.8}, "confidence 0.80 < 0.9"),
        ({"confidence": None}, "confidence not measured"),
        ({"border_entropy": 0.7}, "border entropy 0.70 > 0.5"),
        ({"pieces": 9}, "9 pieces"),
        ({"volume_ml": 0.0}, "not found"),
        ({"volume_plausible": False}, "implausible volume"),
    ],
)
def test_one_doubtful_organ_is_left_out(
    changes: dict, why: str, candidate: Callable[..., Candidate]
) -> None:
    (decision,) = Confident().select([candidate(liver={}, spleen=changes)])
    assert decision.organs == ("liver",) and decision.refused == {"spleen": why}


def test_limits_and_weight_are_settings(candidate: Callable[..., Candidate]) -> None:
    case = candidate(liver={"confidence": 0.5, "border_entropy": 0.9, "pieces": 5})
    lenient = Confident(0.4, 1.0, 6, weight=0.25)
    assert not Confident().select([case])[0].accepted
    assert lenient.select([case])[0].weight == 0.25


def test_what_else_was_not_measured_does_not_count(candidate: Callable[..., Candidate]) -> None:
    case = candidate(liver={"border_entropy": None, "pieces": None, "volume_plausible": None})
    assert Confident().select([case])[0].accepted
