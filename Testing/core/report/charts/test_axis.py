from __future__ import annotations

import math

import pytest

from flare_core.report.charts.axis import (
    Axis,
    decade_axis,
    distance_axis,
    share_axis,
    ticks_around,
)


def test_places_on_an_axis() -> None:
    line, decades = Axis("mm", 0.0, 20.0), Axis("mL", 0.1, 1000.0, log=True)
    assert line.share(5.0) == 0.25 and line.share(-3.0) == 0.0 and line.share(99.0) == 1.0
    assert decades.share(10.0) == pytest.approx(0.5) and decades.share(0.0) == 0.0
    assert decades.ticks == pytest.approx([0.1, 1, 10, 100, 1000])
    assert line.ticks == [0, 4, 8, 12, 16, 20]


def test_axes_fit_their_values() -> None:
    assert share_axis("DSC", []).low == 0.0 and share_axis("DSC", [0.5, math.nan]).low == 0.5
    assert distance_axis("mm", [0.2, 17.3]).high == 20.0
    assert distance_axis("mm", []).high == distance_axis("mm", [0.0]).high == 1.0
    assert decade_axis("mL", [5.0]).low < 5.0 < decade_axis("mL", [5.0]).high
    assert decade_axis("mL", [0.0, math.nan]).low == 1.0


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.0), (1, 40), (-3, 7), (0, 1e-6), (5, 5)])
def test_ticks_enclose_both_ends(low, high):
    ticks = ticks_around(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9


def test_round_ticks_reach_the_largest_value():
    for largest in (0.03, 0.1, 1.0, 7.3, 99.0, 3561.6, 80000.0):
        ticks = ticks_around(0.0, largest, 4)
        assert ticks[0] == 0 and ticks[-1] >= largest > ticks[-2] and 2 <= len(ticks) <= 9
