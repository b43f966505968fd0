"""Which lesions of the reference a prediction found.

A lesion is a connected component (voxels that share a face, an edge or a corner). A predicted and
a true lesion match if their intersection over union (IoU) is above a threshold, each lesion at
most once; above 0.5 no lesion can have two partners (Kirillov et al., "Panoptic Segmentation",
CVPR 2019). The FLARE23 paper names the components and the metrics but no threshold: 0.5 is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

LEAST_IOU = 0.5
MOST_COUNTED = 2**22
"""So many pairs of lesions are counted in one table (32 MB)."""
TOUCHING = np.ones((3, 3, 3), bool)
"""26 neighbours: a thin bridge across a corner does not make two lesions of one."""


@dataclass(frozen=True)
class LesionMatch:
    """How many lesions there are and which pairs match."""

    true: int
    """Lesions of the reference."""
    predicted: int
    """Lesions of the prediction."""
    ious: tuple[float, ...]
    """Intersection over union of each matching pair, largest first."""

    @property
    def found(self) -> int:
        """Lesions of the reference that were found (as many as predicted lesions that are true)."""
        return len(self.ious)


def match_lesions(prediction: Mask, reference: Mask, least_iou: float = LEAST_IOU) -> LesionMatch:
    """Match the lesions of two masks (Z, Y, X).

    Examples
    --------
    >>> reference = np.array([[[1, 1, 1, 0, 0, 1]]], bool)
    >>> match_lesions(np.array([[[0, 1, 1, 0, 0, 0]]], bool), reference)
    LesionMatch(true=2, predicted=1, ious=(0.6666666666666666,))
    """
    found, predicted = ndimage.label(prediction, TOUCHING)
    wanted, true = ndimage.label(reference, TOUCHING)
    if not predicted or not true:
        return LesionMatch(true, predicted, ())
    ious = _ious(found, wanted)
    return LesionMatch(true, predicted, _best_pairs(ious, least_iou))


def _ious(found: Counts, wanted: Counts) -> dict[tuple[int, int], float]:
    """Return the IoU of every predicted and true lesion that share a voxel."""
    sizes, goals = np.bincount(found.ravel()), np.bincount(wanted.ravel())
    both = (found > 0) & (wanted > 0)
    keys = found[both].astype(np.int64) * len(goals) + wanted[both]  # one number for each pair
    if len(sizes) * len(goals) <= MOST_COUNTED:
        counts = np.bincount(keys)
        pairs = np.flatnonzero(counts)
        shared = counts[pairs]
    else:  # specks by the thousand: more pairs are thinkable than there are voxels
        pairs, shared = np.unique(keys, return_counts=True)
    rows = zip(*np.divmod(pairs, len(goals)), shared, strict=True)
    return {(int(p), int(t)): float(n / (sizes[p] + goals[t] - n)) for p, t, n in rows}


def _best_pairs(ious: dict[tuple[int, int], float], least_iou: float) -> tuple[float, ...]:
    """Pair the lesions one to one so that as many as possible match, then as well as possible."""
    enough = {pair: iou for pair, iou in ious.items() if iou > least_iou}
    rows = {p: k for k, p in enumerate(dict.fromkeys(p for p, _ in enough))}
    columns = {t: k for k, t in enumerate(dict.fromkeys(t for _, t in enough))}
    found = np.zeros((len(rows), len(columns)))
    for (p, t), iou in enough.items():
        found[rows[p], columns[t]] = iou
    gain = found + len(enough) * (found > 0)  # one pair more outweighs all IoUs together
    chosen = found[linear_sum_assignment(gain, maximize=True)]
    return tuple(sorted((float(iou) for iou in chosen if iou > 0), reverse=True))
