"""From a `Ranking` to what the ranking page shows: names, rounded numbers, the order of teams."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from flare_core.evaluate.ranking.rank import Ranking
from flare_core.evaluate.ranking.results import METHOD, multiple_testing_note
from flare_core.evaluate.ranking.schemes import MetricRule
from flare_core.evaluate.ranking.significance import LEVEL
from flare_core.report.ranking.page import Group, PairMap, RankingView, Standing

Numbers = npt.NDArray[np.float64]

MOST_VALUES = 2000
"""A box of more values than this is drawn from every n-th of them, sorted: the same box."""


def view_of(ranking: Ranking) -> RankingView:
    """Return what the page shows."""
    table, stability, order = ranking.table, ranking.stability, ranking.order
    rules = table.scheme.metrics
    names = [*(rule.title for rule in rules), "Final ranking"]
    return RankingView(
        title=f"Ranking by {table.scheme.title.partition(':')[0]}",
        facts=f"{len(table.teams)} teams, {len(table.cases)} cases, {len(rules)} metrics "
        f"({', '.join(map(rule_text, rules))}); {stability.samples} bootstrap samples.",
        heads=["Mean rank", *map(_head, rules), "Missing values"],
        standings=[_standing(ranking, t) for t in order],
        tau=[Group(n, tau.tolist()) for n, tau in zip(names, stability.tau, strict=True)],
        places=[
            Group(table.teams[t], stability.places[:, t].tolist(), float(ranking.ranks.places[t]))
            for t in order
        ],
        beaten_heads=names,
        beaten=[ranking.beaten[:, t].tolist() for t in order],
        pairs=_pair_maps(ranking, names),
        values=[(rule.title, rule.unit, _values(ranking, m)) for m, rule in enumerate(rules)],
        notes=table.notes,
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
        cells.append(f"{_shown(_mean(values))}\nrank {mean_rank:.2f}")
    missing = int(np.isnan(raw).sum())
    return Standing(place, ranking.table.teams[t], [*cells, str(missing) if missing else ""])


def _pair_maps(ranking: Ranking, names: list[str]) -> list[PairMap]:
    order = np.array(ranking.order)
    maps = []
    for name, tests in zip(names, ranking.tests, strict=True):
        plain, corrected = ((p < LEVEL).sum() // 2 for p in (tests.p, tests.p_holm))
        pairs = len(order) * (len(order) - 1) // 2
        remark = f"{corrected} of {pairs} pairs differ ({plain} without correction)"
        maps.append(PairMap(name, tests.better()[np.ix_(order, order)], remark))
    return [maps[-1], *maps[:-1]]


def _values(ranking: Ranking, m: int) -> list[Group]:
    groups = []
    for t in ranking.order:
        values = np.sort(ranking.table.raw[m, :, t])
        values = values[np.isfinite(values)]
        step = max(1, math.ceil(len(values) / MOST_VALUES))
        groups.append(Group(ranking.table.teams[t], values[::step].tolist(), _mean(values)))
    return groups


def _mean(values: Numbers) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


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
