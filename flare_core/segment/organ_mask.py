"""What a stage sees that is shown some organs alone (`OrganMask` of its card).

A network that learned on the liver with nothing around it must be shown it so: all of it, with the
tumours that the organ stage left out.

1. Stray pieces of the organs are left away; those of a hidden organ, if they lie at the organs, are
   taken for part of them.
2. Gaps and holes are closed, and dents as far as they hold soft tissue and no other organ.
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

MISTAKEN_SHARE = 0.1
"""The same of a hidden organ, as in clean-up: a tumour of 20 mm at the liver's edge was called
gallbladder in three scans of a patient (hcc011), beside a true one of 50 to 90 mL."""

LEAST_CONTACT = 0.25
"""Such a piece is part of the organs if they are this share of its neighbours: there half or all.
"""


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
    seen, hidden = _organs_and_hidden(without_strays(seen), organs, mask)
    inner = Box.of_mask(seen) or inner
    box = inner.grow((z, y, x), seen.shape)
    part = seen[box.slices]
    if mask.dents_mm > mask.closing_mm:
        hu = image.array[box.slices].astype(np.float32)
        soft = (hu >= mask.soft_hu[0]) & (hu <= mask.soft_hu[1])
        free = soft & (organs.array[box.slices] == 0)
        part = part | (closed(part, mask.dents_mm, spacing) & free)
    part = closed(part, mask.closing_mm, spacing)
    for plane in part:
        plane |= ndimage.binary_fill_holes(plane)
    seen[box.slices] = _reached(part, mask.widening_mm, spacing)
    return seen & ~hidden


def _organs_and_hidden(seen: Mask, organs: Volume, mask: OrganMask) -> tuple[Mask, Mask]:
    """Return the organs with what was mistaken for a hidden one, and what is hidden (Z, Y, X)."""
    whole, hidden = seen.copy(), np.zeros_like(seen)
    for key in mask.hidden:
        there = organs.array == organ(key).id
        true = without_strays(there, MISTAKEN_SHARE)
        hidden |= true
        whole |= _in_contact(there & ~true, seen)
    return whole, hidden


def without_strays(mask: Mask, least_share: float = LEAST_SHARE) -> Mask:
    """Return the pieces of a mask (Z, Y, X) of at least this share of the largest.

    Examples
    --------
    >>> row = np.array([[[1] * 30 + [0] + [1]]], bool)
    >>> int(without_strays(row).sum()), int(without_strays(row, 0.03).sum())
    (30, 31)
    """
    kept = np.zeros_like(mask)
    box = Box.of_mask(mask)
    if box is None:
        return kept
    pieces, _ = ndimage.label(mask[box.slices], ALL_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept[box.slices] = (sizes >= max(1, least_share * sizes.max()))[pieces]
    return kept


def _in_contact(mask: Mask, organs: Mask) -> Mask:
    """Return the pieces of a mask of which the organs are `LEAST_CONTACT` of all neighbours."""
    pieces, _ = ndimage.label(mask, ALL_NEIGHBOURS)
    kept = np.zeros_like(mask)
    for number, part in enumerate(ndimage.find_objects(pieces), 1):
        wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in part)
        piece = pieces[wide] == number
        ring = ndimage.binary_dilation(piece, ALL_NEIGHBOURS) & ~piece
        if organs[wide][ring].mean() >= LEAST_CONTACT:
            kept[wide] |= piece
    return kept


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
