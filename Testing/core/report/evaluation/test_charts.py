from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from flare_core.report.evaluation.axis import Axis, distance_axis
from flare_core.report.evaluation.charts import (
    LOST_WIDTH,
    MOST_DOTS,
    NAME_WIDTH,
    WIDTH,
    Series,
    density,
    distribution_chart,
)

AXIS = Axis("DSC", 0.0, 1.0)
COLOUR = (10, 200, 30)


def chart(*values: float, axis: Axis = AXIS) -> str:
    svg = distribution_chart([Series("A & B", COLOUR, values)], axis, "title")
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
