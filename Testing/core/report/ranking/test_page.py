from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from flare_core.report.ranking.charts import box_chart, density, ticks_around, violin_chart
from flare_core.report.ranking.maps import BETTER, WORSE, radar_chart, significance_map
from flare_core.report.ranking.page import Group, PairMap, RankingView, Standing, ranking_page

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert('x')</script> & \"co\""


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", text)]


def polygons(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    found = (numbers(p.attrib["points"]) for p in root.iter(f"{SVG}polygon"))
    return [list(zip(p[::2], p[1::2], strict=True)) for p in found]


def squares(root: ElementTree.Element, colour: str, cell: int) -> set[tuple[int, int]]:
    """Return (row, column) of the filled squares, from runs like M x y h w v 16 h -w z."""
    frame = next(r for r in root.iter(f"{SVG}rect") if r.attrib.get("fill") == "none")
    left, top = float(frame.attrib["x"]), float(frame.attrib["y"])
    filled = set()
    for path in (p for p in root.iter(f"{SVG}path") if p.attrib["fill"] == colour):
        for x, y, width in re.findall(r"M([\d.]+) ([\d.]+)h(\d+)", path.attrib["d"]):
            row, column = round((float(y) - top) / cell), round((float(x) - left) / cell)
            filled |= {(row, column + i) for i in range(int(width) // cell)}
    return filled


def view(**changes) -> RankingView:
    plain = RankingView(
        title="Ranking by FLARE 2023",
        facts="3 teams, 40 cases",
        heads=["Mean rank", "DSC"],
        standings=[Standing(str(i + 1), name, ["1.5", "0.9"]) for i, name in enumerate("abc")],
        tau=[
            Group("Organ DSC", np.linspace(0.8, 1, 50).tolist()),
            Group("AUC GPU", [math.nan] * 50),
        ],
        places=[Group(name, [1.0, 2.0, 2.0], mark=float(i)) for i, name in enumerate("abc", 1)],
        beaten_heads=["Organ DSC", "AUC GPU", "Final ranking"],
        beaten=[[2, 1, 2], [1, 0, 1], [0, 0, 0]],
        pairs=[PairMap("Final ranking", np.triu(np.ones((3, 3), bool), 1), "3 of 3 pairs differ")],
        values=[("Organ DSC", "", [Group(name, [0.1, 0.5, 0.9], 0.5) for name in "abc"])],
        notes=["b: no result of 2 cases"],
        method=["Ranks: ..."],
    )
    return replace(plain, **changes)


def test_the_page_shows_every_part_and_loads_nothing():
    page = ranking_page(view())
    for part in ("Ranking by FLARE 2023", "3 teams, 40 cases", "Standings", "Stability", "Pairs of",
                 "b: no result of 2 cases", "Kendall", "3 of 3 pairs differ", "Ranks: ...",
                 "research use"):  # fmt: skip
        assert part.lower() in page.lower()
    assert page.count("<svg") == 5  # places, tau, radar, pairs, values
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert addresses == [] and "default-src 'none'" in page


def test_text_from_outside_is_escaped_everywhere():
    names = [NASTY, "b", "c"]
    page = ranking_page(
        view(
            title=NASTY,
            facts=NASTY,
            heads=[NASTY, NASTY],
            standings=[Standing(NASTY, name, [NASTY, ""]) for name in names],
            places=[Group(name, [1.0]) for name in names],
            tau=[Group(NASTY, [0.5])],
            beaten_heads=[NASTY, "x", "y"],
            pairs=[PairMap(NASTY, np.zeros((3, 3), bool), NASTY)],
            values=[(NASTY, NASTY, [Group(NASTY, [1.0])])],
            notes=[NASTY],
            method=[NASTY],
        )
    )
    assert "<script" not in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        parsed(drawing)


def test_without_bootstrap_samples_it_says_so():
    page = ranking_page(view(tau=[Group("DSC", [])], places=[Group("a", [], 1.0)]))
    assert page.count("No bootstrap samples were drawn") == 2


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


def test_the_radar_reaches_as_far_as_teams_are_beaten():
    root = parsed(radar_chart("t", ["A", "B", "C", "D"], 10, [("x", [10, 0, 5, 10])]))
    (*rings, rim, shape) = polygons(root)
    assert len(rings) == 3
    centre = (250.0, 205.0)
    reach = [math.dist(p, centre) / math.dist(r, centre) for p, r in zip(shape, rim, strict=True)]
    assert reach == pytest.approx([1, 0, 0.5, 1], abs=0.01)
    assert shape[0][0] == 250 and shape[0][1] < 205  # the first spoke points up


def test_the_map_fills_better_and_worse():
    better = np.zeros((4, 4), bool)
    better[0, 1:] = True
    better[1, 3] = True
    root = parsed(significance_map("t", list("abcd"), better))
    assert squares(root, BETTER, 16) == {(0, 1), (0, 2), (0, 3), (1, 3)}
    assert squares(root, WORSE, 16) == {(1, 0), (2, 0), (3, 0), (3, 1)}


def test_forty_teams_and_thousand_samples_stay_a_small_page():
    random = np.random.default_rng(1)
    names = [f"team{i:02d}" for i in range(40)]
    page = ranking_page(
        view(
            standings=[Standing("1", name, ["1", "2"]) for name in names],
            tau=[Group(f"m{i}", random.random(1000).tolist()) for i in range(7)],
            places=[Group(name, random.integers(1, 41, 1000).tolist(), 3.0) for name in names],
            beaten=[[1, 2, 3]] * 40,
            pairs=[PairMap(f"m{i}", random.random((40, 40)) > 0.5, "") for i in range(7)],
        )
    )
    assert len(page) < 600_000


def test_density_is_that_of_the_kernel():
    values = np.array([0.0, 0.0, 1.0, 1.0])
    width = 0.9 * min(0.5, 1 / 1.34) * 4**-0.2
    by_hand = [2 + 2 * math.exp(-0.5 / width**2), 4 * math.exp(-0.5 * (0.5 / width) ** 2)]
    assert density(values, np.array([0.0, 0.5])) == pytest.approx([1, by_hand[1] / by_hand[0]])
    assert density(np.ones(5), np.array([1.0])).tolist() == [1]


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.0), (1, 40), (-3, 7), (0, 1e-6), (5, 5)])
def test_ticks_enclose_both_ends(low, high):
    ticks = ticks_around(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
