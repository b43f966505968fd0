"""Move voxels from one grid to another that has the same axis directions.

Images are interpolated linearly, labels by the nearest voxel, and a network's class scores so that
the best class comes out (`resample_scores`). Where the target is coarser, an image is averaged over
the target voxel, so that noise goes down instead of turning into aliases.

Linear interpolation is separable: one small matrix for each axis (`grid_weights`) says how much of
every source voxel goes into a target voxel, and is all there is to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import NUDGE, Box, Geometry
from flare_core.imaging.volume import Volume

if TYPE_CHECKING:
    import torch

Float = npt.NDArray[np.float32]

HU_RANGE = (-1024.0, 3071.0)
"""What 12-bit CT can hold, HU. Padding below (-2048, -3024) would bleed into the average."""

BAND = 32
"""Target voxels per block of a weight matrix. Nearly all of the matrix is zero, and multiplying
only with the band that is not takes half to a third of the time."""


def resample_intensity(
    volume: Volume,
    target: Geometry,
    *,
    clip_hu: tuple[float, float] = HU_RANGE,
    slab: int = 16,
) -> Volume:
    """Interpolate an image linearly onto `target`, averaging where `target` is coarser.

    Parameters
    ----------
    volume : Volume (Z, Y, X), HU
        May be a view with any strides; only the part that `target` needs is read.
    clip_hu : (float, float)
        Values are clipped before they are mixed, HU.
    slab : int
        Source slices converted to float32 at a time (bounds memory).

    Returns
    -------
    Volume float32 (Z, Y, X) on `target`; where it reaches out of the image, the edge goes on.

    Raises
    ------
    InputError
        If the axes of the two grids do not point the same way.
    """
    return Volume(resampled(volume, target, clip_hu=clip_hu, slab=slab).numpy(), target)


def resampled(
    volume: Volume,
    target: Geometry,
    place: ComputeDevice | None = None,
    *,
    clip_hu: tuple[float, float] = HU_RANGE,
    slab: int = 16,
) -> torch.Tensor:
    """Do what `resample_intensity` does somewhere else, too.

    Parameters
    ----------
    place : ComputeDevice, optional
        Where it is computed, and in which format; float32 in the machine's own memory if None.

    Returns
    -------
    Tensor (Z, Y, X) in `place`.

    Raises
    ------
    InputError
        If the axes of the two grids do not point the same way.
    """
    import torch

    place = place or own_memory()
    weights = grid_weights(volume.geometry, target)
    spans = [span(w) for w in weights]
    wz, wy, wx = (w[:, used] for w, used in zip(weights, spans, strict=True))
    part = volume.array[tuple(spans)]
    lines, columns = bands(wy, place), bands(wx, place)
    mix = torch.tensor(wz, device=place.where, dtype=place.kind)
    result = torch.zeros(len(wz), len(wy) * len(wx), device=place.where, dtype=place.kind)
    for start in range(0, len(part), slab):
        few = slice(start, start + slab)
        chunk = brought(part[few], place)
        image = along_x(chunk.clamp_(*clip_hu), columns)  # (k, Y, X')
        image = along_y(image, lines)  # (k, Y', X')
        rows = span(wz[:, few].T)
        result[rows].addmm_(mix[rows, few], image.flatten(1))
    return result.view(target.shape)


@dataclass(frozen=True)
class ComputeDevice:
    """Where voxels are computed with, and in which number format."""

    where: torch.device
    """The machine's own memory (``cpu``) or a graphics card."""
    kind: torch.dtype
    """float32, or float16: half the memory and the time on a graphics card."""


def own_memory() -> ComputeDevice:
    """Return float32 in the machine's own memory."""
    import torch

    return ComputeDevice(torch.device("cpu"), torch.float32)


def brought(part: npt.NDArray[np.generic], place: ComputeDevice) -> torch.Tensor:
    """Return a copy of voxels in a place.

    A graphics card gets int16 as it is, half of what floats are, from memory that it can read
    itself: this returns before the voxels are there, and the next ones are made ready meanwhile.
    """
    import torch

    own = place.where.type == "cpu"
    kind = np.float32 if own or part.dtype != np.int16 else np.int16
    voxels = torch.from_numpy(np.array(part, kind, order="C"))
    if place.where.type == "cuda":
        voxels = voxels.pin_memory()
    return voxels.to(place.where, non_blocking=not own).to(place.kind)


def resample_labels(labels: Volume, target: Geometry) -> Volume:
    """Take for each target voxel the label of the nearest source voxel; where `covered` says that
    there is none, 0.

    Where two are equally near, the earlier and the later one take turns. On a grid of just twice
    the spacing that is everywhere, and always the same one would move all labels by half a voxel:
    students that learn from students' labels would drift.

    Returns
    -------
    Volume of the same type (Z, Y, X) on `target`.

    Raises
    ------
    InputError
        If the axes of the two grids do not point the same way.
    """
    require_parallel(labels.geometry, target)
    first = labels.geometry.lps_to_voxel(target.origin_mm)
    picks, outside = [], []
    for a in range(3):
        scale = target.spacing_mm[a] / labels.geometry.spacing_mm[a]
        last = labels.geometry.shape[a] - 1
        place = first[a] + scale * np.arange(target.shape[a])
        outside.append((place < -0.5 - NUDGE) | (place > last + 0.5 + NUDGE))
        picks.append(np.clip(_nearest(place), 0, last))
    array = labels.array[np.ix_(*picks)]
    array[outside[0]] = 0
    array[:, outside[1]] = 0
    array[:, :, outside[2]] = 0
    return Volume(array, target)


