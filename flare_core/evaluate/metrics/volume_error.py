"""Predicted minus true volume."""

from __future__ import annotations

import math

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def volume_error_ml(pair: OrganPair) -> float:
    """Return predicted minus true volume, mL."""
    return (pair.predicted_voxels - pair.true_voxels) * pair.voxel_ml


def volume_error_percent(pair: OrganPair) -> float:
    """Return predicted minus true volume, in percent of the true volume."""
    if pair.true_voxels == 0:
        return math.nan
    return 100.0 * (pair.predicted_voxels - pair.true_voxels) / pair.true_voxels


VOLUME_ERROR_ML = Metric(
    key="volume_error_ml",
    name="Volume error",
    unit="mL",
    direction="zero",
    empty="both empty: 0; reference empty: the predicted volume; prediction empty: minus the true",
    missing=math.nan,
    function=volume_error_ml,
    least=-math.inf,
)

VOLUME_ERROR_PERCENT = Metric(
    key="volume_error_percent",
    name="Relative volume error",
    unit="%",
    direction="zero",
    empty="reference empty: undefined (NaN); prediction empty: -100",
    missing=math.nan,
    function=volume_error_percent,
    least=-100.0,
)
