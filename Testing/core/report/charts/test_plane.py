from __future__ import annotations

import math
from xml.etree import ElementTree

from flare_core.report.charts.axis import Axis
from flare_core.report.charts.plane import (
    MARGIN,
    SIDE,
    ChartLine,
    Point,
    TimePanel,
    line_chart,
    scatter_chart,
    thinned,
    time_chart,
)

SVG = "{http://www.w3.org/2000/svg}"
VOLUME = Axis("mL", 1.0, 100.0, log=True)


def chart(*points: tuple[float, float], diagonal: bool = False) -> str:
    drawn = [Point(x, y, (1, 2, 3), "case <7>") for x, y in points]
    svg = scatter_chart(drawn, VOLUME, VOLUME, "title", diagonal=diagonal)
    ElementTree.fromstring(svg)
    return svg


def test_a_point_is_where_it_belongs() -> None:
    """10 mL is the middle of 1 to 100; up is more."""
    assert f'cx="{MARGIN + SIDE / 2}" cy="{10 + SIDE / 2}"' in chart((10.0, 10.0))
    assert f'cx="{MARGIN + SIDE:.1f}" cy="10.0"' in chart((100.0, 100.0))


def test_zero_volume_is_hollow_at_the_edge() -> None:
    svg = chart((10.0, 0.0))
    assert f'cy="{10 + SIDE:.1f}" r="4" fill="none"' in svg
    assert 'fill="none"' not in chart((10.0, 10.0))


def test_undefined_points_are_left_out() -> None:
    assert "<circle" not in chart((10.0, math.nan))


def test_the_diagonal_joins_equal_values() -> None:
    line = f'<line x1="{MARGIN:.1f}" y1="{10 + SIDE:.1f}" x2="{MARGIN + SIDE:.1f}" y2="10.0"'
    assert line in chart((2.0, 3.0), diagonal=True) and line not in chart((2.0, 3.0))


def drawn(panels, title="case"):
    return ElementTree.fromstring(time_chart(title, "the command", panels))


def curve(name, values, colour):
    return ChartLine(name, list(zip((0.1, 0.2, 0.3, 0.4), values, strict=True)), colour)


def points_of(root, number=0):
    line = list(root.iter(f"{SVG}polyline"))[number]
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def test_a_curve_stands_where_its_values_say():
    panel = TimePanel("GPU memory, MiB", [curve("GPU", [0.0, 1000.0, 500.0, 0.0], "#b1560f")])
    points = points_of(drawn([panel]))
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs) and xs[-1] == 840  # the last sample ends the time axis
    assert ys[0] == ys[3] == max(ys) and ys[1] == min(ys)
    assert math.isclose(ys[2], (ys[0] + ys[1]) / 2, abs_tol=0.1)


def test_everything_lies_inside_the_picture():
    panels = [TimePanel(f"p{i}, %", [curve("c", [5.0, 100.0, 3.0, 7.0], "red")]) for i in range(3)]
    root = drawn(panels)
    height = float(root.attrib["height"])
    for i in range(3):
        assert all(0 <= x <= 860 and 0 <= y <= height for x, y in points_of(root, i))
    lowest = max(y for _, y in points_of(root, 2))
    marks = [float(text.attrib["y"]) for text in root.iter(f"{SVG}text")]
    assert lowest + 10 < max(marks) < height  # the time axis is below the last panel


def test_unknown_values_leave_a_word_instead_of_a_curve():
    root = drawn(
        [TimePanel("GPU", [curve("GPU", [math.nan] * 4, "red")], unknown="no GPU watched")]
    )
    assert not list(root.iter(f"{SVG}polyline"))
    assert "no GPU watched" in "".join(root.itertext())


def test_text_from_outside_is_escaped():
    nasty = "<script>&\"'"
    root = drawn([TimePanel(nasty, [curve(nasty, [1.0] * 4, "red")] * 2, nasty)], title=nasty)
    assert not list(root.iter(f"{SVG}script"))
    assert nasty in "".join(root.itertext())


def test_a_long_run_is_thinned_but_keeps_its_peak():
    times = [0.1 * i for i in range(36000)]
    values = [10.0] * 36000
    values[20001] = 9000.0
    kept = thinned(list(zip(times, values, strict=True)))
    assert len(kept) <= 2 * 860
    assert (times[20001], 9000.0) in kept
    assert [t for t, _ in kept] == sorted(t for t, _ in kept)


def test_a_curve_breaks_where_a_value_is_missing():
    drawn = ElementTree.fromstring(
        line_chart("x", [ChartLine("loss", [(0, 1.0), (1, 0.5), (2, None), (3, 0.2)])])
    )
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 1
    assert len(list(drawn.iter(f"{SVG}circle"))) == 1  # a point alone is a dot
    assert line_chart("x", [ChartLine("loss", [(0, None)])]) == ""


def test_higher_values_are_drawn_higher():
    drawn = ElementTree.fromstring(
        line_chart("x", [ChartLine("dsc", [(0, 0.1), (10, 0.9)])], least=0.0)
    )
    (line,) = drawn.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in line.get("points").split())
    assert x1 > x0 and y1 < y0
