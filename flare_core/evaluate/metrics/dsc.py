"""Dice similarity coefficient (Dice 1945), in [0, 1], higher is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair

Labels = npt.NDArray[np.uint8]


def dice(prediction: Labels, reference: Labels, ids: Sequence[int]) -> dict[int, float]:
    """Return the DSC of every label.

    Parameters
    ----------
    prediction, reference : uint8 (Z, Y, X)
        Label maps on one grid.
    ids : sequence of int
        Labels to score.

    Returns
    -------
    dict
        Label -> DSC. Both empty: 1. Exactly one empty: 0 (FLARE's policy).

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> dice(np.array([[[1, 1, 2]]], np.uint8), np.array([[[1, 0, 2]]], np.uint8), [1, 2, 3])
    {1: 0.6666666666666666, 2: 1.0, 3: 1.0}
    """
    if prediction.shape != reference.shape:
        raise InputError(
            "prediction",
            f"a label map of shape {prediction.shape}",
            f"the reference's shape {reference.shape}",
            "Bring both to one grid first.",
        )
    total = np.zeros(256, np.int64)
    both = np.zeros(256, np.int64)
    for a, b in zip(prediction, reference, strict=True):  # a slice at a time: bincount takes int64
        total += np.bincount(a.ravel(), minlength=256) + np.bincount(b.ravel(), minlength=256)
        both += np.bincount(b[a == b], minlength=256)
    return {i: 2.0 * int(both[i]) / int(total[i]) if total[i] else 1.0 for i in ids}


def overlap(pair: OrganPair) -> float:
    """Return the DSC of one organ's masks, 0 to 1.

    Examples
    --------
    >>> one, two = np.array([[[1, 1, 0]]], bool), np.array([[[0, 1, 0]]], bool)
    >>> overlap(OrganPair(prediction=one, reference=two, spacing_mm=(1.0, 1.0, 1.0)))
    0.6666666666666666
    """
    if pair.both_empty:
        return 1.0
    return 2.0 * pair.shared_voxels / (pair.predicted_voxels + pair.true_voxels)


DSC = Metric(
    key="dsc",
    name="Dice similarity coefficient",
    unit="1",
    direction="higher",
    empty="both empty: 1; exactly one empty: 0",
    missing=0.0,
    function=overlap,
    most=1.0,
    official=True,
    source="Dice, Ecology 1945",
)
