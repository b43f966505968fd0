from __future__ import annotations

import math

import numpy as np
import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics.hd95 import HD95, hd95, weighted_quantile
from flare_core.evaluate.metrics.pair import OrganPair


def test_by_hand() -> None:
    assert hd95(hand.two_apart()) == 2.0 and hd95(hand.EQUAL) == 0.0


def test_the_larger_direction_counts() -> None:
    """From the lone prediction 0 mm; half of the reference's area is 8 mm and more away."""
    pair = hand.pair(hand.voxels((2, 2, 0)), hand.voxels((2, 2, 0), (2, 2, 8)))
    assert hd95(pair) == 8.0


def test_a_speck_of_less_than_five_percent_does_not_count() -> None:
    values = np.array([1.0, 100.0])
    assert weighted_quantile(values, np.array([96.0, 4.0])) == 1.0
    assert weighted_quantile(values, np.array([94.0, 6.0])) == 100.0


def test_empty_policy() -> None:
    assert math.isnan(hd95(hand.BOTH_EMPTY))
    assert hd95(hand.NOTHING_PREDICTED) == hd95(hand.NOTHING_TRUE) == math.inf == HD95.missing


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(8))
def test_reference_implementation(seed: int) -> None:
    package = pytest.importorskip("surface_distance")
    prediction, reference, spacing_mm = hand.random_masks(seed)
    if not (prediction.any() and reference.any()):
        pytest.skip("an empty mask")
    found = package.compute_surface_distances(
        np.ascontiguousarray(reference.T), np.ascontiguousarray(prediction.T), spacing_mm[::-1]
    )
    pair = OrganPair(prediction=prediction, reference=reference, spacing_mm=spacing_mm)
    assert hd95(pair) == pytest.approx(package.compute_robust_hausdorff(found, 95))


def test_medpy_on_smooth_shapes() -> None:
    """MedPy measures between voxel centres and pools both directions: alike, not equal."""
    metric = pytest.importorskip("medpy.metric.binary")
    z, y, x = np.ogrid[-10:11, -20:21, -20:21]
    one = (2.0 * z) ** 2 + y**2 + x**2 <= 14**2
    other = (2.0 * z) ** 2 + (y - 4) ** 2 + (x - 1) ** 2 <= 15**2
    pair = OrganPair(prediction=one, reference=other, spacing_mm=(2.0, 1.0, 1.0))
    assert hd95(pair) == pytest.approx(metric.hd95(one, other, (2.0, 1.0, 1.0)), abs=0.6)
