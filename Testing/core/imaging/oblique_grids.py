"""Grids that show every mistake: anisotropic, oblique, not at the origin, in any axis order."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from flare_core.imaging.geometry import AxisMap, Geometry, Index, Matrix, Triple

SPACING: Triple = (5.0, 0.8, 1.1)
ORIGIN: Triple = (-171.5, 33.25, -812.0)

ALL_AXIS_MAPS = [
    AxisMap((z, y, x), (bool(a), bool(b), bool(c)))
    for z, y, x in permutations(range(3))
    for a, b, c in product((0, 1), repeat=3)
]
"""The 48 ways to store the same voxels."""


def turned(degrees: Triple) -> Matrix:
    """Canonical axes after rotations about L, P and S; up to 40 degrees they keep their names."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (i for i in range(3) if i != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    z, y, x = (tuple(map(float, rotation[:, lps])) for lps in (2, 1, 0))
    return z, y, x  # type: ignore[return-value]


def oblique(shape: Index = (5, 7, 9), spacing: Triple = SPACING) -> Geometry:
    return Geometry(shape, spacing, ORIGIN, turned((14.0, -9.0, 21.0)))


def some_voxels(shape: Index, count: int = 50) -> np.ndarray:
    """Voxel indices (n, 3), the corners among them."""
    corners = np.array(list(product(*[(0, n - 1) for n in shape])))
    return np.vstack([corners, np.random.default_rng(5).integers(0, shape, (count, 3))])
