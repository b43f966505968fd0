from __future__ import annotations

import numpy as np
import pytest

from flare_core.evaluate.metrics.lesion_wise import lesion_f1, panoptic_quality
from flare_core.evaluate.metrics.pair import OrganPair


def test_it_is_f1_times_the_mean_iou_of_what_was_found() -> None:
    reference = np.zeros((1, 1, 20), bool)
    reference[..., 0:4] = reference[..., 6:8] = reference[..., 10:14] = True
    prediction = np.zeros_like(reference)
    prediction[..., 0:3] = prediction[..., 6:8] = prediction[..., 18] = True
    pair = OrganPair(prediction=prediction, reference=reference, spacing_mm=(1.0, 1.0, 1.0))
    assert lesion_f1(pair) == pytest.approx(4 / 6)
    assert panoptic_quality(pair) == pytest.approx(4 / 6 * (0.75 + 1.0) / 2)
