from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from flare_core.report.evaluation.efficiency_plot import (
    Curve,
    Panel,
    efficiency_plot,
    round_ticks,
    thinned,
)

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panels, times=(0.1, 0.2, 0.3, 0.4), title="case"):
    return ElementTree.fromstring(efficiency_plot(title, "the command", times, panels))


def points_of(root, number=0):
    line = list(root.iter(f"{SVG}polyline"))[number]
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def test_a_curve_stands_where_its_values_say():
    panel = Panel("GPU memory, MiB", [Curve("GPU", [0.0, 1000.0, 500.0, 0.0], "#b1560f")])
    points = points_of(drawn([panel]))
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs) and xs[-1] == 840  # the last sample ends the time axis
    assert ys[0] == ys[3] == max(ys) and ys[1] == min(ys)
    assert math.isclose(ys[2], (ys[0] + ys[1]) / 2, abs_tol=0.1)


def test_everything_lies_inside_the_picture():
    panels = [Panel(f"p{i}, %", [Curve("c", [5.0, 100.0, 3.0, 7.0], "red")]) for i in range(3)]
    root = drawn(panels)
    height = float(root.attrib["height"])
    for i in range(3):
        assert all(0 <= x <= 860 and 0 <= y <= height for x, y in points_of(root, i))
    lowest = max(y for _, y in points_of(root, 2))
    marks = [float(text.attrib["y"]) for text in root.iter(f"{SVG}text")]
    assert lowest + 10 < max(marks) < height  # the time axis is below the last panel


def test_unknown_values_leave_a_word_instead_of_a_curve():
    root = drawn([Panel("GPU", [Curve("GPU", [math.nan] * 4, "red")], unknown="no GPU watched")])
    assert not list(root.iter(f"{SVG}polyline"))
    assert "no GPU watched" in "".join(root.itertext())


def test_text_from_outside_is_escaped():
    nasty = "<script>&\"'"
    root = drawn([Panel(nasty, [Curve(nasty, [1.0] * 4, "red")] * 2, nasty)], title=nasty)
    assert not list(root.iter(f"{SVG}script"))
    assert nasty in "".join(root.itertext())


def test_a_long_run_is_thinned_but_keeps_its_peak():
    times = [0.1 * i for i in range(36000)]
    values = [10.0] * 36000
    values[20001] = 9000.0
    kept = thinned(times, values)
    assert len(kept) <= 2 * 860
    assert (times[20001], 9000.0) in kept
    assert [t for t, _ in kept] == sorted(t for t, _ in kept)


def test_round_ticks_reach_the_largest_value():
    for largest in (0.03, 0.1, 1.0, 7.3, 99.0, 3561.6, 80000.0):
        ticks = round_ticks(largest, 4)
        assert ticks[0] == 0 and ticks[-1] >= largest > ticks[-2] and 2 <= len(ticks) <= 9
