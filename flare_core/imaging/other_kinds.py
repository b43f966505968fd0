"""What an image without a value below zero may be, if it is no CT in Hounsfield units.

A guess from the values, for the words that tell a person what to do; `hounsfield` judges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MASK, SHIFTED, PET, MR, GREY = "mask", "shifted CT", "PET", "MR", "grey levels"

FEW_VALUES = 64
"""A mask or label map has no more values than this, all of them whole."""
GREY_LEVELS = 255
SHIFT = 1024
SHIFTED_TISSUE = (SHIFT - 200, SHIFT + 400)
SHIFTED_DENSE = SHIFT - 500
"""As `hounsfield.TISSUE_HU` and `DENSE_HU`, with 1024 added."""
LEAST_TISSUE, LEAST_DENSE = 0.8, 0.1
"""Of what is denser than lung, the share that is soft tissue; and the share that is denser."""
FAINT, LEAST_BRIGHT = 0.05, 0.1
"""PET is dark but for a few spots: less than a tenth is above 5 % of its brightest."""

REMEDY = {
    MASK: "This is a mask: choose the CT that it was drawn on.",
    SHIFTED: "This is a CT stored with 1024 added: subtract 1024 from every voxel.",
    PET: (
        "This looks like PET or SPECT, which the models do not know: choose the CT of the same "
        "examination."
    ),
    MR: "This looks like MR, which the models do not know: choose a CT of this patient.",
    GREY: "Give the CT before it became grey levels or labels; HU cannot be had back.",
}
"""Kind -> what to do."""


def kind_of(sample: Array) -> str:
    """Return what an image (Z, Y, X) without a value below zero most likely is.

    Examples
    --------
    >>> kind_of(np.arange(64).reshape(4, 4, 4) % 14)
    'mask'
    >>> chance = np.random.default_rng(0)
    >>> kind_of(chance.gamma(3.0, 150.0, (20, 20, 20)))
    'MR'
    """
    whole = sample.dtype.kind != "f" or bool(np.array_equal(sample, np.rint(sample)))
    if whole and len(np.unique(sample)) <= FEW_VALUES:
        return MASK
    if _is_shifted(sample):
        return SHIFTED
    if whole and float(sample.max()) <= GREY_LEVELS:
        return GREY
    bright = float(np.quantile(sample, 0.9999)) * FAINT
    return PET if float((sample > bright).mean()) < LEAST_BRIGHT else MR


def _is_shifted(sample: Array) -> bool:
    """Whether what is denser than lung would be soft tissue if 1024 were subtracted."""
    dense = sample > SHIFTED_DENSE
    count = int(np.count_nonzero(dense))
    low, high = SHIFTED_TISSUE
    tissue = int(np.count_nonzero((sample > low) & (sample < high)))
    return count >= LEAST_DENSE * sample.size and tissue >= LEAST_TISSUE * count
