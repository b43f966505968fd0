from __future__ import annotations

import time

import pytest

from flare_core.errors import Cancelled
from flare_core.segment.progress import SHARES, Progress, RunClock


def test_fractions_follow_the_shares_of_the_steps_that_run() -> None:
    told: list[Progress] = []
    clock = RunClock(told.append)
    clock.begin(("organs", "labels"))
    for stage, share in (("organs", 0.0), ("organs", 0.5), ("organs", 1.0), ("labels", 1.0)):
        clock.notify(stage, share)
    whole = SHARES["organs"] + SHARES["labels"]
    expected = [0.0, SHARES["organs"] / 2 / whole, SHARES["organs"] / whole, 1.0]
    assert [each.fraction for each in told] == pytest.approx(expected)
    assert told[0].seconds_left is None and told[-1].seconds_left == pytest.approx(0.0)


def test_a_stage_that_looks_again_does_not_take_progress_away() -> None:
    told: list[Progress] = []
    clock = RunClock(told.append)
    for share in (0.5, 1.0, 0.2, 0.9):
        clock.notify("organs", share)
    fractions = [each.fraction for each in told]
    assert fractions == sorted(fractions) and fractions[1] == fractions[3]


def test_timings_add_up_to_the_time_that_passed() -> None:
    start = time.perf_counter()
    clock = RunClock()
    time.sleep(0.02)
    clock.mark("load image")
    clock.notify("organs", 0.5)
    time.sleep(0.03)
    clock.notify("organs", 1.0)
    assert sum(clock.timings.values()) == pytest.approx(time.perf_counter() - start, abs=0.2)
    assert clock.timings["load image"] >= 0.02 and clock.timings["organs"] >= 0.03


def test_the_time_left_counts_from_the_beginning_of_the_steps() -> None:
    told: list[Progress] = []
    clock = RunClock(told.append)
    clock.announce("load image")
    time.sleep(0.3)
    clock.begin(("organs",))
    time.sleep(0.01)
    clock.notify("organs", 0.5)
    assert told[0] == Progress("load image", 0.0, None)
    assert told[1].seconds_left == pytest.approx(0.01, abs=0.1)


def test_every_step_forward_asks_whether_to_stop() -> None:
    clock = RunClock(cancelled=lambda: True)
    for step in (lambda: clock.mark("load image"), lambda: clock.notify("organs", 0.1)):
        with pytest.raises(Cancelled):
            step()


def test_the_last_stage_ends_at_one_whatever_comes_before_it() -> None:
    """Python 3.12 and later add floats otherwise: a sum of its parts was 0.9999999999999999."""
    one = ("localise", "organs", "labels", "lesions", "statistics")
    for stages in (one, one[:3], (*one[:3], "organs_2", "labels_2", "statistics"), one[::-1]):
        told: list[Progress] = []
        clock = RunClock(told.append)
        clock.begin(stages)
        clock.notify(stages[-1], 1.0)
        assert told[-1].fraction == 1
