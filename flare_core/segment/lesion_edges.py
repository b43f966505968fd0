"""Where a lesion ends: half way between its HU and the organs', as far as a card lets it grow.

Networks that learned few large tumours mark their middle, and leave the rim. Each finding grows
through the organs to where HU, smoothed by `SMOOTH_MM`, are nearer to the organs' median than to
its own. One as bright as the organs (`LEAST_RISE_HU`) stays as it is: it has no such edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from flare_core.anatomy.organs import LESION
from flare_core.imaging.geometry import Box
from flare_core.models.stage_card import StageCard
from flare_core.segment.lesions import Piece, connected, widened
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.stage import LoadedStage, SeenOrgans, run_on_organs

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

SMOOTH_MM = 1.5
"""SD of the Gaussian that HU are smoothed by: noise of 15 HU in 1 x 1 x 3 mm becomes 6 to 10."""

LEAST_RISE_HU = 12.0
"""A finding whose median differs less than this from the organs' does not grow."""

CORE_LOGIT = 2.0
"""Score above the threshold that a voxel as dark, or as bright, as the finding itself gets."""

OUTSIDE_LOGIT = -0.5
"""Highest score, above the threshold, of a voxel beside what has grown."""


class OrganHu:
    """The HU that a stage saw against those of its organs; each worked out when asked for, once.

    Growth and both further looks ask for them.

    Parameters
    ----------
    seen : SeenOrgans
        What the stage saw.
    card : StageCard
        With a `mask`.
    """

    def __init__(self, seen: SeenOrgans, card: StageCard) -> None:
        self.seen, self.card = seen, card

    @cached_property
    def inside(self) -> Mask:
        """Where the organs are, bool (Z, Y, X)."""
        return self.seen.inside(self.card)

    @cached_property
    def median(self) -> float:
        """Median HU of the organs; NaN if they are not there."""
        return median_hu(self.seen.hu, self.inside)

    @cached_property
    def rise(self) -> Floats:
        """Smoothed HU less that median (Z, Y, X); minus infinity out of sight."""
        above = self.seen.hu - np.float32(self.median)
        return smoothed(above, self.seen.mask, self.seen.geometry.spacing_mm)


def median_hu(hu: Floats, inside: Mask) -> float:
    """Return the median of some voxels; NaN of none."""
    return float(np.median(hu[inside])) if inside.any() else math.nan


def look_again(
    stage: LoadedStage,
    seen: SeenOrgans,
    hu: Floats,
    *,
    box: Box | None = None,
    tile_step: float | None = None,
    notify: Callable[[float], None] | None = None,
) -> Tensor:
    """Return a stage's scores of a lesion, float32 (Z, Y, X), where it is shown other HU.

    Parameters
    ----------
    box : Box, optional
        It is shown this part alone; elsewhere its scores are minus infinity.
    """
    box = Box.of_shape(seen.mask.shape) if box is None else box
    part = replace(seen, hu=hu).crop(box)
    shown = run_on_organs(stage, part, tile_step=tile_step, notify=notify)
    channel = next(c for c, key in stage.card.organ_channels if key == LESION.key)
    scores = torch.full(seen.mask.shape, -math.inf)
    scores[box.slices] = shown.logits[channel].float().cpu()
    return scores


def with_edge(logits: Tensor, found: Mask) -> Tensor:
    """Return scores (Z, Y, X) in what is found, and minus infinity elsewhere.

    Around it one voxel more has its scores, so that its edge lies between voxels as exactly as any.
    """
    edged = ndimage.binary_dilation(found, ALL_NEIGHBOURS)
    return torch.where(torch.from_numpy(edged), logits, -math.inf)


def smoothed(field: Floats, seen: Mask, spacing_mm: Sequence[float]) -> Floats:
    """Return a field (Z, Y, X) smoothed by what is seen alone; minus infinity out of sight."""
    sd = [SMOOTH_MM / mm for mm in spacing_mm]
    total = ndimage.gaussian_filter(np.where(seen, field, 0).astype(np.float32), sd)
    weight = ndimage.gaussian_filter(seen.astype(np.float32), sd)
    return np.where(seen, total / np.maximum(weight, 1e-3), -np.inf).astype(np.float32)


def grown_scores(organs: OrganHu, found: Mask) -> Tensor | None:
    """Return scores of what findings grow by, and minus infinity elsewhere.

    Parameters
    ----------
    organs : OrganHu
        What the stage saw; findings grow by its card's `growth_mm` at most.
    found : bool (Z, Y, X)
        Its findings; those smaller than the card's `least_ml` stay so.

    Returns
    -------
    float32 (Z, Y, X), or None
        On the stage's grid, above the card's threshold where a finding is now; None if none
        grows.
    """
    card, geometry = organs.card, organs.seen.geometry
    if card.growth_mm <= 0 or not found.any():
        return None
    scores = np.full(found.shape, -np.inf, np.float32)
    limits = (geometry.spacing_mm, card.growth_mm)
    for piece in connected(found):
        if piece.voxels * geometry.voxel_ml >= card.least_ml:
            _grow(piece, organs.rise, organs.inside, scores, limits)
    if not np.isfinite(scores).any():
        return None
    return torch.from_numpy(scores + np.float32(math.log(card.threshold / (1 - card.threshold))))


def _grow(
    piece: Piece,
    rise: Floats,
    inside: Mask,
    scores: Floats,
    limits: tuple[Sequence[float], float],
) -> None:
    """Write what a piece grows by into `scores`: 0 is half way; `limits` are voxel size and mm."""
    spacing_mm, growth_mm = limits
    wide, inner = widened(piece.box, [int(growth_mm / mm) + 2 for mm in spacing_mm], rise.shape)
    own = np.zeros(rise[wide].shape, np.bool_)
    own[inner] = piece.mask
    core = float(np.median(rise[wide][own]))
    if not abs(core) >= LEAST_RISE_HU:  # nor NaN
        return
    height = (rise[wide] / np.float32(core) - np.float32(0.5)) * np.float32(2 * CORE_LOGIT)
    near = ndimage.distance_transform_edt(~own, sampling=spacing_mm) <= growth_mm
    numbers, count = ndimage.label(own | ((height > 0) & inside[wide] & near))
    joined = np.zeros(count + 1, np.bool_)
    joined[numbers[own]] = True
    whole = ndimage.binary_opening(joined[numbers]) | own
    edged = ndimage.binary_dilation(whole, ALL_NEIGHBOURS) & np.isfinite(height)
    height[~whole] = np.minimum(height[~whole], OUTSIDE_LOGIT)
    there = scores[wide]
    np.maximum(there, height, out=there, where=edged)
