"""From a lesion stage's scores to lesions: the threshold, the peak, what moves them, more.

A voxel is a lesion above a threshold, and a piece of such voxels only if it somewhere reaches a
peak. A person's sensitivity moves both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from flare_core.anatomy.organs import LESION
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import StageCard
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.stage import UNSEEN, Scores

More = Callable[[npt.NDArray[np.bool_]], "Tensor | None"]
"""Told what is found (Z, Y, X), returns the scores of what is found besides (Z, Y, X), minus
infinity where nothing is; None: nothing is."""

SENSITIVITY = 0.5
"""The setting that leaves the model's own threshold as it is."""

REACH = 4.0
"""Logits that a sensitivity of 0 or 1 adds to or takes from the threshold: .5 becomes .98 or .018.
"""


def threshold_for(card: StageCard, sensitivity: float | None = None) -> float:
    """Return the probability above which a voxel is a lesion.

    Parameters
    ----------
    card : StageCard
        Of the lesion stage; its `threshold` is what a sensitivity of .5 gives.
    sensitivity : float, 0 to 1
        What a person prefers: at 0 hardly anything is a lesion, at 1 everything suspicious. None
        is .5. The threshold's logit moves evenly with it, so the same step to either side is as
        large a change for a cautious model as for a bold one.

    Examples
    --------
    >>> class Card: threshold = 0.5
    >>> [round(threshold_for(Card, s), 3) for s in (None, 0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.5, 0.982, 0.881, 0.5, 0.119, 0.018]
    """
    return moved(card.threshold, sensitivity)


def moved(probability: float, sensitivity: float | None) -> float:
    """Return a threshold or peak as a sensitivity moves it; 0, which asks for nothing, stays.

    Examples
    --------
    >>> moved(0.0, 1.0), round(moved(0.9, 0.0), 3)
    (0.0, 0.998)
    """
    if sensitivity is None or probability == 0:
        return probability
    logit = _logit(probability) + REACH * (SENSITIVITY - sensitivity) / SENSITIVITY
    return 1.0 / (1.0 + math.exp(-logit))


def moved_card(card: StageCard, sensitivity: float | None) -> StageCard:
    """Return a lesion stage's card with threshold and peaks as a sensitivity moves them."""
    bright, contrast = card.second_look, card.contrast_look
    if bright is not None:
        bright = replace(bright, peak=moved(bright.peak, sensitivity))
    if contrast is not None:
        contrast = replace(contrast, peak=moved(contrast.peak, sensitivity))
    threshold, peak = threshold_for(card, sensitivity), moved(card.peak, sensitivity)
    return replace(card, threshold=threshold, peak=peak, second_look=bright, contrast_look=contrast)


def lesions_above(
    scores: Scores,
    threshold: float,
    target: Geometry,
    peak: float = 0.0,
    more: Sequence[More] = (),
) -> tuple[Volume, Volume]:
    """Return where a lesion is more likely than `threshold` (bool, on `target`), and how likely.

    The stage's scores are moved by the threshold and then compared as ever, so that the border
    lies between voxels as exactly as an organ's. With two classes that is the threshold itself;
    with more, lesions win or lose against the others by as much. A piece that nowhere reaches
    `peak` is none: its scores are lowered out of sight.

    Parameters
    ----------
    scores : Scores
        Of the lesion stage; changed in place.
    threshold, peak : float
        Probabilities at the edge and somewhere in a lesion.
    target : Geometry
        Of the mask, its axes parallel to the stage's.
    more : sequence of callable, optional
        Each is told what is found, on the stage's grid, and says what is to be added. For `regions`
        alone.

    Returns
    -------
    Volume, Volume
        The mask, and float32 probabilities on the stage's own grid.
    """
    channel = next(c for c, key in scores.card.organ_channels if key == LESION.key)
    probability = scores.probabilities()[channel].clone().cpu().numpy()
    nnunet = scores.card.nnunet
    averaged = nnunet is not None and nnunet.average == "probabilities"
    found_first = probability > threshold
    if peak > threshold:
        weak = unsure(probability, threshold, peak)
        found_first &= ~weak
        scores.logits[channel][torch.from_numpy(weak).to(scores.logits.device)] -= UNSEEN
    for each in more:
        added = each(found_first)
        if added is None:
            continue
        torch.maximum(scores.logits[channel], added.to(scores.logits), out=scores.logits[channel])
        np.maximum(probability, added.sigmoid().cpu().numpy(), out=probability)
    if not averaged:
        scores.logits[channel] -= _logit(threshold)
    else:  # of two probabilities that add up to 1, one passes t where it leads by 2 t - 1
        scores.logits[channel] -= (threshold - 0.5) * (1 if scores.card.regions else 2)
    found = scores.labels_on(target)
    box = Box.of_mask(found.array)
    if box is not None:  # in place: on a long scan a map more is hundreds of MiB
        inside = found.array[box.slices]
        inside[:] = inside == LESION.id
    likely = Volume(probability, scores.geometry)
    return found.with_array(found.array.view(np.bool_)), likely


def unsure(
    probability: npt.NDArray[np.float32], threshold: float, peak: float
) -> npt.NDArray[np.bool_]:
    """Return the pieces above `threshold` that nowhere reach `peak` (Z, Y, X).

    Examples
    --------
    >>> row = np.array([[[0.6, 0.95, 0.1, 0.6, 0.7]]], np.float32)
    >>> unsure(row, 0.5, 0.9).astype(int).tolist()
    [[[0, 0, 0, 1, 1]]]
    """
    above = probability > threshold
    weak = np.zeros_like(above)
    box = Box.of_mask(above)
    if box is None:
        return weak
    pieces, count = ndimage.label(above[box.slices], ALL_NEIGHBOURS)
    sure = np.zeros(count + 1, np.bool_)
    sure[pieces[probability[box.slices] >= peak]] = True  # ndimage.maximum sorts all voxels
    weak[box.slices] = above[box.slices] & ~sure[pieces]
    return weak


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
