"""Cut and paste back blocks of voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import NUDGE, Box, Geometry
from flare_core.imaging.volume import Volume


def paste(block: npt.NDArray[np.generic], box: Box, into: npt.NDArray[np.generic]) -> None:
    """Write `block` (Z, Y, X) into `into` at `box`, in place.

    Raises
    ------
    InputError
        If the box reaches out of `into` (a negative index would mean its far end), or the block
        does not fill it.
    """
    z, y, x = into.shape
    if block.shape != box.shape or box.intersect(Box.of_shape((z, y, x))) != box:
        raise InputError(
            "box",
            f"{box} for a block of shape {block.shape}",
            f"a box of the block's shape inside {into.shape}",
            "Intersect the box with the target's and cut the block to match.",
        )
    into[box.slices] = block


def box_of_world(box: Box, source: Geometry, target: Geometry) -> Box:
    """Return the smallest box of `target` voxels whose cells cover the cells of a `source` box.

    The grids may be turned against each other. Voxels outside `target` are left out, so the box is
    empty if the two do not meet.

    Examples
    --------
    >>> fine = Geometry((10, 10, 10), (1.0, 1.0, 1.0))
    >>> box_of_world(Box((1, 1, 1), (2, 3, 5)), fine.with_shape((5, 5, 5)), fine)
    Box(start=(2, 2, 2), stop=(4, 6, 10))
    """
    faces = np.array([box.start, box.stop], float) - 0.5
    corners = np.array(np.meshgrid(*faces.T)).reshape(3, -1).T  # (8, 3)
    moved = target.lps_to_voxel(source.voxel_to_lps(corners)) + 0.5
    low = np.floor(moved.min(axis=0) + NUDGE).astype(int)
    high = np.ceil(moved.max(axis=0) - NUDGE).astype(int)
    wide = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    return wide.intersect(Box.of_shape(target.shape))


def body_box(volume: Volume, *, threshold_hu: float = -500.0, step: int = 4) -> Box | None:
    """Return the box around everything denser than air, or None; looks at every `step`-th voxel.

    The scanner's table is inside; it costs little and no body part is ever cut.
    """
    found = Box.of_mask(np.greater(volume.array[::step, ::step, ::step], threshold_hu))
    if found is None:
        return None
    (z0, y0, x0), (z1, y1, x1) = found.start, found.stop
    exact = Box((z0 * step, y0 * step, x0 * step), (z1 * step, y1 * step, x1 * step))
    return exact.grow((step, step, step), volume.geometry.shape)
