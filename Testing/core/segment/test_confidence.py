"""Evidence from scores whose probabilities are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Geometry
from flare_core.segment.confidence import Evidence, evidence_of, expected_dsc, outermost
from flare_core.segment.stage import Scores
from stub_models import ORGANS as CARD

GRID = Geometry((6, 12, 12), (4.0, 3.0, 3.0))


def scores(inside: float, rim: float) -> Scores:
    """A liver of 4 x 6 x 6 voxels: this probability deep inside, that one in its outer layer."""
    p = np.full((3, *GRID.shape), 1e-6, np.float32)
    p[0] = 1 - 2e-6
    for place, value in (
        ((slice(1, 5), slice(3, 9), slice(3, 9)), rim),
        ((slice(2, 4), slice(4, 8), slice(4, 8)), inside),
    ):
        p[1][place], p[0][place] = value, 1 - value - 1e-6
    return Scores(torch.from_numpy(p).log(), GRID, CARD)


def test_evidence_tells_inside_from_rim() -> None:
    found = evidence_of(scores(0.99, 0.6))
    assert set(found) == {"liver"}  # no voxel is the spleen's
    liver = found["liver"]
    deep, all_ = 2 * 4 * 4, 4 * 6 * 6
    assert liver.volume_ml == pytest.approx(all_ * 0.036)
    assert liver.inside == pytest.approx((0.99 * deep + 0.6 * (all_ - deep)) / all_, abs=1e-3)
    assert liver.rim == pytest.approx(0.6, abs=1e-3)
    assert liver.bits == pytest.approx(-(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4)), abs=1e-3)


def test_the_outermost_layer_looks_through_faces_only() -> None:
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 1
    found = outermost(labels)
    assert np.count_nonzero(found) == 7 and found[1, 1, 1] and not found[0, 0, 0]


def test_without_evidence_nothing_is_expected() -> None:
    assert math.isnan(expected_dsc(organ("liver"), None, {}))


def test_more_certain_is_more_trusted() -> None:
    values = {"volume": 1400.0, "components": 1.0, "outside_range": 0.0}
    sure = Evidence(1400.0, 0.99, 0.9, 0.3)
    unsure = Evidence(1400.0, 0.75, 0.6, 0.9)
    low, high = (expected_dsc(organ("liver"), each, values) for each in (unsure, sure))
    assert 0 <= low < high <= 1
