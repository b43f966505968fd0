"""Lesions and organs belong together: which organ a finding is part of, and what becomes of both.

1. `connected`: findings are the connected pieces of what the lesion stage marks.
2. `hosted`: each has the organ it lies in or touches. Findings too small, and those that touch no
   organ, are dropped (as hanglok, FLARE24).
3. `without_holes`: what a finding has all around it in a slice is part of it.
4. An organ keeps its tumours: what the organ stage left as a hole, or called by another organ's
   name, becomes the organ; clean-up then sees whole organs, and the lesion is painted on top.
`place_lesions` does all of it.

The label map has `LESION.id` on top of the organs, as FLARE23's. With the list of findings
(`Piece`), `whole_organs` gives back the organs with their lesions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import LESION, ORGANS, Organ
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.segment.postprocess import ALL_NEIGHBOURS, Slices

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.generic]

TOUCH_MM = 3.0
"""A finding touches an organ that is this near: networks leave a rim between the two."""

LEAST_TOUCH = 0.05
"""It must touch with this share of itself or its neighbourhood: a spot in the heart above the
liver's dome had .04, metastases in the liver .7 and more."""

BELONGS = 0.25
"""A finding is part of an organ if at least this share of it lies in the organ, or of its
neighbourhood is the organ's. A tumour bulging out of a kidney has about a third of it; a mass that
only lies against the liver, a tenth."""

VESSELS = ("aorta", "inferior_vena_cava")
"""What is told as a finding's neighbour only if nothing else touches it, and never contains one."""

MISTAKEN = ("gallbladder",)
"""What organ stages call tumours of the liver: that such a label fills a finding says nothing."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One connected finding."""

    box: Slices
    """Where it lies in the grid."""
    mask: Mask
    """Its voxels inside `box`."""
    organ: Organ | None = None
    """What it lies in or touches; None where no organ is known (whole body)."""
    within: bool = False
    """Whether it is part of that organ, or only touches it."""

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.mask))


def place_lesions(
    organs: Volume, mask: Volume, least_ml: float, clean: Callable[[Volume], Volume]
) -> tuple[Volume, tuple[Piece, ...]]:
    """Return cleaned labels with the lesions on top, and the findings from head to foot.

    Parameters
    ----------
    organs : Volume (Z, Y, X), canonical axes
        Organ ids before clean-up; all 0 for a model that knows none, whose findings are all kept.
    mask : bool (Z, Y, X), on the same grid
        Where the lesion stage sees lesions.
    least_ml : float
        Smaller findings are dropped.
    clean : callable
        The organs' clean-up.
    """
    known = bool(organs.array.any())
    pieces = [
        piece
        for piece in connected(without_holes(mask, organs).array)
        if piece.voxels * organs.geometry.voxel_ml >= least_ml
    ]
    filled = whole_organs(organs, [hosted(piece, organs) for piece in pieces])
    labels = clean(filled)
    kept = [hosted(piece, labels) for piece in pieces]
    if known:
        kept = [piece for piece in kept if piece.organ is not None]
    array = labels.array.copy()
    for piece in kept:
        array[piece.box][piece.mask] = LESION.id
    return labels.with_array(array), head_to_foot(kept)


def without_holes(mask: Volume, organs: Volume) -> Volume:
    """Return findings with the holes of their axial slices, as far as these are of their organ.

    Necrosis, and lipiodol of an earlier treatment, are not marked by a network that was taught
    another look of tumours, and organ stages leave lipiodol out of the liver.

    Parameters
    ----------
    mask : bool (Z, Y, X), canonical axes
        Findings.
    organs : Volume (Z, Y, X), on the same grid
        Organ ids before clean-up; a hole may hold the finding's organ, or none.
    """
    array = mask.array.astype(np.bool_)
    for piece in connected(mask.array):
        host = hosted(piece, organs)
        if host.within and host.organ is not None:
            whole = np.array([ndimage.binary_fill_holes(plane) for plane in piece.mask])
            its = np.isin(organs.array[piece.box], (0, host.organ.id))
            array[piece.box][whole & its] = True
    return mask.with_array(array)


