"""How sure a model is of each organ, as a number that tracks how right it is.

1. `evidence_of`: what the organ stage's scores say about one organ, from a sample of its voxels and
   of its outermost layer. The scores are at hand anyway; looking costs a tenth of a second.
2. `expected_dsc`: the DSC to expect, from that evidence and the organ's volume (`TRUST`), fitted by
   `benchmarks/confidence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import Organ, organ
from flare_core.imaging.volume import Volume
from flare_core.segment.postprocess import organ_boxes

if TYPE_CHECKING:  # it imports torch, which whoever only measures labels need not wait for
    from flare_core.segment.stage import Scores

SAMPLE = 20_000
"""Voxels of an organ that are looked at; more would change the third decimal."""


@dataclass(frozen=True)
class Evidence:
    """What the scores say about one organ, before clean-up."""

    volume_ml: float
    """Volume at the stage's voxel size."""
    inside: float
    """Mean probability of the organ over its voxels, 0 to 1."""
    rim: float
    """The same over its outermost layer of voxels."""
    bits: float
    """Mean entropy of "this organ or not" over that layer, 0 to 1."""


def evidence_of(scores: Scores, labels: Volume | None = None) -> dict[str, Evidence]:
    """Return organ key -> evidence, of every organ in the stage's best labels.

    Parameters
    ----------
    labels : Volume, optional
        `scores.labels()`, if it is at hand.
    """
    labels = labels or scores.labels()
    outer = outermost(labels.array)
    found = {}
    boxes = organ_boxes(labels.array)
    for channel, key in scores.card.organ_channels:
        box = boxes.get(organ(key).id)
        if box is None:
            continue
        mask = labels.array[box] == organ(key).id
        corner = [side.start for side in box]
        inside = _likelihood(scores, channel, np.argwhere(mask) + corner)
        rim = _likelihood(scores, channel, np.argwhere(mask & outer[box]) + corner)
        volume_ml = float(np.count_nonzero(mask)) * labels.geometry.voxel_ml
        found[key] = Evidence(
            volume_ml, float(inside.mean()), float(rim.mean()), float(_bits(rim).mean())
        )
    return found


def outermost(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return the voxels (Z, Y, X) with a neighbour, through a face, of another label.

    Examples
    --------
    >>> outermost(np.array([[[0, 1, 1, 1, 0]]]))[0, 0].tolist()
    [True, True, False, True, True]
    """
    found = np.zeros(labels.shape, np.bool_)
    for axis in range(3):
        here, there = np.moveaxis(labels, axis, 0), np.moveaxis(found, axis, 0)
        differ = here[1:] != here[:-1]
        there[1:] |= differ
        there[:-1] |= differ
    return found


def _likelihood(
    scores: Scores, channel: int, voxels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the probability of a channel in a sample of voxels (N, 3)."""
    z, y, x = voxels[:: max(1, len(voxels) // SAMPLE)].T
    some = replace(scores, logits=scores.logits[:, z, y, x])  # (C, N)
    return np.asarray(some.probabilities()[channel], np.float32)


def _bits(p: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the entropy of p against 1 - p, bits."""
    q = np.clip(p.astype(np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


LOW = 0.6
"""Confidence below which an organ is probably wrong."""


def expected_dsc(target: Organ, evidence: Evidence | None, values: Mapping[str, float]) -> float:
    """Return the DSC to expect of one organ, 0 to 1; NaN without evidence."""
    if evidence is None:
        return math.nan
    return evidence.inside
