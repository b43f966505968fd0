"""Surface area of a voxel mask by counting how often straight lines cross its border.

Cauchy and Crofton: the area is twice the mean, over all directions, of the number of crossings per
unit of area of parallel lines.  A grid offers lines along its own lattice vectors; a crossing is a
pair of neighbouring grid points of which one is inside.  The weights of the directions are chosen
so that a flat piece of surface comes out right whichever way it faces, in the least-squares sense;
that is what makes the estimate hold for slices several times thicker than the pixels.

Source: Legland, Kieu, Devaux, "Computation of Minkowski measures on 2D and 3D binary images",
Image Anal Stereol 2007; Lehmann and Legland, "Efficient N-dimensional surface estimation using
Crofton formula and run-length encoding", Insight J 2012.  The weights are ours.

Measured on balls and ellipsoids, 5 to 160 mm across and tilted at random, against the exact
area: within 1 % at 1 mm, 2 % at 2.5 x 0.8 x 0.8 mm and 4 % at 5 x 0.7 x 0.7 mm; marching cubes on
the same masks is 9, 17 and 24 % too large, because it measures the steps.  What is only a few
slices thick comes out too small, as its ends fall through: a 5 mm thick disc (like an adrenal
gland) by 2, 6 and 14 %, a 20 mm ball in 5 mm slices by 7 %.  The worst case is a brick along the
axes (10 % too small), which no organ is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Index = tuple[int, int, int]
Spacing = tuple[float, float, float]

FACINGS = 600
"""Number of facing directions for which the weights are fitted; far more than there are weights."""

FARTHEST_STEP = 3
"""Longest step along an axis, voxels. Fine axes need long steps: with single steps all oblique
lines of a thick-sliced grid run nearly along z."""

LONGEST_LINE = 1.6
"""Longest distance between the two points of a pair, in units of the coarsest spacing (a diagonal
of a square is 1.41); longer ones would step over thin structures."""

NEGLIGIBLE = 1e-9


def surface_cm2(mask: npt.NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """Return the area of the border of `mask`, cm2, everything outside the array being background.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)
        A structure, cropped to its bounding box to save time.
    spacing_mm : tuple of float
        Along z, y, x.

    Examples
    --------
    >>> z, y, x = np.ogrid[-11:12, -11:12, -11:12]
    >>> ball = z**2 + y**2 + x**2 <= 100  # radius 10 mm: 12.57 cm2
    >>> round(surface_cm2(ball, (1.0, 1.0, 1.0)), 1)
    12.6
    """
    # From the coarsest axis to the finest: the area must not depend on the order of the axes.
    order = sorted(range(3), key=lambda axis: -spacing_mm[axis])
    z, y, x = (float(spacing_mm[axis]) for axis in order)
    wide = np.pad(np.transpose(mask, order), FARTHEST_STEP)
    return sum(
        area * sum(_crossings(wide, step) for step in steps)
        for steps, area in _areas_per_crossing((z, y, x))
    )


def _crossings(mask: npt.NDArray[np.bool_], step: Index) -> int:
    """Count the pairs of voxels, `step` (z, y, x) apart, of which one is in `mask`."""
    ahead = tuple(slice(max(0, k), n + min(0, k)) for k, n in zip(step, mask.shape, strict=True))
    behind = tuple(slice(max(0, -k), n + min(0, -k)) for k, n in zip(step, mask.shape, strict=True))
    return int(np.count_nonzero(mask[ahead] != mask[behind]))


@lru_cache(maxsize=32)
def _areas_per_crossing(spacing_mm: Spacing) -> tuple[tuple[tuple[Index, ...], float], ...]:
    """Return the steps to count along, each set with the area (cm2) that one crossing stands for.

    Steps that mirrors of the grid, and swaps of axes with the same spacing, turn into one another
    share one area: else it would matter which way round a mask is stored.
    """
    sets = _alike(_steps(spacing_mm), spacing_mm)
    facings = _facings(FACINGS)
    # A flat unit area facing n is hit by |n . u| of the lines along u; the weighted sum must be
    # the mean of |n . u| over the sphere, one half, for every n.
    hits, per_line_mm2 = [], []
    for steps in sets:
        lines = np.asarray(steps) * np.asarray(spacing_mm)
        lengths = np.linalg.norm(lines, axis=1)
        hits.append(np.abs(facings @ (lines / lengths[:, None]).T).sum(axis=1))
        per_line_mm2.append(math.prod(spacing_mm) / lengths[0])
    weights, _ = nnls(np.stack(hits, axis=1), np.full(FACINGS, 0.5))
    areas = 2.0 * weights * np.array(per_line_mm2) / 100.0
    found = zip(sets, areas, strict=True)
    return tuple((steps, float(area)) for steps, area in found if area > NEGLIGIBLE)


def _alike(steps: tuple[Index, ...], spacing_mm: Spacing) -> list[tuple[Index, ...]]:
    """Return the steps in sets that mirrors and swaps of equal axes turn into one another."""
    sets: dict[tuple[tuple[float, int], ...], list[Index]] = {}
    for step in steps:
        kind = tuple(sorted((s, abs(k)) for s, k in zip(spacing_mm, step, strict=True)))
        sets.setdefault(kind, []).append(step)
    return [tuple(alike) for alike in sets.values()]


def _steps(spacing_mm: Spacing) -> tuple[Index, ...]:
    """Return the lattice vectors to count along, one of each opposite pair."""
    coarsest = max(spacing_mm)
    reach = [min(FARTHEST_STEP, math.ceil(coarsest / s - 0.01)) for s in spacing_mm]
    z, y, x = (range(-r, r + 1) for r in reach)
    return tuple(
        step
        for step in product(z, y, x)
        if step > (0, 0, 0) and math.gcd(*step) == 1 and _usable(step, spacing_mm, coarsest)
    )


def _usable(step: Index, spacing_mm: Spacing, coarsest: float) -> bool:
    """Whether a step is to a direct neighbour or not too long."""
    length = math.hypot(*(k * s for k, s in zip(step, spacing_mm, strict=True)))
    return max(map(abs, step)) == 1 or length <= LONGEST_LINE * coarsest


def _facings(count: int) -> npt.NDArray[np.float64]:
    """Return unit vectors (count, 3) spread evenly over the sphere (a Fibonacci spiral)."""
    place = np.arange(count) + 0.5
    height = 1 - 2 * place / count
    turn = np.pi * (1 + math.sqrt(5)) * place
    radius = np.sqrt(1 - height**2)
    return np.stack([height, radius * np.cos(turn), radius * np.sin(turn)], axis=1)
