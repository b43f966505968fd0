"""Lesion-wise sensitivity (recall)."""

from __future__ import annotations

import math

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def lesion_sensitivity(pair: OrganPair) -> float:
    """Return the share of the true lesions that were found, 0 to 1."""
    return pair.lesions.found / pair.lesions.true if pair.lesions.true else math.nan


LESION_SENSITIVITY = Metric(
    key="lesion_sensitivity",
    name="Lesion-wise sensitivity",
    unit="1",
    direction="higher",
    empty="no true lesion: undefined (NaN); none predicted: 0",
    missing=0.0,
    function=lesion_sensitivity,
    most=1.0,
    lesion_only=True,
    source="FLARE23 paper, Fig. 4a",
)
