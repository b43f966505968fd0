"""95th percentile of the Hausdorff distance."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair

SHARE = 0.95

Numbers = npt.NDArray[np.float64]


def hd95(pair: OrganPair) -> float:
    """Return the distance within which 95 % of either surface's area lies from the other, mm."""
    if pair.both_empty:
        return math.nan
    if pair.one_empty:
        return math.inf
    surfaces = pair.surfaces
    return max(
        weighted_quantile(surfaces.prediction_mm, surfaces.prediction_mm2),
        weighted_quantile(surfaces.reference_mm, surfaces.reference_mm2),
    )


def weighted_quantile(values: Numbers, weights: Numbers, share: float = SHARE) -> float:
    """Return the least value (N,) that together with all smaller ones holds `share` of the weight.

    Examples
    --------
    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 50.0, 49.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached / reached[-1], share))
    return float(values[order[min(place, len(order) - 1)]])


HD95 = Metric(
    key="hd95",
    name="Hausdorff distance, 95 %",
    unit="mm",
    direction="lower",
    empty="both empty: undefined (NaN); exactly one empty: infinite",
    missing=math.inf,
    function=hd95,
    source="google-deepmind/surface-distance (by area, the larger of both directions)",
)
