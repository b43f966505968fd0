from __future__ import annotations

import math

import numpy as np
import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics.mean_surface_distance import (
    MEAN_SURFACE_DISTANCE,
    mean_surface_distance,
)
from flare_core.evaluate.metrics.pair import OrganPair


def test_by_hand() -> None:
    assert mean_surface_distance(hand.two_apart()) == pytest.approx(1.5)
    assert mean_surface_distance(hand.EQUAL) == 0.0


def test_both_directions_count_by_area() -> None:
    """7 mm2 of the prediction at 0 mm; of the reference 7 at 0, 3.5 at 7 and 3.5 at 8 mm."""
    pair = hand.pair(hand.voxels((2, 2, 0)), hand.voxels((2, 2, 0), (2, 2, 8)))
    assert mean_surface_distance(pair) == pytest.approx((3.5 * 7 + 3.5 * 8) / 21)


def test_empty_policy() -> None:
    assert math.isnan(mean_surface_distance(hand.BOTH_EMPTY))
    assert mean_surface_distance(hand.NOTHING_PREDICTED) == math.inf
    assert mean_surface_distance(hand.NOTHING_TRUE) == math.inf == MEAN_SURFACE_DISTANCE.missing


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(6))
def test_reference_implementation(seed: int) -> None:
    """It gives each direction's mean; ours weighs them by their areas."""
    package = pytest.importorskip("surface_distance")
    prediction, reference, spacing_mm = hand.random_masks(seed)
    if not (prediction.any() and reference.any()):
        pytest.skip("an empty mask")
    found = package.compute_surface_distances(
        np.ascontiguousarray(reference.T), np.ascontiguousarray(prediction.T), spacing_mm[::-1]
    )
    areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
    wanted = np.average(package.compute_average_surface_distance(found), weights=areas)
    pair = OrganPair(prediction=prediction, reference=reference, spacing_mm=spacing_mm)
    assert mean_surface_distance(pair) == pytest.approx(wanted)


def test_medpy_on_smooth_shapes() -> None:
    """MedPy measures between the centres of the outermost voxels, each voxel counting the same."""
    metric = pytest.importorskip("medpy.metric.binary")
    z, y, x = np.ogrid[-10:11, -20:21, -20:21]
    one = (2.0 * z) ** 2 + y**2 + x**2 <= 14**2
    other = (2.0 * z) ** 2 + (y - 4) ** 2 + (x - 1) ** 2 <= 15**2
    pair = OrganPair(prediction=one, reference=other, spacing_mm=(2.0, 1.0, 1.0))
    wanted = metric.assd(one, other, (2.0, 1.0, 1.0))
    assert mean_surface_distance(pair) == pytest.approx(wanted, rel=0.15)
