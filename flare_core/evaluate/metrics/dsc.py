"""Dice similarity coefficient (Dice 1945), in [0, 1], higher is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def dice(
    prediction: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8], ids: Sequence[int]
) -> dict[int, float]:
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

    Examples
    --------
    >>> dice(np.array([[[1, 1, 2]]], np.uint8), np.array([[[1, 0, 2]]], np.uint8), [1, 2, 3])
    {1: 0.6666666666666666, 2: 1.0, 3: 1.0}
    """
    size = 256
    predicted = np.bincount(prediction.ravel(), minlength=size)
    true = np.bincount(reference.ravel(), minlength=size)
    both = np.bincount(reference[prediction == reference].ravel(), minlength=size)
    scores = {}
    for i in ids:
        total = int(predicted[i] + true[i])
        scores[i] = 2.0 * int(both[i]) / total if total else 1.0
    return scores
