"""What a stage sees that is shown some organs alone (`OrganMask` of its card).

A network that learned on the liver with nothing around it must be shown it so: all of it, with the
tumours that the organ stage left out.

1. Stray pieces of the organs are left away, gaps and holes are closed.
2. Dents too, as far as they hold soft tissue and no other organ.
3. The edge is widened; hidden organs are taken out, and everything else gets one value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import OrganMask
from flare_core.segment.postprocess import ALL_NEIGHBOURS

Mask = npt.NDArray[np.bool_]

LEAST_SHARE = 0.05
"""A piece smaller than this share of the largest is a mistake of the organ stage."""


def seen_voxels(image: Volume, organs: Volume, mask: OrganMask) -> Mask:
    """Return what a stage sees of a scan, bool (Z, Y, X); nothing if none of the organs is there.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        On the stage's grid, canonical axes.
    organs : Volume (Z, Y, X)
        Organ ids on the same grid.
    mask : OrganMask
        What the card says.
    """
    spacing = image.geometry.spacing_mm
    seen = np.isin(organs.array, [organ(key).id for key in mask.organs])
    inner = Box.of_mask(seen)
    if inner is None:
        return seen
    reach = (max(mask.closing_mm, mask.dents_mm) + mm for mm in mask.widening_mm)
    z, y, x = (math.ceil(mm / s) + 1 for mm, s in zip(reach, spacing, strict=True))
    box = inner.grow((z, y, x), seen.shape)
    part = without_strays(seen[box.slices])
    if mask.dents_mm > mask.closing_mm:
        hu = image.array[box.slices].astype(np.float32)
        soft = (hu >= mask.soft_hu[0]) & (hu <= mask.soft_hu[1])
        free = soft & (organs.array[box.slices] == 0)
        part = part | (closed(part, mask.dents_mm, spacing) & free)
    part = closed(part, mask.closing_mm, spacing)
    for plane in part:
        plane |= ndimage.binary_fill_holes(plane)
    hidden = np.isin(organs.array[box.slices], [organ(key).id for key in mask.hidden])
    seen[box.slices] = _reached(part, mask.widening_mm, spacing) & ~hidden
    return seen


def without_strays(mask: Mask) -> Mask:
    """Return the pieces of a mask (Z, Y, X) that are no mistakes.

    Examples
    --------
    >>> row = np.array([[[1] * 30 + [0] + [1]]], bool)
    >>> int(without_strays(row).sum())
    30
    """
    pieces, _ = ndimage.label(mask, ALL_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= max(1, LEAST_SHARE * sizes.max()))[pieces]


def closed(mask: Mask, radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """Return a mask (Z, Y, X) closed by a cube that reaches `radius_mm` to each side.

    A cube is looked at axis by axis, whatever its size; a ball of 15 mm has 5000 voxels.
    """
    if radius_mm <= 0:
        return mask
    reach = [math.ceil(radius_mm / s - 1e-6) for s in spacing_mm]
    wide = np.pad(mask, [(r, r) for r in reach])
    size = [2 * r + 1 for r in reach]
    shut = ndimage.minimum_filter(ndimage.maximum_filter(wide, size), size, mode="constant")
    inner = tuple(slice(r, n - r) for r, n in zip(reach, wide.shape, strict=True))
    return shut[inner] | mask


def _reached(mask: Mask, reach_mm: Sequence[float], spacing_mm: Sequence[float]) -> Mask:
    size = [2 * round(mm / s) + 1 for mm, s in zip(reach_mm, spacing_mm, strict=True)]
    return ndimage.maximum_filter(mask, size, mode="constant")
