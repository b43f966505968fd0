"""Evidence from scores whose probabilities are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flare_core.anatomy.organs import ORGANS, Organ, organ
from flare_core.imaging.geometry import Geometry
from flare_core.segment import confidence
from flare_core.segment.confidence import Evidence, evidence_of, expected_dsc
from flare_core.segment.stage import Scores
from stub_models import ORGANS as CARD

GRID = Geometry((20, 30, 30), (4.0, 3.0, 3.0))
LIVER = slice(6, 14), slice(8, 22), slice(8, 22)
BESIDE = slice(6, 14), slice(8, 22), slice(22, 26)


def scores(inside: float, beside: float = 0.0, grid: Geometry = GRID) -> Scores:
    """A liver with this probability, and a slab beside it that is less likely one."""
    p = np.full((3, *grid.shape), 1e-9, np.float32)
    p[1][BESIDE] = beside
    p[1][LIVER] = inside
    p[0] = 1 - p[1] - p[2]
    return Scores(torch.from_numpy(p.clip(1e-9, 1)).log(), grid, CARD)


def test_the_overlap_to_expect_is_that_of_the_probabilities() -> None:
    found = evidence_of(scores(0.9, 0.3))
    assert set(found) == {"liver"}  # no voxel is the spleen's
    inside, beside = 8 * 14 * 14, 8 * 14 * 4
    assert found["liver"].volume_ml == pytest.approx(inside * 0.036)
    assert found["liver"].inside == pytest.approx(0.9, abs=1e-4)
    expected = 2 * 0.9 * inside / (inside + 0.9 * inside + 0.3 * beside)
    assert found["liver"].overlap == pytest.approx(expected, abs=1e-4)


def test_a_thinned_look_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = evidence_of(scores(0.8, 0.4))["liver"]
    monkeypatch.setattr(confidence, "SAMPLE", 1500)
    thin = evidence_of(scores(0.8, 0.4))["liver"]
    assert thin.overlap == pytest.approx(exact.overlap, abs=0.03)
    assert thin.volume_ml == exact.volume_ml
    monkeypatch.setattr(confidence, "SAMPLE", 2)
    assert evidence_of(scores(0.8))["liver"].inside == pytest.approx(0.8, abs=1e-3)


def test_certain_labels_are_expected_to_be_right() -> None:
    assert evidence_of(scores(1.0))["liver"].overlap == pytest.approx(1.0, abs=1e-4)


def test_without_evidence_nothing_is_expected() -> None:
    assert math.isnan(expected_dsc(organ("liver"), None, {}))


def usual_ml(target: Organ) -> float:
    """A volume that nobody wonders about."""
    return 10.0 if target.volume_range_ml is None else sum(target.volume_range_ml) / 2


@pytest.mark.parametrize(
    ("ml", "cut", "doubted"), [(1400, 0, 0), (300, 0, 1), (300, 1, 0), (5100, 0, 1), (5100, 1, 1)]
)
def test_a_volume_nobody_has_is_doubted_however_sure_the_network_is(
    ml: float, cut: float, doubted: int
) -> None:
    sure = Evidence(ml, 1.0, 1.0)
    found = expected_dsc(organ("liver"), sure, {"volume": ml, "touches_border": cut})
    assert (found < confidence.LOW) == bool(doubted)


@pytest.mark.parametrize("target", ORGANS)
def test_more_certain_is_more_trusted_and_never_beyond_0_and_1(target: Organ) -> None:
    values = {"volume": usual_ml(target), "touches_border": 0.0}
    steps = [
        expected_dsc(target, Evidence(100.0, overlap, overlap), values)
        for overlap in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
    ]
    assert steps == sorted(steps) and steps[0] >= 0 and steps[-1] <= 1
    assert steps[1] < confidence.LOW < steps[-1]
