"""Random walker with priors (Grady 2005): borders move to the edges of the image.

Solved by scipy's conjugate gradients on a matrix that is never written down: each voxel has six
neighbours, so that a product with it is three shifted sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]

LEAST_TIE = 0.02
"""Weight left between neighbours across an edge, against that within a tissue."""

MOST_STEPS = 80
"""Of the solver; it needs 20 to 40."""

PRECISE = 1e-3
"""Remaining error, against the right-hand side's size."""


def settled(
    image: Float,
    target: Float,
    pinned: Mask,
    spacing_mm: Spacing,
    *,
    edge_hu: float,
    smooth: float,
) -> Float:
    """Minimise sum w (x - x')^2 + sum (x - target)^2 over neighbours x, x'.

    Weights w fall with the difference of neighbours' values, and with the square of their distance.

    Parameters
    ----------
    image : float32 (Z, Y, X), HU
        What edges are looked for in.
    target : float32 (Z, Y, X), 0 to 1
        What is believed of each voxel.
    pinned : bool (Z, Y, X)
        Voxels that keep their target.
    spacing_mm : three floats
        Voxel size z, y, x, mm.
    edge_hu : float
        Difference between neighbours that counts as an edge.
    smooth : float
        Weight of neighbours one shortest step apart, against a voxel's own target.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    near = [(min(spacing_mm) / mm) ** 2 for mm in spacing_mm]
    ties = [smooth * share * _alike(image, axis, edge_hu) for axis, share in enumerate(near)]
    diagonal = np.ones_like(target)
    for axis, tie in enumerate(ties):
        low, high = _neighbours(axis)
        diagonal[low] += tie
        diagonal[high] += tie
    free = ~pinned

    def times(x: Float) -> Float:
        result = diagonal * x
        for axis, tie in enumerate(ties):
            low, high = _neighbours(axis)
            result[low] -= tie * x[high]
            result[high] -= tie * x[low]
        return result

    size = target.size
    matrix = LinearOperator(
        (size, size), lambda x: (times(x.reshape(target.shape) * free) * free).ravel(), dtype="f4"
    )
    scaled = LinearOperator((size, size), lambda x: x / diagonal.ravel(), dtype="f4")
    right = (target - times(target)) * free
    change, _ = cg(matrix, right.ravel(), rtol=PRECISE, maxiter=MOST_STEPS, M=scaled)
    return np.asarray(target + change.reshape(target.shape) * free, np.float32)


def _alike(image: Float, axis: int, edge_hu: float) -> Float:
    step = np.diff(image, axis=axis) / edge_hu
    return np.asarray(np.exp(-(step**2)) + LEAST_TIE, np.float32)


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)
