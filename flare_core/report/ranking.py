"""One self-contained page about a ranking: standings, stability, strengths, pairs of teams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from flare_core.evaluate.ranking.rank import Ranking
from flare_core.evaluate.ranking.results import METHOD, mean_of_known, multiple_testing_note
from flare_core.evaluate.ranking.schemes import MetricRule
from flare_core.evaluate.ranking.significance import LEVEL
from flare_core.report.charts.distribution import Group, box_chart, violin_chart
from flare_core.report.charts.matrix import BETTER, WORSE, radar_chart, significance_map
from flare_core.report.html import list_of, page, section, table
from flare_core.wording import many

Numbers = npt.NDArray[np.float64]

_ON_ONE_LINE = 'style="white-space: nowrap; text-align: left"'

_OWN_STYLE = """
@page { size: A4 landscape; margin: 12mm; }
@media print { table { font-size: .65rem; } th, td { padding: .15rem .3rem; } }
"""
"""A challenge has up to nine metrics: its standings are wider than a page held upright."""

IN_RADAR = 5
"""The best five, as in the FLARE papers; more lines hide each other."""


@dataclass(frozen=True)
class Standing:
    """One team's line in the table."""

    place: str
    """As in ``1`` or, with an interval, ``2 (2-3)``."""
    team: str
    """Name."""
    cells: Sequence[str]
    """One for each of the table's heads; a second line is shown small."""


@dataclass(frozen=True, eq=False)
class PairMap:
    """Which team is significantly better than which."""

    title: str
    """By what: a metric, or all of them."""
    better: npt.NDArray[np.bool_]
    """(team, team) in the order of the standings: row better than column."""
    remark: str = ""
    """How many pairs, before and after the correction."""


@dataclass(frozen=True, eq=False)
class RankingView:
    """What the page shows; the teams in every list come in the order of the standings."""

    title: str
    """Name of the ranking."""
    facts: str
    """One sentence: how many teams, cases, bootstrap samples."""
    heads: Sequence[str]
    """Heads of the standings' cells."""
    standings: Sequence[Standing]
    """The best first."""
    tau: Sequence[Group]
    """Kendall's tau over the bootstrap samples: a group for each metric and the final ranking."""
    places: Sequence[Group]
    """Place in the final ranking over the bootstrap samples: a group for each team."""
    beaten_heads: Sequence[str]
    """Spokes of the radar plot."""
    beaten: Sequence[Sequence[int]]
    """For each team: how many others it beats, on each spoke."""
    pairs: Sequence[PairMap]
    """The final comparison first."""
    values: Sequence[tuple[str, str, Sequence[Group]]] = ()
    """For each metric its title, its unit and the values of every team."""
    notes: Sequence[str] = ()
    """What a reader must know: missing values, skipped metrics."""
    method: Sequence[str] = ()
    """How the numbers were made."""


def view_of(ranking: Ranking) -> RankingView:
    """Return what the page shows: names, rounded numbers, the order of teams."""
    results, stability, order = ranking.table, ranking.stability, ranking.order
    rules = results.scheme.metrics
    names = [*(rule.title for rule in rules), "Final ranking"]
    return RankingView(
        title=f"Ranking by {results.scheme.title.partition(':')[0]}",
        facts=f"{many(len(results.teams), 'team')}, {many(len(results.cases), 'case')}, "
        f"{many(len(rules), 'metric')} "
        f"({', '.join(map(rule_text, rules))}); {stability.samples} bootstrap samples.",
        heads=["Mean rank", *map(_head, rules), "Missing values"],
        standings=[_standing(ranking, t) for t in order],
        tau=[Group(n, tau.tolist()) for n, tau in zip(names, stability.tau, strict=True)],
        places=[
            Group(results.teams[t], stability.places[:, t].tolist(), float(ranking.ranks.places[t]))
            for t in order
        ],
        beaten_heads=names,
        beaten=[ranking.beaten[:, t].tolist() for t in order],
        pairs=_pair_maps(ranking, names),
        values=[(rule.title, rule.unit, _value_groups(ranking, m)) for m, rule in enumerate(rules)],
        notes=results.notes,
        method=[*METHOD, multiple_testing_note(ranking)],
    )


def rule_text(rule: MetricRule) -> str:
    """Say what is ranked and what counts as equal.

    Examples
    --------
    >>> from flare_core.evaluate.ranking.schemes import FLARE23
    >>> [rule_text(rule) for rule in FLARE23.metrics[3:]]
    ['Lesion NSD', 'Run time (up to 15 s: equal)', 'AUC GPU (gpu_max_mib up to 4096: equal)']
    """
    if rule.tolerance is None:
        return rule.title
    of = f"{rule.tolerance_column} " if rule.tolerance_column else ""
    side = "from" if rule.higher_is_better and not of else "up to"
    unit = f" {rule.unit}" if rule.unit and not of else ""
    return f"{rule.title} ({of}{side} {rule.tolerance:g}{unit}: equal)"


def _head(rule: MetricRule) -> str:
    return f"{rule.title}, {rule.unit}" if rule.unit else rule.title


