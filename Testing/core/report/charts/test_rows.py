from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from flare_core.anatomy.organs import ORGANS, organ
from flare_core.report.charts.rows import Pair, pair_chart, volume_chart

SVG = "{http://www.w3.org/2000/svg}"


def chart(*arguments: object) -> ElementTree.Element:
    return ElementTree.fromstring(volume_chart(*arguments))


def texts(svg: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in svg.iter(f"{SVG}text")]


def test_each_organ_has_a_row_and_each_volume_a_dot():
    svg = chart({"liver": [1500.0, 1200.0], "spleen": [200.0]}, ORGANS)
    assert [each.name for each in ORGANS] == [t for t in texts(svg) if t in NAMES]
    assert len(list(svg.iter(f"{SVG}circle"))) == 3
    assert texts(svg).count("not found") == len(ORGANS) - 2


NAMES = {each.name for each in ORGANS}


def test_positions_are_logarithmic():
    places = [float(c.get("cx")) for c in dots({"liver": [1.0, 10.0, 100.0]})]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert places[1] > places[0]


def dots(volumes: dict[str, list[float]]) -> list[ElementTree.Element]:
    return list(chart(volumes, [organ("liver")]).iter(f"{SVG}circle"))


def test_the_grey_band_is_the_usual_range():
    low, high = organ("liver").volume_range_ml
    svg = chart({"liver": [low, high]}, [organ("liver")])
    left, right = (float(c.get("cx")) for c in svg.iter(f"{SVG}circle"))
    band = next(svg.iter(f"{SVG}rect"))
    assert float(band.get("x")) == pytest.approx(left, abs=0.2)
    assert float(band.get("x")) + float(band.get("width")) == pytest.approx(right, abs=0.2)


@pytest.mark.parametrize("nothing", [[], [0.0], [math.nan], [-1.0]])
def test_no_volume_is_not_a_small_volume(nothing):
    svg = chart({"liver": nothing}, [organ("liver")])
    assert "not found" in texts(svg)
    assert not list(svg.iter(f"{SVG}circle"))


def test_only_what_the_caller_flags_is_called_out_of_range():
    assert not any("outside" in t for t in texts(chart({"liver": [9000.0]}, [organ("liver")])))
    flagged = texts(chart({"liver": [9000.0]}, [organ("liver")], ["liver"]))
    assert "9000 mL, outside range" in flagged


def test_names_are_escaped_and_no_organ_gives_a_chart_too():
    odd = replace(organ("liver"), name="<b>&")
    assert "<b>&" in texts(chart({}, [odd]))
    assert chart({}, []).tag == f"{SVG}svg"


def test_pairs_lie_where_their_values_are():
    drawn = ElementTree.fromstring(
        pair_chart("x", [Pair("Liver", 0.0, 1.0), Pair("Spleen", None, 0.5, bad=True)])
    )
    circles = [float(each.get("cx")) for each in drawn.iter(f"{SVG}circle")]
    assert circles[2] == pytest.approx((circles[0] + circles[1]) / 2, abs=0.2)
    words = texts(drawn)
    assert "0.000 → 1.000" in words and "0.500" in words
