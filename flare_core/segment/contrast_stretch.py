"""Scans without contrast, shown to a stage as if with it: HU are spread about the organs' median.

Without contrast a liver has 40 to 65 HU and a tumour in it some 15 less; with it, 100 to 130 and 40
less. A network that learned the second sees hardly anything in the first. What differs from the
organs by d HU is shown as differing by k d, and the organs at the median of those with contrast.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from flare_core.models.stage_card import ContrastStretch

Floats = npt.NDArray[np.float32]


def median_hu(hu: Floats, inside: npt.NDArray[np.bool_]) -> float:
    """Return the median of some voxels; NaN of none."""
    return float(np.median(hu[inside])) if inside.any() else math.nan


def factor_for(stretch: ContrastStretch, median: float) -> float:
    """Return how much differences from a median (HU) are spread; 1, not at all, of NaN.

    Examples
    --------
    >>> [factor_for(ContrastStretch(110.0, 30.0, 2.0), hu) for hu in (140.0, 88.0, 44.0, 20.0)]
    [1.0, 1.25, 2.0, 1.0]
    """
    if not stretch.least_hu <= median < stretch.median_hu:
        return 1.0
    return min(stretch.most, stretch.median_hu / median)


def stretched(hu: Floats, stretch: ContrastStretch, median: float) -> Floats:
    """Return HU (Z, Y, X) as a stage is shown them, for organs of such a median."""
    factor = factor_for(stretch, median)
    if factor == 1:
        return hu
    return np.float32(stretch.median_hu) + np.float32(factor) * (hu - np.float32(median))


def peak_for(stretch: ContrastStretch, median: float, peak: float) -> float:
    """Return the probability that a finding must reach: a stage's own `peak` where nothing is
    spread, the stretch's where it is as much as may be, evenly between.

    Noise is spread too, and looks like lesions.

    Examples
    --------
    >>> stretch = ContrastStretch(110.0, 30.0, 2.0, 0.98)
    >>> [round(peak_for(stretch, hu, 0.94), 3) for hu in (140.0, 88.0, 44.0)]
    [0.94, 0.95, 0.98]
    """
    share = (factor_for(stretch, median) - 1) / (stretch.most - 1)
    return peak + share * (stretch.peak - peak)
