"""Every rate and count of lesions, from the one matching in `lesion`.

Counts are metrics too: rates over a whole cohort are made of their sums.
"""

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


# Specificity needs true negatives, and there is no counting the lesions that are rightly not
# there. The paper's methods list precision, its Fig. 4a and text say "specificity" for the same
# row of numbers; whoever compares with it finds them under its name.
LESION_SPECIFICITY = Metric(
    key="lesion_specificity",
    name="Lesion-wise specificity as in the FLARE23 paper (it is the precision)",
    unit="1",
    direction="higher",
    empty=LESION_PRECISION.empty,
    missing=0.0,
    function=lesion_precision,
    most=1.0,
    lesion_only=True,
    source="FLARE23 paper, Fig. 4a",
)


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


def panoptic_quality(pair: OrganPair) -> float:
    """Return the sum of the matches' IoU over the mean number of lesions, 0 to 1.

    It is F1 times the mean IoU of the lesions that were found.
    """
    counted = pair.lesions.true + pair.lesions.predicted
    return 2 * sum(pair.lesions.ious) / counted if counted else 1.0


PANOPTIC_QUALITY = Metric(
    key="panoptic_quality",
    name="Panoptic quality",
    unit="1",
    direction="higher",
    empty="both empty: 1; exactly one empty: 0",
    missing=0.0,
    function=panoptic_quality,
    most=1.0,
    lesion_only=True,
    source="Kirillov et al., CVPR 2019; FLARE23 paper, Fig. 4b",
)


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
