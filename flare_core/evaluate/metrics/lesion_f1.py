"""Lesion-wise F1 score."""

from __future__ import annotations

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def lesion_f1(pair: OrganPair) -> float:
    """Return the harmonic mean of lesion-wise sensitivity and precision, 0 to 1."""
    counted = pair.lesions.true + pair.lesions.predicted
    return 2 * pair.lesions.found / counted if counted else 1.0


LESION_F1 = Metric(
    key="lesion_f1",
    name="Lesion-wise F1",
    unit="1",
    direction="higher",
    empty="both empty: 1; exactly one empty: 0",
    missing=0.0,
    function=lesion_f1,
    most=1.0,
    lesion_only=True,
    source="FLARE23 paper, Fig. 4a",
)
