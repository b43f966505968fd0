from __future__ import annotations

import math

import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics.volume_error import (
    VOLUME_ERROR_ML,
    VOLUME_ERROR_PERCENT,
    volume_error_ml,
    volume_error_percent,
)


def test_voxels_of_six_cubic_millimetres() -> None:
    pair = hand.pair(hand.voxels((0, 0, 0)), hand.voxels((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    assert volume_error_ml(pair) == pytest.approx(-0.012)
    assert volume_error_percent(pair) == pytest.approx(-200 / 3)


def test_too_large_is_positive() -> None:
    pair = hand.pair(hand.voxels((0, 0, 0), (1, 1, 1)), hand.voxels((2, 2, 2)))
    assert volume_error_ml(pair) == pytest.approx(0.006)
    assert volume_error_percent(pair) == pytest.approx(100.0)


def test_empty_policy() -> None:
    assert volume_error_ml(hand.BOTH_EMPTY) == 0.0
    assert math.isnan(volume_error_percent(hand.BOTH_EMPTY))
    assert volume_error_percent(hand.NOTHING_PREDICTED) == -100.0
    assert volume_error_ml(hand.NOTHING_PREDICTED) == pytest.approx(-0.006)
    assert math.isnan(volume_error_percent(hand.NOTHING_TRUE))


def test_a_missing_prediction_is_no_volume_of_zero() -> None:
    for metric in (VOLUME_ERROR_ML, VOLUME_ERROR_PERCENT):
        assert metric.missing is not None and math.isnan(metric.missing)
