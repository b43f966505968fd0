"""Scans for the report's tests, built so that each side of the patient is known."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.volume import Volume

LIVER, SPLEEN, AORTA = 1, 3, 5
SPACING = (5.0, 1.5, 2.0)

ALL_STORAGE_ORDERS = [
    AxisMap(order, flips)
    for order in permutations(range(3))
    for flips in product((False, True), repeat=3)
]
"""The 48 ways to store the same voxels."""


def canonical_geometry(shape: tuple[int, int, int], tilt_degrees: float = 0.0) -> Geometry:
    """A grid towards S, P, L whose axes are turned about the left-right axis."""
    sine, cosine = np.sin(np.radians(tilt_degrees)), np.cos(np.radians(tilt_degrees))
    direction = ((0.0, -sine, cosine), (0.0, cosine, sine), (1.0, 0.0, 0.0))
    return Geometry(shape, SPACING, (-120.0, -60.0, 300.0), direction)


def lopsided(tilt_degrees: float = 0.0) -> tuple[Volume, Volume]:
    """An oval body in air: liver right, spleen left behind, aorta in the middle near the back."""
    shape = (30, 100, 120)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    body = ((y - 50) / 42) ** 2 + ((x - 60) / 52) ** 2 < 1
    image = np.where(body, 40, -1000) + 0 * z
    labels = np.zeros(shape, np.uint8)
    labels[12:26, 25:60, 15:50] = LIVER
    labels[16:24, 60:78, 85:104] = SPLEEN
    labels[0:30, 72:80, 58:64] = AORTA
    geometry = canonical_geometry(shape, tilt_degrees)
    return Volume(image.astype(np.int16), geometry), Volume(labels, geometry)


def stored(volume: Volume, order: AxisMap) -> Volume:
    """The same voxels at the same places in another axis order, as a file would bring them."""
    array = np.ascontiguousarray(order.apply(volume.array))
    return Volume(array, volume.geometry.permuted(order))
