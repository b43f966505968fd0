"""Smooth random fields of a given grain, and how noisy a scan is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

Floats = npt.NDArray[np.float32]

KNOT_BLUR = 0.9
"""Width of a knot's bell in knot distances; with less, the lattice shows as straight edges."""
KNOTS_A_GRAIN = 1.5
BELL_TO_SD = 1.4826
"""From the median absolute deviation to the standard deviation of a bell curve."""


def smooth_noise(
    random: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], grain_mm: float
) -> Floats:
    """Return noise (Z, Y, X) of mean 0 and standard deviation 1 that varies over `grain_mm`.

    Random numbers are drawn on a lattice `grain_mm` wide and spread with one small matrix per axis,
    which costs much less than blurring as many numbers as there are voxels.
    """
    grains = [max(grain_mm / KNOTS_A_GRAIN, 0.6 * step) for step in spacing_mm]
    knots = [int(n * s / g) + 7 for n, s, g in zip(shape, spacing_mm, grains, strict=True)]
    field = random.standard_normal(knots, dtype=np.float32)
    for n, k, s, g in zip(shape, knots, spacing_mm, grains, strict=True):
        field = np.tensordot(field, _spread(n, k, s / g), axes=(0, 1))
    return field


def _spread(n: int, knots: int, step: float) -> Floats:
    """Return weights (n, knots) of each knot at each voxel; the squares of a row sum to 1."""
    away = np.arange(n)[:, None] * step + 3.0 - np.arange(knots)[None, :]
    weights = np.exp(-0.5 * (away / KNOT_BLUR) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def blurred(image: Floats, spacing_mm: Sequence[float], sigma_mm: float) -> Floats:
    """Return an image (Z, Y, X) blurred by `sigma_mm`; an axis much coarser than that stays."""
    for axis, step in enumerate(spacing_mm):
        if sigma_mm / step > 0.25:
            image = gaussian_filter1d(image, sigma_mm / step, axis=axis, truncate=2.5)
    return image


def spread_hu(values: Floats) -> float:
    """Return the standard deviation of most of the values (N), HU: few vessels do not count."""
    if values.size < 2:
        return 0.0
    return float(BELL_TO_SD * np.median(np.abs(values - np.median(values))))
