"""Masks small enough to know every number by hand.

One voxel of 3 x 2 x 1 mm (z, y, x): marching cubes cuts a triangle off each of its eight corners;
its normal is (sy sz, sx sz, sx sy) / 8 = (6, 3, 2) / 8 in x, y, z, as long as its area: 7 / 8 mm2.
"""

from __future__ import annotations

import numpy as np

from flare_core.evaluate.metrics.pair import OrganPair

SPACING_MM = (3.0, 2.0, 1.0)
VOXEL_SURFACE_MM2 = 7.0
EMPTY = np.zeros((5, 5, 9), bool)


def voxels(*places: tuple[int, int, int], shape: tuple[int, int, int] = (5, 5, 9)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def pair(prediction: np.ndarray, reference: np.ndarray, tolerance_mm: float = 2.0) -> OrganPair:
    return OrganPair(
        prediction=prediction,
        reference=reference,
        spacing_mm=SPACING_MM,
        tolerance_mm=tolerance_mm,
    )


def two_apart(tolerance_mm: float = 2.0) -> OrganPair:
    """One voxel each, two steps (2 mm) apart in x.

    Corners in x: {3, 4} and {5, 6}. Half of either surface is 1 mm from the other, half 2 mm.
    """
    return pair(voxels((2, 2, 3)), voxels((2, 2, 5)), tolerance_mm)


BOTH_EMPTY = pair(EMPTY, EMPTY)
NOTHING_PREDICTED = pair(EMPTY, voxels((2, 2, 3)))
NOTHING_TRUE = pair(voxels((2, 2, 3)), EMPTY)
EQUAL = pair(voxels((2, 2, 3), (2, 3, 3)), voxels((2, 2, 3), (2, 3, 3)))


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Small noisy masks on an anisotropic grid: prediction, reference, spacing."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 10, 3)
    reference = rng.random(shape) < 0.4
    prediction = np.where(rng.random(shape) < 0.2, ~reference, reference)
    z, y, x = rng.uniform(0.4, 5.0, 3)
    return prediction, reference, (float(z), float(y), float(x))
