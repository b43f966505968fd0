"""A ranking as tables (CSV text) and as plain values (JSON)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.evaluate.ranking.rank import FINAL, Ranking
from flare_core.evaluate.ranking.significance import LEVEL, MOST_EXACT
from flare_core.wording import many

METHOD = (
    "Ranks: every team is ranked in each case and metric (1 is best; equal values share the mean "
    "of their ranks, missing values the last ones); the final ranking is by the mean of all ranks.",
    "Places: the 95 % interval of a team's place over bootstrap samples of the cases.",
    "Stability: Kendall's tau-b between the ranking of each bootstrap sample and the full one; "
    "1 is the same order.",
    "Pairs of teams: Wilcoxon's signed-rank test, two-sided, paired by case, after tolerances; a "
    "missing value counts as the worst that any team has. "
    f"Exact for up to {MOST_EXACT} differing cases, normal approximation above.",
)
"""How the numbers were made, for the page and the JSON file."""


def standings_csv(ranking: Ranking) -> str:
    """Return one line for each team, the best first."""
    rules = ranking.table.scheme.metrics
    head = ["place", "team", "mean_rank", "place_low", "place_high", "teams_beaten"]
    for rule in rules:
        head += [f"{rule.key}_mean", f"{rule.key}_mean_rank", f"{rule.key}_beaten"]
    return _csv([*head, "values_missing"], (_standing(ranking, t) for t in ranking.order))


def ranks_csv(ranking: Ranking) -> str:
    """Return every value with its rank: metric, case, team, value, rank."""
    table = ranking.table
    rows = (
        [rule.key, case, team, number(table.raw[m, c, t]), number(ranking.ranks.each[m, c, t])]
        for m, rule in enumerate(table.scheme.metrics)
        for c, case in enumerate(table.cases)
        for t, team in enumerate(table.teams)
    )
    return _csv(["metric", "case", "team", "value", "rank"], rows)


def kendall_csv(ranking: Ranking) -> str:
    """Return Kendall's tau of each bootstrap sample: one line a sample, one column a metric."""
    rows = (
        [str(sample + 1), *(number(tau) for tau in taus)]
        for sample, taus in enumerate(ranking.stability.tau.T)
    )
    return _csv(["sample", *_keys(ranking)], rows)


def pairs_csv(ranking: Ranking) -> str:
    """Return the comparison of every pair of teams, by each metric and by all together."""
    teams = ranking.table.teams
    head = ["metric", "team", "other", "cases_differing", "better", "p", "p_holm"]
    rows = []
    for tests in ranking.tests:
        for i, j in zip(*np.triu_indices(len(teams), k=1), strict=True):
            direction = tests.direction[i, j]
            better = teams[i] if direction > 0 else teams[j] if direction < 0 else ""
            numbers = [f"{tests.p[i, j]:.4g}", f"{tests.p_holm[i, j]:.4g}"]
            pair = [tests.key, teams[i], teams[j], str(tests.differing[i, j])]
            rows.append([*pair, better, *numbers])
    return _csv(head, rows)


def record(ranking: Ranking) -> dict[str, Any]:
    """Return the whole result as plain values; NaN becomes None."""
    table, stability = ranking.table, ranking.stability
    return {
        "scheme": table.scheme.record(),
        "teams": len(table.teams),
        "cases": len(table.cases),
        "bootstraps": stability.samples,
        "seed": stability.seed,
        "standings": [_standing_record(ranking, t) for t in ranking.order],
        "kendall_tau": {
            key: _spread(tau) for key, tau in zip(_keys(ranking), stability.tau, strict=True)
        },
        "significant_pairs": {
            tests.key: {
                "p_below_0.05": int((tests.p < LEVEL).sum() // 2),
                "p_holm_below_0.05": int((tests.p_holm < LEVEL).sum() // 2),
                "pairs": len(table.teams) * (len(table.teams) - 1) // 2,
            }
            for tests in ranking.tests
        },
        "multiple_testing": multiple_testing_note(ranking),
        "method": list(METHOD),
        "notes": list(table.notes),
    }


def multiple_testing_note(ranking: Ranking) -> str:
    """Say how many tests there are and what that means."""
    teams = len(ranking.table.teams)
    pairs = teams * (teams - 1) // 2
    return (
        f"{many(pairs, 'pair is', 'pairs are')} tested for each metric, so about "
        f"{max(1, round(LEVEL * pairs))} of the plain p-values would be below {LEVEL:g} "
        "even if all teams were equal. `p_holm` is "
        "corrected for the number of pairs (Holm), not for the number of metrics."
    )


def number(value: float) -> str:
    """Write a number without needless zeros; nothing if it is not finite.

    Examples
    --------
    >>> number(0.93120001), number(3.0), number(float("nan")), number(126000.0)
    ('0.9312', '3', '', '126000')
    """
    if not math.isfinite(value):
        return ""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _standing(ranking: Ranking, t: int) -> list[str]:
    low, high = ranking.stability.intervals()[t]
    cells = [str(ranking.ranks.places[t]), ranking.table.teams[t]]
    cells += [number(v) for v in (ranking.ranks.final[t], low, high)]
    cells.append(str(ranking.beaten[-1, t]))
    for m in range(len(ranking.table.scheme.metrics)):
        cells += [number(mean_of_known(ranking.table.raw[m, :, t]))]
        cells += [number(ranking.ranks.by_metric[m, t]), str(ranking.beaten[m, t])]
    return [*cells, str(int(np.isnan(ranking.table.raw[:, :, t]).sum()))]


def _standing_record(ranking: Ranking, t: int) -> dict[str, Any]:
    low, high = (_plain(v) for v in ranking.stability.intervals()[t])
    return {
        "place": int(ranking.ranks.places[t]),
        "team": ranking.table.teams[t],
        "mean_rank": float(ranking.ranks.final[t]),
        "place_interval_95": [low, high],
        "beaten": {
            key: int(n) for key, n in zip(_keys(ranking), ranking.beaten[:, t], strict=True)
        },
        "metrics": {
            rule.key: {
                "mean": _plain(mean_of_known(ranking.table.raw[m, :, t])),
                "mean_rank": float(ranking.ranks.by_metric[m, t]),
            }
            for m, rule in enumerate(ranking.table.scheme.metrics)
        },
    }


def _spread(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Return mean, median and quantiles; None where all teams are equal."""
    known = values[np.isfinite(values)]
    names = ("q025", "q25", "median", "q75", "q975")
    if not known.size:
        return dict.fromkeys(("mean", *names))
    quantiles = np.quantile(known, (0.025, 0.25, 0.5, 0.75, 0.975))
    spread = {name: float(q) for name, q in zip(names, quantiles, strict=True)}
    return {"mean": float(known.mean()), **spread}


def _keys(ranking: Ranking) -> list[str]:
    return [*(rule.key for rule in ranking.table.scheme.metrics), FINAL]


def mean_of_known(values: npt.NDArray[np.float64]) -> float:
    """Return the mean of the values that are known; NaN if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()