def _nearest(place: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the voxels nearest to places along an axis; halves go down and up in turn.

    Examples
    --------
    >>> _nearest(np.array([0.4, 0.5, 2.5, 4.5, 5.6])).tolist()
    [0, 1, 2, 5, 6]
    """
    later = np.floor(place + 0.5 + NUDGE)
    halfway = np.abs(place + 0.5 - later) <= NUDGE
    return (later - (halfway & (np.arange(place.size) % 2 == 0))).astype(np.int64)


def covered(source: Geometry, target: Geometry) -> Box:
    """Return the voxels of `target` whose centres lie inside the cells of `source`."""
    require_parallel(source, target)
    first = source.lps_to_voxel(target.origin_mm)
    start, stop = [], []
    for a in range(3):
        scale = target.spacing_mm[a] / source.spacing_mm[a]
        low, high = -0.5 - NUDGE, source.shape[a] - 0.5 + NUDGE
        start.append(int(np.ceil((low - first[a]) / scale)))
        stop.append(int(np.floor((high - first[a]) / scale)) + 1)
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return box.intersect(Box.of_shape(target.shape))


def filled_share(mask: npt.NDArray[np.bool_], source: Geometry, target: Geometry) -> Float:
    """Return how much (0 to 1) of each voxel of `target` (Z, Y, X) a mask on `source` fills."""
    volume = Volume(mask.astype(np.uint8), source)
    return np.asarray(resample_intensity(volume, target, clip_hu=(0.0, 1.0)).array, np.float32)


def voxels_hit(
    mask: npt.NDArray[np.bool_], source: Geometry, target: Geometry
) -> npt.NDArray[np.bool_]:
    """Return the voxels of `target` (Z, Y, X) nearest to those of a mask on `source`.

    What is thinner than a voxel is not averaged away, as it is in `filled_share`.
    """
    hit = np.zeros(target.shape, np.bool_)
    places = np.argwhere(mask)
    if len(places):
        nearest = np.rint(target.lps_to_voxel(source.voxel_to_lps(places))).astype(int)
        hit[tuple(np.clip(nearest, 0, np.array(target.shape) - 1).T)] = True
    return hit


def bands(weights: Float, place: ComputeDevice) -> list[tuple[slice, slice, torch.Tensor]]:
    """Cut a banded matrix into (target voxels, source voxels they use, their weights)."""
    import torch

    cut = []
    for start in range(0, len(weights), BAND):
        rows = slice(start, min(start + BAND, len(weights)))
        used = span(weights[rows])
        some = torch.tensor(weights[rows, used], device=place.where, dtype=place.kind)
        cut.append((rows, used, some))
    return cut


def along_x(image: torch.Tensor, cut: list[tuple[slice, slice, torch.Tensor]]) -> torch.Tensor:
    """Map (Z, Y, X) to (Z, Y, X')."""
    result = image.new_empty(*image.shape[:2], cut[-1][0].stop)
    for rows, used, weights in cut:
        result[..., rows] = image[..., used] @ weights.T
    return result


def along_y(image: torch.Tensor, cut: list[tuple[slice, slice, torch.Tensor]]) -> torch.Tensor:
    """Map (Z, Y, X) to (Z, Y', X)."""
    result = image.new_empty(image.shape[0], cut[-1][0].stop, image.shape[2])
    for rows, used, weights in cut:
        result[:, rows] = weights @ image[:, used]
    return result


def axis_weights(source: int, target: int, scale: float, offset: float) -> Float:
    """Return the matrix (target, source) that interpolates linearly along one axis.

    Parameters
    ----------
    source, target : int
        Voxels before and after.
    scale : float
        Target spacing over source spacing; above 1 the triangle widens and averages.
    offset : float
        Source index of target voxel 0. Positions outside take the edge voxel's value.

    Examples
    --------
    >>> axis_weights(3, 2, 1.0, 0.5)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    position = np.clip(offset + scale * np.arange(target), 0, source - 1)
    distance = np.abs(position[:, None] - np.arange(source)[None, :]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(weights, dtype=np.float32)


def grid_weights(source: Geometry, target: Geometry) -> tuple[Float, Float, Float]:
    """Return `axis_weights` for z, y, x.

    Raises
    ------
    InputError
        If the axes of the two grids do not point the same way.
    """
    require_parallel(source, target)
    first = source.lps_to_voxel(target.origin_mm)
    z, y, x = (
        axis_weights(
            source.shape[a],
            target.shape[a],
            target.spacing_mm[a] / source.spacing_mm[a],
            float(first[a]),
        )
        for a in range(3)
    )
    return z, y, x


def require_parallel(source: Geometry, target: Geometry) -> None:
    """Raise if the two grids are turned against each other."""
    if not np.allclose(source.direction, target.direction, atol=1e-4):
        raise InputError(
            "target",
            f"axes {target.direction}",
            f"the image's own axes {source.direction}",
            "Build the target with Geometry.with_spacing or crop, or bring both to canonical axes.",
        )


def span(weights: Float) -> slice:
    """Return the source voxels that any target voxel uses."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
