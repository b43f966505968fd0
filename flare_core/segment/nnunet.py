"""What nnU-Net would do, exactly: the grid it runs on, the way there and back, and its tiles.

Sources: Isensee et al. 2021, and `NnunetGrids` for what differs between its versions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flare_core.imaging.geometry import AxisMap, Box, Geometry, Index, Triple
from flare_core.imaging.hounsfield import normalised
from flare_core.imaging.resample import ComputeDevice
from flare_core.imaging.resample_scores import Weights
from flare_core.imaging.resize import Orders, resize_image, resize_weights
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import NnunetGrids, StageCard

TOWARDS = {"S": (0, False), "I": (0, True), "P": (1, False), "A": (1, True), "L": (2, False),
           "R": (2, True)}  # fmt: skip
"""Canonical axis of a letter of an orientation, and whether it points the other way."""

PEAK = 10.0
"""Weight of a tile's middle voxel; nnU-Net keeps its weights in float16 and needs the range."""


@dataclass(frozen=True)
class ResamplingPlan:
    """From one scan's voxels onto the network's grid and back."""

    box: Box
    """The part of the scan with voxels other than 0, which alone nnU-Net looks at."""
    geometry: Geometry
    """The network's grid over that box, axes as the scan's."""
    weights: Weights
    """Interpolation of the scores onto the box (z, y, x)."""
    scan: Geometry
    """The scan's grid."""


def network_axes(card: StageCard) -> AxisMap:
    """Return the map from canonical axes (Superior, Posterior, Left) to those of the network.

    Examples
    --------
    A network trained on NIfTI files in RAS order sees y and x backwards.

    >>> from types import SimpleNamespace
    >>> network_axes(SimpleNamespace(orientation="SAR", transpose=(1, 0, 2)))
    AxisMap(permutation=(1, 0, 2), flips=(True, False, True))
    """
    volume = [TOWARDS[letter] for letter in card.orientation]
    axes = [volume[axis] for axis in card.transpose]
    return AxisMap((axes[0][0], axes[1][0], axes[2][0]), (axes[0][1], axes[1][1], axes[2][1]))


def spacing_here(card: StageCard) -> Triple:
    """Return the network's spacing along the canonical axes z, y, x, mm."""
    order = network_axes(card).permutation
    z, y, x = (card.spacing_mm[order.index(axis)] for axis in range(3))
    return z, y, x


def patch_here(card: StageCard) -> Index:
    """Return the network's patch along the canonical axes z, y, x, voxels of its own grid."""
    order = network_axes(card).permutation
    z, y, x = (card.patch[order.index(axis)] for axis in range(3))
    return z, y, x


def resampling_plan(
    image: Volume, region: Box, card: StageCard, grids: NnunetGrids
) -> ResamplingPlan:
    """Return how nnU-Net would bring `region` of a scan onto its grid.

    Parameters
    ----------
    image : Volume, HU
        Canonical axes.
    region : Box
        What nnU-Net would be given, voxels of `image`.
    """
    there = Box.of_mask(image.array[region.slices] != 0)
    box = region if there is None else _moved(there, region.start)
    scan, network = image.geometry.spacing_mm, spacing_here(card)
    sizes = zip(scan, network, box.shape, strict=True)
    counts = [max(1, round(old / new * n)) for old, new, n in sizes]
    geometry = image.geometry.crop(box).with_shape((counts[0], counts[1], counts[2]))
    flat = flat_axis(network, scan, grids)
    orders = _orders(flat, grids.scores_order, grids.scores_order_flat)
    z, y, x = map(resize_weights, geometry.shape, box.shape, orders)
    return ResamplingPlan(box, geometry, (z, y, x), image.geometry)


def network_input(
    image: Volume,
    resampling: ResamplingPlan,
    card: StageCard,
    grids: NnunetGrids,
    *,
    place: ComputeDevice,
) -> Tensor:
    """Return a scan's part resampled and normalised (Z, Y, X) on the network's grid, in `place`."""
    n = card.normalisation
    window = (n.lower_hu, n.upper_hu)
    flat = flat_axis(image.geometry.spacing_mm, spacing_here(card), grids)
    resized = resize_image(
        image.array[resampling.box.slices],
        resampling.geometry.shape,
        _orders(flat, grids.image_order, grids.image_order_flat),
        clip=window if grids.clip_first else None,
        flat_axis=flat,
        place=place,
    )
    return normalised(resized, window, n.mean, n.std)


def flat_axis(source: Sequence[float], target: Sequence[float], grids: NnunetGrids) -> int | None:
    """Return the axis across which slices are resampled each for itself, None if there is none.

    Parameters
    ----------
    source, target : (float, float, float)
        Spacing before and after, mm.

    Examples
    --------
    >>> flat_axis((5.0, 0.8, 0.8), (2.5, 0.8, 0.8), NnunetGrids())
    0
    >>> flat_axis((1.0, 1.0, 1.0), (2.0, 0.8, 0.8), NnunetGrids())
    >>> flat_axis((1.0, 0.2, 1.0), (1.0, 0.2, 1.0), NnunetGrids())
    """
    if grids.slices_apart is not None:
        return _coarsest(source) if grids.slices_apart else None
    for spacing in (source, target):
        if max(spacing) / min(spacing) > grids.flat_ratio:
            return _coarsest(spacing)
    return None


def nnunet_starts(size: int, patch: int, tile_step: float) -> list[int]:
    """Return where tiles begin along one axis of at least `patch` voxels.

    Examples
    --------
    >>> nnunet_starts(110, 64, 0.5)
    [0, 23, 46]
    """
    count = math.ceil((size - patch) / (patch * tile_step)) + 1
    between = (size - patch) / max(1, count - 1)
    return [round(between * i) for i in range(count)]


def nnunet_weights(patch: Index) -> Tensor:
    """Return the weight of each voxel of a tile: a Gaussian of SD patch / 8 about voxel n // 2.

    In float16 its tails are 0; they get the smallest weight that is not.
    """
    axes = []
    for n in patch:
        away = torch.arange(n, dtype=torch.float64) - n // 2
        bell = torch.exp(-0.5 * (away / (n / 8)) ** 2)
        axes.append(bell * (away.abs() <= int(n / 2 + 0.5)))  # cut at 4 SD, as scipy's filter is
    exact = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    weights = (PEAK * exact).half()
    weights[weights == 0] = weights[weights > 0].min()
    return weights.float()


def _coarsest(spacing: Sequence[float]) -> int | None:
    """Return the one axis of the largest spacing; None if two share it."""
    largest = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
    return largest[0] if len(largest) == 1 else None


def _orders(flat: int | None, order: int, order_flat: int) -> Orders:
    z, y, x = (order_flat if axis == flat else order for axis in range(3))
    return z, y, x


def _moved(box: Box, by: Index) -> Box:
    start = np.add(box.start, by).tolist()
    stop = np.add(box.stop, by).tolist()
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
