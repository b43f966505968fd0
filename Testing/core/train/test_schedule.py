from __future__ import annotations

from dataclasses import replace

import pytest

from flare_core.train.checkpoint import TrainingProgress
from flare_core.train.config import Phase
from flare_core.train.schedule import (
    learning_rate,
    phase_fraction,
    phase_seconds_left,
    run_seconds_left,
)

PHASE = Phase((2.0, 2.0, 2.0), (32, 32, 32), steps=200, minutes=2.0, learning_rate=0.1)


def test_the_nearer_limit_counts() -> None:
    assert phase_fraction(PHASE, TrainingProgress(step=150, seconds=12.0)) == pytest.approx(0.75)
    assert phase_fraction(PHASE, TrainingProgress(step=10, seconds=90.0)) == pytest.approx(0.75)
    assert phase_fraction(PHASE, TrainingProgress(step=10, seconds=130.0)) > 1.0
    assert phase_fraction(replace(PHASE, minutes=0.0), TrainingProgress(seconds=9e9)) == 0.0


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [learning_rate(PHASE, TrainingProgress(step=n), 20) for n in range(201)]
    peak = rates.index(max(rates))
    assert 15 <= peak <= 25 and max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(0.005) and rates[-1] == pytest.approx(0.001)


def test_a_slow_machine_gets_the_whole_cosine() -> None:
    at_the_end = TrainingProgress(step=30, seconds=120.0)
    assert learning_rate(PHASE, at_the_end, 20) == pytest.approx(0.001)
    beyond = TrainingProgress(step=31, seconds=500.0)
    assert learning_rate(PHASE, beyond, 20) == pytest.approx(0.001)


def test_no_warm_up_is_possible() -> None:
    assert learning_rate(PHASE, TrainingProgress(), 0) == pytest.approx(0.1)


def test_time_left() -> None:
    progress = TrainingProgress(step=50, seconds=30.0)
    assert phase_seconds_left(PHASE, progress) == pytest.approx(90.0)
    assert phase_seconds_left(PHASE, TrainingProgress()) is None
    assert phase_seconds_left(PHASE, TrainingProgress(step=400, seconds=30.0)) == 0.0
    unlimited = replace(PHASE, minutes=0.0)
    assert run_seconds_left((PHASE, PHASE), progress) == pytest.approx(90.0 + 120.0)
    assert run_seconds_left((PHASE, PHASE), replace(progress, phase=1)) == pytest.approx(90.0)
    assert run_seconds_left((PHASE, unlimited), progress) is None
    assert run_seconds_left((PHASE,), TrainingProgress()) is None


def test_poly_falls_to_nothing_by_a_power_of_nine_tenths() -> None:
    half = learning_rate(PHASE, TrainingProgress(step=100), 20, "poly")
    assert half == pytest.approx(0.1 * 0.5**0.9)
    assert learning_rate(PHASE, TrainingProgress(step=200), 20, "poly") == 0.0
