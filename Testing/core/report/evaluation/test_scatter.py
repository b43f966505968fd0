from __future__ import annotations

import math
from xml.etree import ElementTree

from flare_core.report.evaluation.axis import Axis
from flare_core.report.evaluation.scatter import MARGIN, SIDE, Point, scatter_chart

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
