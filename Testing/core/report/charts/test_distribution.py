from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from flare_core.report.charts.axis import Axis, distance_axis, ticks_around
from flare_core.report.charts.distribution import (
    LOST_WIDTH,
    MOST_DOTS,
    NAME_WIDTH,
    WIDTH,
    Group,
    box_chart,
    density,
    distribution_chart,
    violin_chart,
)

SVG = "{http://www.w3.org/2000/svg}"
AXIS = Axis("DSC", 0.0, 1.0)
COLOUR = (10, 200, 30)


def chart(*values: float, axis: Axis = AXIS) -> str:
    svg = distribution_chart([Group("A & B", values, colour=COLOUR)], axis, "title")
    ElementTree.fromstring(svg)  # well-formed, names escaped
    return svg


def place(value: float) -> str:
    return f"{NAME_WIDTH + value * (WIDTH - NAME_WIDTH - LOST_WIDTH):.1f}"


def test_dots_box_and_violin_appear_as_values_come() -> None:
    few, some, many = chart(0.2, 0.4), chart(*[0.2, 0.4] * 2), chart(*np.linspace(0, 1, 9))
    assert [svg.count("<circle") for svg in (few, some, many)] == [2, 4, 9]
    assert ["<rect" in svg for svg in (few, some, many)] == [False, True, True]
    assert ["<polygon" in svg for svg in (few, some, many)] == [False, False, True]


def test_median_and_quartiles_are_where_they_belong() -> None:
    svg = chart(0.0, 0.25, 0.5, 0.75, 1.0)
    box = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    assert box and box[1] == place(0.25)
    assert float(box[2]) == pytest.approx(0.5 * (WIDTH - NAME_WIDTH - LOST_WIDTH), abs=0.1)
    assert f'<line x1="{place(0.5)}"' in svg


def test_what_cannot_be_drawn_is_counted() -> None:
    assert "2 not drawn" in chart(0.5, math.nan, math.inf)
    assert "1 not drawn" in chart(math.nan) and "<circle" not in chart(math.nan)
    assert "not drawn" not in chart(0.5)


def test_beyond_the_axis_is_hollow() -> None:
    values = [3.0] * 120 + [170.0]
    svg = chart(*values, axis=distance_axis("mm", values))
    assert svg.count('fill="none"') == 1


def test_many_cases_show_outliers_only() -> None:
    values = np.linspace(0.8, 0.9, MOST_DOTS).tolist()
    assert chart(*values).count("<circle") == MOST_DOTS
    assert chart(*values, 0.1).count("<circle") == 1


def test_equal_values_need_no_width() -> None:
    assert "<polygon" not in chart(*[1.0] * 20) and "nan" not in chart(*[1.0] * 20)


def test_density_has_its_peak_where_the_values_are() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.05, 300)
    at = np.linspace(0.0, 1.0, 101)
    heights = density(values, at)
    assert at[heights.argmax()] == pytest.approx(0.7, abs=0.03) and heights.max() == 1.0
    assert heights[0] < 1e-6


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", text)]


def polygons(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    found = (numbers(p.attrib["points"]) for p in root.iter(f"{SVG}polygon"))
    return [list(zip(p[::2], p[1::2], strict=True)) for p in found]


def test_a_violin_is_widest_where_most_values_are_and_stands_on_its_scale():
    values = np.concatenate([np.full(10, 0.8), np.random.default_rng(0).normal(0.95, 0.01, 300)])
    root = parsed(violin_chart("t", [Group("DSC", values.clip(max=1).tolist())], top=1.0, unit="u"))
    (outline,) = polygons(root)
    widest = max(outline, key=lambda p: p[0])
    top, bottom = min(y for _, y in outline), max(y for _, y in outline)
    assert top <= widest[1] < top + 0.4 * (bottom - top)  # near 0.95, not near 0.8
    xs = [x for x, _ in outline]
    assert max(xs) + min(xs) == pytest.approx(2 * (64 + 52), abs=0.3)  # the same on both sides
    box = next(r for r in root.iter(f"{SVG}rect") if r.attrib.get("stroke"))
    q1, q3 = np.quantile(values.clip(max=1), (0.25, 0.75))
    low = ticks_around(0.8, 1.0)[0]
    assert float(box.attrib["height"]) == pytest.approx(286 * (q3 - q1) / (1 - low), abs=0.2)


def test_few_different_values_have_a_box_but_no_shape():
    root = parsed(violin_chart("t", [Group("DSC", [1.0] * 500)], top=1.0, unit="u"))
    assert not polygons(root)
    assert any(r.attrib.get("stroke") for r in root.iter(f"{SVG}rect"))


def test_a_metric_in_which_all_are_equal_has_no_tau():
    root = parsed(violin_chart("t", [Group("AUC GPU", [math.nan] * 9)], top=1.0, unit="u"))
    assert "all equal" in "".join(root.itertext())


def test_boxes_lie_on_the_axis_of_places():
    groups = [Group("a", [1.0] * 9, 1.0), Group("b", [2.0, 3.0, 3.0], 2.0), Group("c", [3.0], 3.0)]
    root = parsed(box_chart("t", groups, unit="place", whole=True))
    xs = [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle")]
    ticks = {
        t.text: float(t.attrib["x"]) for t in root.iter(f"{SVG}text") if (t.text or "").isdigit()
    }
    assert xs == [ticks["1"], ticks["2"], ticks["3"]]


def test_boxes_without_any_value_are_still_a_chart():
    parsed(box_chart("t", [Group("a", []), Group("b", [math.nan])], unit=""))


def test_density_is_that_of_the_kernel():
    values = np.array([0.0, 0.0, 1.0, 1.0])
    width = 0.9 * min(0.5, 1 / 1.34) * 4**-0.2
    by_hand = [2 + 2 * math.exp(-0.5 / width**2), 4 * math.exp(-0.5 * (0.5 / width) ** 2)]
    assert density(values, np.array([0.0, 0.5])) == pytest.approx([1, by_hand[1] / by_hand[0]])
    assert density(np.ones(5), np.array([1.0])).tolist() == [1]
