"""★ ADD A METRIC: one file beside this one, one line here.

A `Metric` says its unit, direction, policy for empty masks, and what a missing prediction gets;
tables, pages and the command line read that from here.
"""

from __future__ import annotations

from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.dsc import DSC
from flare_core.evaluate.metrics.hd95 import HD95
from flare_core.evaluate.metrics.lesion_wise import (
    FOUND_LESIONS,
    LESION_F1,
    LESION_PRECISION,
    LESION_SENSITIVITY,
    LESION_SPECIFICITY,
    PANOPTIC_QUALITY,
    PREDICTED_LESIONS,
    TRUE_LESIONS,
)
from flare_core.evaluate.metrics.mean_surface_distance import MEAN_SURFACE_DISTANCE
from flare_core.evaluate.metrics.nsd import NSD
from flare_core.evaluate.metrics.volume_error import VOLUME_ERROR_ML, VOLUME_ERROR_PERCENT

METRICS: dict[str, Metric] = {
    DSC.key: DSC,
    NSD.key: NSD,
    HD95.key: HD95,
    MEAN_SURFACE_DISTANCE.key: MEAN_SURFACE_DISTANCE,
    VOLUME_ERROR_ML.key: VOLUME_ERROR_ML,
    VOLUME_ERROR_PERCENT.key: VOLUME_ERROR_PERCENT,
    LESION_SENSITIVITY.key: LESION_SENSITIVITY,
    LESION_PRECISION.key: LESION_PRECISION,
    LESION_SPECIFICITY.key: LESION_SPECIFICITY,
    LESION_F1.key: LESION_F1,
    PANOPTIC_QUALITY.key: PANOPTIC_QUALITY,
    TRUE_LESIONS.key: TRUE_LESIONS,
    PREDICTED_LESIONS.key: PREDICTED_LESIONS,
    FOUND_LESIONS.key: FOUND_LESIONS,
}
"""Every metric by its key, in the order of tables."""
