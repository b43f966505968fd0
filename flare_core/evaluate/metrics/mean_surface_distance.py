"""Mean distance between two surfaces."""

from __future__ import annotations

import math

import numpy as np

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def mean_surface_distance(pair: OrganPair) -> float:
    """Return the mean distance to the other surface over the area of both, mm.

    The two directions are weighed by their areas, as in the symmetric average of Heimann et al.
    """
    if pair.both_empty:
        return math.nan
    if pair.one_empty:
        return math.inf
    surfaces = pair.surfaces
    weighed = np.sum(surfaces.prediction_mm * surfaces.prediction_mm2)
    weighed += np.sum(surfaces.reference_mm * surfaces.reference_mm2)
    return float(weighed / (np.sum(surfaces.prediction_mm2) + np.sum(surfaces.reference_mm2)))


MEAN_SURFACE_DISTANCE = Metric(
    key="msd",
    name="Mean surface distance",
    unit="mm",
    direction="lower",
    empty="both empty: undefined (NaN); exactly one empty: infinite",
    missing=math.inf,
    function=mean_surface_distance,
    source="Heimann et al., IEEE Trans Med Imaging 2009",
)
