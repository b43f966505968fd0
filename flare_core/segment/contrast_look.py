"""Lesions of scans without contrast, or before it comes: a stage that learned it looks once more.

Without contrast a liver has 40 to 65 HU and a tumour in it some 15 less; with it, 100 to 130 and 40
less. A network that learned the second sees the middle of large tumours in the first, or nothing.
It is shown them again, with HU spread about the organs' median: what differs from it by d HU then
differs by k d, and the median is that with contrast. Noise and vessels grow as well, so only what
is large counts. Not where there is fat: that is dark with contrast, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_core.models.stage_card import ContrastLook
from flare_core.segment.lesion_edges import OrganHu, grown_scores, look_again, with_edge
from flare_core.segment.lesion_scores import unsure
from flare_core.segment.lesions import connected
from flare_core.segment.stage import LoadedStage

Floats = npt.NDArray[np.float32]


def factor_for(look: ContrastLook, median: float) -> float:
    """Return how much differences from a median (HU) are spread; 1: nobody looks, NaN too.

    Examples
    --------
    >>> look = ContrastLook(median_hu=110.0, least_hu=30.0, below_hu=95.0, most=2.0)
    >>> [factor_for(look, hu) for hu in (100.0, 88.0, 44.0, 20.0)]
    [1.0, 1.25, 2.0, 1.0]
    """
    if not look.least_hu <= median < look.below_hu:
        return 1.0
    return min(look.most, look.median_hu / median)


def contrast_scores(
    stage: LoadedStage,
    organs: OrganHu,
    first: npt.NDArray[np.bool_],
    *,
    tile_step: float | None = None,
    notify: Callable[[float], None] | None = None,
) -> Tensor | None:
    """Return the stage's scores in the large lesions it finds, and minus infinity elsewhere.

    Parameters
    ----------
    stage : LoadedStage
        With a `mask`, `regions` and a `contrast_look`.
    organs : OrganHu
        What the first look saw.
    first : bool (Z, Y, X)
        Lesions of the first look, which stay as they are.
    tile_step : float, optional
        As that of the first look.
    notify : callable, optional
        Told the share done, 0 to 1; may raise to stop.

    Returns
    -------
    float32 (Z, Y, X), or None
        On the stage's grid; None if the organs are as bright as with contrast, or too dark, or if
        there is no such lesion. They have grown as the card lets them (`lesion_edges`).
    """
    card, seen, look = stage.card, organs.seen, stage.card.contrast_look
    assert look is not None and first.shape == seen.hu.shape
    median = organs.median
    factor = factor_for(look, median)
    if factor == 1:
        return None
    hu = np.float32(look.median_hu) + np.float32(factor) * (seen.hu - np.float32(median))
    logits = look_again(stage, seen, hu, tile_step=tile_step, notify=notify)
    chance = logits.sigmoid().numpy()
    found = (chance > card.threshold) & ~unsure(chance, card.threshold, look.peak)
    if not found.any():
        return None
    whole = with_edge(logits, found)
    grown = grown_scores(organs, found)
    if grown is not None:
        whole = torch.maximum(whole, grown)
    large = np.zeros_like(found)
    for piece in connected(whole.sigmoid().numpy() > card.threshold):
        if piece.voxels * seen.geometry.voxel_ml >= look.least_ml:
            large[piece.box] |= piece.mask
    return with_edge(whole, large) if large.any() else None
