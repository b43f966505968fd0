from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from core.evaluate.metrics import hand_pairs as hand
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.descriptor import Metric

EMPTY_PAIRS = (hand.BOTH_EMPTY, hand.NOTHING_PREDICTED, hand.NOTHING_TRUE)


def test_keyword_only_and_frozen() -> None:
    with pytest.raises(TypeError):
        Metric("dsc", "Dice")  # type: ignore[call-arg, misc]
    with pytest.raises(FrozenInstanceError):
        METRICS["dsc"].key = "other"  # type: ignore[misc]


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_says_what_it_is(key: str) -> None:
    metric = METRICS[key]
    assert metric.key == key and metric.name and metric.empty
    assert metric.unit in ("1", "mm", "mL", "%", "{lesions}")
    assert metric.direction in ("higher", "lower", "zero", "none")


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_has_a_value_or_nan_where_masks_are_empty(key: str) -> None:
    for pair in EMPTY_PAIRS:
        assert isinstance(METRICS[key].function(pair), float)


@pytest.mark.parametrize("key", METRICS)
def test_equal_masks_are_best(key: str) -> None:
    best = {"higher": 1.0, "lower": 0.0, "zero": 0.0, "none": 1.0}
    assert METRICS[key].function(hand.EQUAL) == best[METRICS[key].direction]


@pytest.mark.parametrize("key", METRICS)
def test_a_missing_prediction_never_scores_well(key: str) -> None:
    metric = METRICS[key]
    worst = {"higher": 0.0, "lower": math.inf, "zero": math.nan, "none": None}
    assert metric.missing == pytest.approx(worst[metric.direction], nan_ok=True)


def test_the_scripts_compute_two_of_them() -> None:
    assert [key for key, metric in METRICS.items() if metric.official] == ["dsc", "nsd"]


@pytest.mark.parametrize("key", METRICS)
def test_every_value_lies_in_the_range_that_is_stated(key: str) -> None:
    metric = METRICS[key]
    values = [metric.function(pair) for pair in (*EMPTY_PAIRS, hand.EQUAL)]
    assert all(metric.least <= value <= metric.most for value in values if not math.isnan(value))
    assert metric.most == (1.0 if metric.unit == "1" else math.inf)
