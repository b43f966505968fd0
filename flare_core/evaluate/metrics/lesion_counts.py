"""How many lesions there are, were predicted and were found: for rates over a whole cohort."""

from __future__ import annotations

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


def true_lesions(pair: OrganPair) -> float:
    """Return the number of true lesions."""
    return float(pair.lesions.true)


def predicted_lesions(pair: OrganPair) -> float:
    """Return the number of predicted lesions."""
    return float(pair.lesions.predicted)


def found_lesions(pair: OrganPair) -> float:
    """Return the number of true lesions that were found."""
    return float(pair.lesions.found)


TRUE_LESIONS = Metric(
    key="true_lesions",
    name="Lesions in the reference",
    unit="{lesions}",
    direction="none",
    empty="0",
    missing=None,
    function=true_lesions,
    lesion_only=True,
)

PREDICTED_LESIONS = Metric(
    key="predicted_lesions",
    name="Lesions in the prediction",
    unit="{lesions}",
    direction="none",
    empty="0",
    missing=None,
    function=predicted_lesions,
    lesion_only=True,
)

FOUND_LESIONS = Metric(
    key="found_lesions",
    name="Lesions found",
    unit="{lesions}",
    direction="none",
    empty="0",
    missing=None,
    function=found_lesions,
    lesion_only=True,
)
