"""Panoptic quality: how many lesions were found, and how well they were drawn."""

from __future__ import annotations

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.pair import OrganPair


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
