"""Which part of a scan to show: the body, around the organs, without the air and the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Box, Geometry, Index
from flare_core.imaging.volume import Volume

BODY_HU = -300.0
"""Between fat and the air around the body."""
COARSE_MM = 3.0
"""Pixel size at which the body is looked for."""
THIN_MM = 21.0
"""What is thinner than this (table, blanket, tubes) is not the body."""
AROUND_BODY_MM = 6.0
ABOVE_ORGANS_MM = 25.0
"""Shown above and below the organs."""
LEAST_MM = 200.0
"""Least height of the coronal and sagittal pictures, where the scan has it."""


def field_of_view(scan: Volume, organs: Box, slices: Sequence[int]) -> Box:
    """Return the box to show of a canonical scan.

    Parameters
    ----------
    scan : Volume (Z, Y, X), HU
        Only the planes `slices` are read.
    organs : Box
        Stays inside the result.
    slices : sequence of int
        The axial planes that will be shown.
    """
    geometry = scan.geometry
    body = _body(scan, slices)
    around = organs if body is None else body.union(organs)
    height = (organs.stop[0] - organs.start[0]) * geometry.spacing_mm[0]
    above = max(ABOVE_ORGANS_MM, (LEAST_MM - height) / 2)
    margin = _voxels((above, AROUND_BODY_MM, AROUND_BODY_MM), geometry)
    whole = Box((organs.start[0], *around.start[1:]), (organs.stop[0], *around.stop[1:]))
    return whole.grow(margin, geometry.shape)


def _body(scan: Volume, slices: Sequence[int]) -> Box | None:
    """Return the box (in y and x) around the body in some axial planes, or None if all is air."""
    steps = [max(1, int(COARSE_MM / mm)) for mm in scan.geometry.spacing_mm[1:]]
    planes = np.stack([scan.array[z, :: steps[0], :: steps[1]] for z in slices])
    solid = planes > BODY_HU
    cores = solid
    radii = []
    for axis, step in zip((1, 2), steps, strict=True):
        reach = int(THIN_MM / 2 / (step * scan.geometry.spacing_mm[axis]))
        radii.append(reach)
        cores = _eroded(cores, axis, reach)
    found = Box.of_mask(cores)
    if found is None:
        return None
    depth, height, width = scan.geometry.shape
    start = [(found.start[a + 1] - radii[a]) * steps[a] for a in (0, 1)]
    stop = [(found.stop[a + 1] + radii[a]) * steps[a] for a in (0, 1)]
    grown = Box((0, start[0], start[1]), (depth, stop[0], stop[1]))
    return grown.intersect(Box.of_shape((depth, height, width)))


def _eroded(mask: npt.NDArray[np.bool_], axis: int, reach: int) -> npt.NDArray[np.bool_]:
    """Keep the pixels with `reach` more on both sides along `axis`; past the edge counts as set."""
    kept = mask
    moved = np.moveaxis(mask, axis, -1)
    size = moved.shape[-1]
    for step in range(1, min(reach, size - 1) + 1):
        inner = np.ones(moved.shape, bool)
        inner[..., step:] &= moved[..., :-step]
        inner[..., :-step] &= moved[..., step:]
        kept = kept & np.moveaxis(inner, -1, axis)
    return kept


def _voxels(margin_mm: tuple[float, float, float], geometry: Geometry) -> Index:
    z, y, x = (
        int(np.ceil(max(0.0, mm) / step))
        for mm, step in zip(margin_mm, geometry.spacing_mm, strict=True)
    )
    return z, y, x
