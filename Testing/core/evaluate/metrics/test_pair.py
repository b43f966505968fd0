from __future__ import annotations

import numpy as np
import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.errors import InputError
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.pair import OrganPair


def test_counts() -> None:
    pair = hand.pair(hand.voxels((0, 0, 0), (1, 1, 1)), hand.voxels((1, 1, 1)))
    assert (pair.predicted_voxels, pair.true_voxels, pair.shared_voxels) == (2, 1, 1)
    assert pair.voxel_ml == pytest.approx(0.006)
    assert not pair.both_empty and not pair.one_empty
    assert hand.BOTH_EMPTY.both_empty and not hand.BOTH_EMPTY.one_empty
    assert hand.NOTHING_TRUE.one_empty and hand.NOTHING_PREDICTED.one_empty


def test_two_grids_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        OrganPair(
            prediction=np.zeros((2, 2, 2), bool),
            reference=np.zeros((2, 2, 3), bool),
            spacing_mm=(1.0, 1.0, 1.0),
        )


def test_cropping_changes_no_metric() -> None:
    rng = np.random.default_rng(4)
    prediction, reference = np.zeros((2, 12, 14, 16), bool)
    prediction[3:8, 4:9, 5:12] = rng.random((5, 5, 7)) < 0.6
    reference[3:9, 4:9, 5:11] = rng.random((6, 5, 6)) < 0.6
    pair = hand.pair(prediction, reference)
    small = pair.cropped()
    assert small.prediction.size < prediction.size / 4
    for metric in METRICS.values():
        assert metric.function(small) == pytest.approx(metric.function(pair)), metric.key


def test_cropping_nothing_leaves_nothing() -> None:
    small = hand.BOTH_EMPTY.cropped()
    assert small.prediction.size == 0 and small.both_empty
    assert METRICS["dsc"].function(small) == METRICS["nsd"].function(small) == 1.0
