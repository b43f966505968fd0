from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from flare_core.report.charts.histogram import (
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Histogram,
    histogram_of,
    histogram_svg,
    round_bars,
)


def elements(svg: str, tag: str) -> list[ET.Element]:
    root = ET.fromstring(svg)
    return root.findall(f"{{http://www.w3.org/2000/svg}}{tag}")


def test_bars_are_as_high_as_their_counts():
    svg = histogram_svg(Histogram("Liver", 0.0, 10.0, (1, 4, 2), "mL", middle=15.0))
    (path,) = elements(svg, "path")
    heights = [float(v) for v in re.findall(r"V([\d.]+)H", path.get("d"))]
    floor = float(re.match(r"M\d+ ([\d.]+)", path.get("d"))[1])
    drawn = [floor - height for height in heights]
    assert drawn[1] == max(drawn)
    assert [height / drawn[1] for height in drawn] == pytest.approx([0.25, 1.0, 0.5], abs=0.01)


def test_everything_lies_inside_the_drawing():
    band = (-50.0, 500.0)
    svg = histogram_svg(Histogram("x", 0.0, 10.0, (1, 2, 3), "mL", middle=12.0, band=band))
    (rect,) = elements(svg, "rect")
    assert float(rect.get("x")) == LEFT
    assert float(rect.get("x")) + float(rect.get("width")) == pytest.approx(WIDTH - RIGHT, abs=0.2)
    lines = elements(svg, "line")
    assert len(lines) == 2, "the median and the floor"
    assert all(0 <= float(line.get(y)) <= HEIGHT for line in lines for y in ("y1", "y2"))


def test_a_median_outside_or_unknown_is_not_drawn():
    for middle in (math.nan, 99.0):
        svg = histogram_svg(Histogram("x", 0.0, 10.0, (1, 2), "", middle=middle))
        assert len(elements(svg, "line")) == 1


def test_every_value_falls_into_a_bar():
    values = [0.1 * n for n in range(37)] + [math.nan]
    drawn = histogram_of("x", values, "mm")
    assert sum(drawn.counts) == 37
    assert drawn.start <= 0 < 3.6 <= drawn.stop
    assert drawn.middle == pytest.approx(1.8)
    assert histogram_of("x", [math.nan], "mm") is None


@pytest.mark.parametrize(("low", "high"), [(0.61, 0.98), (-1024, 3071), (37, 751), (1e-3, 2e-3)])
def test_bars_are_round_and_cover_the_range(low, high):
    start, width, count = round_bars(low, high, 24)
    assert start <= low
    assert start + width * count >= high
    assert count <= 26
    assert float(f"{width:.0e}"[0]) in (1, 2, 5)