def _standing(ranking: Ranking, t: int) -> Standing:
    low, high = ranking.stability.intervals()[t]
    place = str(ranking.ranks.places[t])
    if math.isfinite(low):
        place += f" ({low:g}-{high:g})"
    raw, by_metric = ranking.table.raw[:, :, t], ranking.ranks.by_metric[:, t]
    cells = [f"{ranking.ranks.final[t]:.3f}"]
    for values, mean_rank in zip(raw, by_metric, strict=True):
        cells.append(f"{_shown(mean_of_known(values))}\nrank {mean_rank:.2f}")
    missing = int(np.isnan(raw).sum())
    return Standing(place, ranking.table.teams[t], [*cells, str(missing) if missing else ""])


def _pair_maps(ranking: Ranking, names: list[str]) -> list[PairMap]:
    order = np.array(ranking.order)
    maps = []
    for name, tests in zip(names, ranking.tests, strict=True):
        plain, corrected = ((p < LEVEL).sum() // 2 for p in (tests.p, tests.p_holm))
        compared = many(len(order) * (len(order) - 1) // 2, "pair differs", "pairs differ")
        remark = f"{corrected} of {compared} ({plain} without correction)"
        maps.append(PairMap(name, tests.better()[np.ix_(order, order)], remark))
    return [maps[-1], *maps[:-1]]


def _value_groups(ranking: Ranking, m: int) -> list[Group]:
    groups = []
    for t in ranking.order:
        values = ranking.table.raw[m, :, t]
        groups.append(Group(ranking.table.teams[t], values.tolist(), mean_of_known(values)))
    return groups


def _shown(value: float) -> str:
    """Write a mean with about four figures.

    Examples
    --------
    >>> [_shown(v) for v in (0.92345, 8.613, 3561.6, 1264000.0, float("nan"))]
    ['0.9234', '8.613', '3562', '1264000', '-']
    """
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ranking_page(view: RankingView) -> str:
    """Return the page as HTML that loads nothing."""
    return page(
        view.title,
        f"<p>{escape(view.facts)}</p>",
        section("Notes", list_of(view.notes)) if view.notes else "",
        section("Standings", _standings(view)),
        section("Places if other cases had been drawn", _places(view)),
        section("Stability of each ranking", _stability(view)),
        section(f"Strengths of the best {min(IN_RADAR, len(view.standings))}", _radar(view)),
        section("Pairs of teams", _pairs(view)),
        section("Values", _values(view)) if view.values else "",
        section("How the numbers were made", list_of(view.method)),
        style=_OWN_STYLE,
    )


def _standings(view: RankingView) -> str:
    heads = f"<th>Place</th><th {_ON_ONE_LINE}>Team</th>"
    heads += "".join(f"<th>{escape(head)}</th>" for head in view.heads)
    lines = [
        f"<tr><td>{escape(row.place)}</td><td {_ON_ONE_LINE}><b>{escape(row.team)}</b></td>"
        + "".join(_cell(cell) for cell in row.cells)
        + "</tr>"
        for row in view.standings
    ]
    return table(heads, lines)


def _cell(text: str) -> str:
    first, _, second = text.partition("\n")
    small = f"<br><small>{escape(second)}</small>" if second else ""
    return f"<td>{escape(first)}{small}</td>"


def _places(view: RankingView) -> str:
    if not any(len(group.values) for group in view.places):
        return "<p>No bootstrap samples were drawn.</p>"
    chart = box_chart("Places over bootstrap samples", view.places, unit="place", whole=True)
    return (
        f"{chart}<p>Dot: place on all cases. Bar, box, line: median, quartiles and 95 % of the "
        "bootstrap samples. Teams whose lines overlap may well change places.</p>"
    )


def _stability(view: RankingView) -> str:
    if not any(len(group.values) for group in view.tau):
        return "<p>No bootstrap samples were drawn.</p>"
    title = "Kendall's tau between bootstrap samples and all cases"
    chart = violin_chart(title, view.tau, top=1.0, unit="Kendall's tau")
    return (
        f"{chart}<p>1: the sample ranks the teams as all cases do. Shape: how often which value; "
        "box, bar, line: quartiles, median, 95 % of the samples.</p>"
    )


def _radar(view: RankingView) -> str:
    best = [(row.team, values) for row, values in zip(view.standings, view.beaten, strict=True)][
        :IN_RADAR
    ]
    most = len(view.standings) - 1
    chart = radar_chart("Teams beaten by metric", view.beaten_heads, most, best)
    others = many(most, "other team")
    return f"{chart}<p>How many of the {others} each one beats; equal ones count not.</p>"


def _pairs(view: RankingView) -> str:
    names = [row.team for row in view.standings]
    key = (
        f'<p><span class="swatch" style="background:{BETTER}"></span>the row\'s team is '
        f'significantly better, <span class="swatch" style="background:{WORSE}"></span>worse '
        "(Wilcoxon's signed-rank test, p &lt; 0.05 after Holm's correction); white: no "
        "significant difference.</p>"
    )
    parts = []
    for number, each in enumerate(view.pairs):
        picture = significance_map(each.title, names, each.better)
        shown = " open" if number == 0 else ""
        parts.append(
            f"<details{shown}><summary>{escape(each.title)}: {escape(each.remark)}</summary>"
            f"{picture}</details>"
        )
    return key + "".join(parts)


def _values(view: RankingView) -> str:
    parts = [
        f"<details><summary>{escape(title)}</summary>"
        + box_chart(title, groups, unit=unit)
        + "</details>"
        for title, unit, groups in view.values
    ]
    return (
        "<p>Bar, box, line: median, quartiles and 95 % of the cases, as measured; dot: mean.</p>"
        + "".join(parts)
    )