def connected(mask: Labels) -> list[Piece]:
    """Return the connected findings (faces, edges and corners touch) of a mask (Z, Y, X)."""
    box = Box.of_mask(mask)
    if box is None:
        return []
    numbers, _ = ndimage.label(mask[box.slices], ALL_NEIGHBOURS)
    pieces = []
    for number, part in enumerate(ndimage.find_objects(numbers), 1):
        place = tuple(
            slice(side.start + low, side.stop + low)
            for side, low in zip(part, box.start, strict=True)
        )
        pieces.append(Piece((place[0], place[1], place[2]), numbers[part] == number))
    return pieces


def hosted(piece: Piece, organs: Volume) -> Piece:
    """Return a finding with the organ it lies in or touches.

    Parameters
    ----------
    organs : Volume (Z, Y, X)
        Organ ids; the finding's own voxels may be an organ's or not.
    """
    reach = [math.ceil(TOUCH_MM / size) for size in organs.geometry.spacing_mm]
    wide, inner = widened(piece.box, reach, organs.geometry.shape)
    mask = np.zeros(tuple(side.stop - side.start for side in wide), np.bool_)
    mask[inner] = piece.mask
    near = ndimage.maximum_filter(mask, size=[2 * r + 1 for r in reach], mode="constant")
    there = organs.array[wide]
    inside = np.bincount(there[mask], minlength=256) / np.count_nonzero(mask)
    ring = there[near & ~mask]
    around = np.bincount(ring, minlength=256) / max(1, ring.size)
    return _with_host(piece, inside, around)


def _with_host(
    piece: Piece, inside: npt.NDArray[np.float64], around: npt.NDArray[np.float64]
) -> Piece:
    """Return a finding with its organ, from the shares of its voxels and of its neighbours."""
    best: tuple[float, Organ] | None = None
    for target in ORGANS:
        own = 0.0 if target.key in MISTAKEN else inside[target.id]
        weight = (own + around[target.id]) * (1e-3 if target.key in VESSELS else 1.0)
        if weight > 0 and (best is None or weight > best[0]):
            best = (weight, target)
    if best is None:
        return Piece(piece.box, piece.mask)
    host = best[1]
    share = max(inside[host.id], around[host.id])
    if share < LEAST_TOUCH:
        return Piece(piece.box, piece.mask)
    return Piece(piece.box, piece.mask, host, bool(share >= BELONGS and host.key not in VESSELS))


def widened(box: Slices, reach: Sequence[int], shape: Sequence[int]) -> tuple[Slices, Slices]:
    """Return a box widened inside the grid, and where the old one lies in it."""
    wide, inner = [], []
    for side, far, size in zip(box, reach, shape, strict=True):
        start = max(0, side.start - far)
        wide.append(slice(start, min(size, side.stop + far)))
        inner.append(slice(side.start - start, side.stop - start))
    return (wide[0], wide[1], wide[2]), (inner[0], inner[1], inner[2])


def whole_organs(labels: Volume, pieces: Sequence[Piece]) -> Volume:
    """Return the organs with the lesions that are part of them, and without all others.

    Parameters
    ----------
    labels : Volume (Z, Y, X)
        Organ ids, lesions on top or not.
    pieces : sequence of Piece
        The findings, in the same grid.
    """
    array = labels.array.copy()
    array[array == LESION.id] = 0
    for piece in pieces:
        if piece.within and piece.organ is not None:
            array[piece.box][piece.mask] = piece.organ.id
    return labels.with_array(array)


def head_to_foot(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Return findings of a canonical grid (z grows to the head), the highest first.

    What counts is the middle of the box; of equal ones, the patient's right comes first.
    """

    def order(piece: Piece) -> tuple[float, float, float]:
        z, y, x = ((side.start + side.stop) / 2 for side in piece.box)
        return -z, x, y

    return tuple(sorted(pieces, key=order))
