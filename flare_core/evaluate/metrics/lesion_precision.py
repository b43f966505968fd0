"""Lesion-wise precision."""

from __future__ import annotations

import math

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def lesion_precision(pair: OrganPair) -> float:
    """Return the share of the predicted lesions that are true, 0 to 1."""
    return pair.lesions.found / pair.lesions.predicted if pair.lesions.predicted else math.nan


LESION_PRECISION = Metric(
    key="lesion_precision",
    name="Lesion-wise precision",
    unit="1",
    direction="higher",
    empty="no predicted lesion: undefined (NaN); no true lesion: 0",
    missing=0.0,
    function=lesion_precision,
    most=1.0,
    lesion_only=True,
    source="FLARE23 paper, methods",
)
