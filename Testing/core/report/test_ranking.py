from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np

from flare_core.report.charts.distribution import Group
from flare_core.report.ranking import PairMap, RankingView, Standing, ranking_page

SVG = "{http://www.w3.org/2000/svg}"


NASTY = "<script>alert('x')</script> & \"co\""


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


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
