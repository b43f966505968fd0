"""Resize an image to another number of voxels over the same field of view, by splines.

This is what skimage.transform.resize computes (mode "edge", no anti-aliasing), and so what nnU-Net
feeds its networks, but as one small matrix per axis: float32, slab by slab, many times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Index
from flare_core.imaging.resample import (
    ComputeDevice,
    Float,
    along_x,
    along_y,
    bands,
    brought,
    own_memory,
    span,
)

if TYPE_CHECKING:
    import torch

EDGE = 12
"""Voxels by which scipy continues the edge before it filters; a spline's memory of them is 1e-7."""

LEAST = 1e-8
"""Smaller weights are dropped: they are rounding errors of float32."""

Orders = tuple[int, int, int]


def resize_weights(source: int, target: int, order: int) -> Float:
    """Return the matrix (target, source) that resizes one axis, its two ends staying in place.

    Parameters
    ----------
    source, target : int
        Voxels before and after.
    order : int
        0: nearest voxel, 1: linear, 3: cubic B-spline through the voxels.

    Examples
    --------
    >>> resize_weights(2, 4, 1)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]], dtype=float32)
    """
    if source == target:
        return np.eye(source, dtype=np.float32)
    place = source / target * (np.arange(target) + 0.5) - 0.5
    if order == 0:
        nearest = np.clip(np.floor(place + 0.5), 0, source - 1).astype(np.int64)
        return np.eye(source, dtype=np.float32)[nearest]
    if order == 1:
        distance = np.abs(np.clip(place, 0, source - 1)[:, None] - np.arange(source))
        return np.maximum(0.0, 1.0 - distance).astype(np.float32)
    weights = _cubic(place[:, None] + EDGE - np.arange(source + 2 * EDGE)) @ _coefficients(source)
    weights[np.abs(weights) < LEAST] = 0.0
    return weights.astype(np.float32)


def resize_image(
    array: npt.NDArray[np.generic],
    shape: Index,
    orders: Orders,
    *,
    clip: tuple[float, float] | None = None,
    flat_axis: int | None = None,
    place: ComputeDevice | None = None,
) -> torch.Tensor:
    """Return an image resized to `shape`.

    Parameters
    ----------
    array : (Z, Y, X)
        May be a view with any strides.
    orders : (int, int, int)
        Of the interpolation along z, y, x (see `resize_weights`).
    clip : (float, float), optional
        Values are clipped to this before they are mixed.
    flat_axis : int, optional
        The image is a stack of slices across this axis, each resized for itself.
    place : ComputeDevice, optional
        Where it is computed; in the machine's own memory if None.

    Returns
    -------
    Tensor `shape`, float32 or as `place` says
        Clipped to the range of the image, or slice by slice with `flat_axis`, as splines overshoot.
    """
    first = flat_axis or 0
    turn = (first, *(a for a in range(3) if a != first))
    weights = [resize_weights(array.shape[a], shape[a], orders[a]) for a in turn]
    turned = _resize(
        array.transpose(turn), weights, clip, place or own_memory(), sliced=flat_axis is not None
    )
    return turned.permute(*np.argsort(turn).tolist()).contiguous()


def _resize(
    array: npt.NDArray[np.generic],
    weights: list[Float],
    clip: tuple[float, float] | None,
    place: ComputeDevice,
    *,
    sliced: bool,
    slab: int = 16,
) -> torch.Tensor:
    """Resize the first axis last, one slab of source slices after the other."""
    import torch

    lines, columns = bands(weights[1], place), bands(weights[2], place)
    mix = torch.tensor(weights[0], device=place.where, dtype=place.kind)
    result = mix.new_zeros(len(weights[0]), len(weights[1]) * len(weights[2]))
    low, high = mix.new_tensor(torch.inf), mix.new_tensor(-torch.inf)
    for start in range(0, len(array), slab):
        few = slice(start, start + slab)
        chunk = brought(array[few], place)
        if clip is not None:
            chunk.clamp_(*clip)
        lowest, highest = chunk.amin(dim=(1, 2)), chunk.amax(dim=(1, 2))
        low, high = torch.minimum(low, lowest.min()), torch.maximum(high, highest.max())
        image = along_y(along_x(chunk, columns), lines)  # (k, Y', X')
        if sliced:
            image = _between(image, lowest, highest)
        rows = span(weights[0][:, few].T)
        result[rows].addmm_(mix[rows, few], image.flatten(1))
    if not sliced:
        result.clamp_(low, high)
    return result.view(-1, len(weights[1]), len(weights[2]))


def _between(image: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Clip each slice of (k, Y, X) to its own bounds (k,)."""
    return image.clamp(low[:, None, None], high[:, None, None])


def _cubic(distance: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the cubic B-spline at a distance in voxels (Unser 1999, equation 3)."""
    d = np.abs(distance).astype(np.float64)
    near = 2 / 3 - d**2 * (1 - d / 2)
    return np.where(d < 1, near, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))


def _coefficients(source: int) -> npt.NDArray[np.float64]:
    """Return the matrix (source + 2 EDGE, source) from voxels to spline coefficients.

    The image is continued by its edge voxels, then mirrored, so that the spline passes through
    every voxel.
    """
    n = source + 2 * EDGE
    passes = np.diag(np.full(n, 2 / 3)) + np.diag(np.full(n - 1, 1 / 6), 1)
    passes += np.diag(np.full(n - 1, 1 / 6), -1)
    passes[0, 0] = passes[-1, -1] = 5 / 6
    edges = np.eye(source)[np.clip(np.arange(n) - EDGE, 0, source - 1)]
    return np.linalg.solve(passes, edges)
