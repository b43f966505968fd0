"""Cut, pad and paste back blocks of voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Box, Geometry, Index
from flare_core.imaging.volume import Volume


def pad_to(array: npt.NDArray[np.generic], shape: Index, value: float) -> npt.NDArray[np.generic]:
    """Return `array` (..., Z, Y, X) centred in at least `shape` voxels filled with `value`."""
    missing = [max(0, want - have) for want, have in zip(shape, array.shape[-3:], strict=True)]
    widths = [(0, 0)] * (array.ndim - 3) + [(m // 2, m - m // 2) for m in missing]
    return np.pad(array, widths, constant_values=value) if any(missing) else array


def paste(block: npt.NDArray[np.generic], box: Box, into: npt.NDArray[np.generic]) -> None:
    """Write `block` (Z, Y, X) into `into` at `box`, in place."""
    into[box.slices] = block


def box_of_world(box: Box, source: Geometry, target: Geometry) -> Box:
    """Return the smallest box of `target` voxels whose cells cover the cells of a `source` box."""
    edges = np.array([box.start, box.stop], float) - 0.5
    corners = np.array(np.meshgrid(*edges.T)).reshape(3, -1).T
    moved = target.lps_to_voxel(source.voxel_to_lps(corners))
    low = np.floor(moved.min(axis=0) + 0.5 + 1e-6).astype(int)
    high = np.ceil(moved.max(axis=0) + 0.5 - 1e-6).astype(int)
    wide = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    clipped = wide.intersect(Box.of_shape(target.shape))
    return Box(
        (int(clipped.start[0]), int(clipped.start[1]), int(clipped.start[2])),
        (int(clipped.stop[0]), int(clipped.stop[1]), int(clipped.stop[2])),
    )


def body_box(volume: Volume, *, threshold_hu: float = -500.0, step: int = 4) -> Box | None:
    """Return the box around everything denser than air, found on every `step`-th voxel.

    The scanner's table is inside; it costs little and no body part is ever cut.
    """
    coarse = volume.array[::step, ::step, ::step] > threshold_hu
    found = Box.of_mask(coarse)
    if found is None:
        return None
    start = tuple(a * step for a in found.start)
    stop = tuple(b * step for b in found.stop)
    grown = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return grown.grow((step, step, step), volume.geometry.shape)
