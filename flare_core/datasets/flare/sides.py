"""Right and left for organs that share one number, as FLARE21's kidneys do.

1. Two pieces far apart sideways are one of each side; the middle between them parts the rest.
2. Otherwise (one kidney was removed, or both have grown together) the middle of the body parts
   them, which takes the scan.
A piece belongs to the side its centre lies on, as a whole; only one that reaches far over to both
sides (a horseshoe kidney) is cut there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume

Labels = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

APART_MM = 50.0
"""Two pieces whose centres are this far apart sideways are the right and the left one. In 21 real
scans kidneys' centres were 92 to 168 mm apart; pieces of one kidney lie within its 60 mm. A lone
kidney's centre was 45 to 92 mm from the body's middle."""

WORTH = 0.1
"""Pieces below this share of the largest one do not tell where the middle is."""

BOTH_SIDES = 0.2
"""A piece with at least this share on either side of the middle is cut there."""

TISSUE_HU = -300.0
"""Denser than this is body, not air or mattress."""

STEP_MM = 4.0
"""Voxels this far apart are enough to find the body's middle."""

ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)


def split_sides(labels: Volume, ids: tuple[int, int], scan: Callable[[], Volume]) -> Volume:
    """Return a label map in which an organ of two sides is one of the right and one of the left.

    Parameters
    ----------
    labels : Volume
        Organ ids (Z, Y, X), any axes; both sides have ``ids[0]``.
    ids : (int, int)
        Number of the right organ and of the left one.
    scan : callable
        Reads the scan on the same grid, HU; called only where the labels alone do not tell.
    """
    right, left = ids
    box = Box.of_mask(labels.array == right)
    if box is None:
        return labels
    part = labels.array[box.slices] == right
    pieces, count = ndimage.label(part, ALL_NEIGHBOURS)
    x_mm = _x_of(labels.geometry.crop(box))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    centres = np.asarray(ndimage.mean(x_mm, pieces, np.arange(1, count + 1)))
    middle = _middle_of(centres[sizes >= WORTH * sizes.max()])
    if middle is None:
        middle = body_middle_mm(scan(), box)
    changed = labels.array.copy()
    changed[box.slices][_left_of(middle, pieces, centres, x_mm)] = left
    return labels.with_array(changed)


def body_middle_mm(scan: Volume, box: Box) -> float:
    """Return the x (LPS, mm) of the body's middle in the slices, rows and columns around `box`.

    The median of the largest piece denser than air: the table below and an arm beside it, which
    are other pieces, do not move it.
    """
    steps = [max(1, int(STEP_MM / mm)) for mm in scan.geometry.spacing_mm]
    places = [slice(None, None, step) for step in steps]
    axis = int(np.argmax([abs(row[2]) for row in scan.geometry.direction]))  # head to foot
    places[axis] = slice(box.start[axis], box.stop[axis], steps[axis])
    x_mm = _x_of(scan.geometry, places)
    pieces, count = ndimage.label(np.greater(scan.array[tuple(places)], TISSUE_HU))
    if count == 0:
        return float(np.median(x_mm))
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    return float(np.median(x_mm[pieces == largest]))


def _middle_of(centres: Floats) -> float | None:
    """Return the middle of the widest gap between the pieces' centres; None if it is too narrow."""
    places = np.sort(centres)
    gaps = np.diff(places)
    if not gaps.size or gaps.max() < APART_MM:
        return None
    widest = int(gaps.argmax())
    return float(places[widest] + places[widest + 1]) / 2


def _left_of(
    middle: float, pieces: npt.NDArray[np.int32], centres: Floats, x_mm: Floats
) -> npt.NDArray[np.bool_]:
    """Mark the voxels of the left organ (x grows to the patient's left)."""
    beyond = x_mm > middle
    share = np.asarray(ndimage.mean(beyond, pieces, np.arange(1, centres.size + 1)))
    cut = np.minimum(share, 1 - share) >= BOTH_SIDES
    whole = np.concatenate([[False], (centres > middle) & ~cut])
    parted = np.concatenate([[False], cut])
    return whole[pieces] | (parted[pieces] & beyond)


def _x_of(geometry: Geometry, places: Sequence[slice] = (slice(None),) * 3) -> Floats:
    """Return the LPS x of the voxels at `places`, mm, (Z, Y, X)."""
    steps = [row[0] * mm for row, mm in zip(geometry.direction, geometry.spacing_mm, strict=True)]
    along = zip(steps, geometry.shape, places, strict=True)
    z, y, x = (step * np.arange(n)[place] for step, n, place in along)
    return geometry.origin_mm[0] + (z[:, None, None] + y[:, None] + x)
