"""Soft labels in one small map: the second most likely organ of every voxel, and its share.

A label map says which organ is most likely; this map beside it says what else the voxel may be and
how much. Two organs hold all but a hundredth of a voxel's probability, so a teacher's doubt costs
16 bits a voxel instead of 14 numbers, and compresses like a label map.

A voxel of the map is ``256 * second + share``, where ``share`` is that of the most likely organ
among the two, in 255ths: `SURE` (255) means that there is no doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SURE = 255
"""No doubt: all of the probability is the first organ's."""


def pack_soft(
    probabilities: npt.NDArray[np.floating], ids: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Return the label map and the soft map of class probabilities.

    Parameters
    ----------
    probabilities : (K, Z, Y, X)
        Of each class, background first; need not add up to 1.
    ids : sequence of K int
        Organ id of every class, 0 for the background, each below 128.

    Returns
    -------
    labels : uint8 (Z, Y, X)
        The most likely organ.
    soft : int16 (Z, Y, X)

    Examples
    --------
    >>> p = np.array([0.2, 0.8, 0.0]).reshape(3, 1, 1, 1)
    >>> labels, soft = pack_soft(p, (0, 3, 7))
    >>> int(labels.item()), divmod(int(soft.item()), 256)  # 204 / 255 is 0.8
    (3, (0, 204))
    """
    table = np.asarray(ids, np.int16)
    order = np.argpartition(probabilities, -2, axis=0)[-2:]  # (2, Z, Y, X): second, first
    two = np.take_along_axis(probabilities, order, axis=0)
    share = two[1] / np.maximum(two[0] + two[1], np.finfo(np.float32).tiny)
    soft = 256 * table[order[0]] + np.rint(SURE * share).astype(np.int16)
    return table[order[1]].astype(np.uint8), soft.astype(np.int16)
