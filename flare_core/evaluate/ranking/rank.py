"""START HERE for rankings: FLARE's rank-then-aggregate, and how far to trust it.

Steps: `table` makes one table (metric x case x team) of all results; here every team is ranked in
each case and metric and the ranks are averaged; `bootstrap` repeats that on samples of the cases;
`significance` compares the teams in pairs.

1 is the best rank. Equal values share the mean of their ranks; missing values share the last
ones. All metrics weigh the same. Source: Ma et al., "The FLARE 2023 Challenge", ranking scheme.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from flare_core.evaluate.ranking.significance import PairTests, compare_pairs
from flare_core.evaluate.ranking.table import ResultTable

Numbers = npt.NDArray[np.float64]

DECIMALS = 9
"""Values and mean ranks that agree to so many decimals are equal: the rest is rounding."""
BOOTSTRAPS = 1000
SEED = 2023
FINAL = "final"
"""Key of the ranking by all metrics together, beside the metrics' own keys."""
INTERVAL = (0.025, 0.975)
"""Of a team's places over the bootstrap samples: 95 %."""
BLOCK = 200
"""Samples whose pairs of teams are compared at a time; bounds the memory."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of all teams; 1 is best."""

    each: Numbers
    """In every case (metric, case, team)."""
    by_metric: Numbers
    """Mean over the cases (metric, team)."""
    final: Numbers
    """Mean over cases and metrics (team,)."""

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Place in the final ranking (team,): 1, 2, 2, 4 where two teams are equal."""
        ordered = stats.rankdata(np.round(self.final, DECIMALS), method="min")
        return np.asarray(ordered, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Everything about a ranking."""

    table: ResultTable
    """What was ranked."""
    ranks: Ranks
    """The result."""
    beaten: npt.NDArray[np.int64]
    """How many teams each team beats (metric and at last the final ranking, team)."""
    stability: Stability
    """How the result varies with the cases."""
    tests: tuple[PairTests, ...]
    """Comparison of all pairs of teams: by each metric, and at last by all of them."""

    @property
    def order(self) -> list[int]:
        """Indices of the teams, the best first; equal ones by name."""
        return sorted(range(len(self.table.teams)), key=lambda t: (self.ranks.places[t], t))


def rank_teams(table: ResultTable, *, bootstraps: int = BOOTSTRAPS, seed: int = SEED) -> Ranking:
    """Rank all teams of a table; the same table and seed give the same result.

    Parameters
    ----------
    table : ResultTable
        From `ranking_table.read_results`.
    bootstraps : int
        Number of bootstrap samples, 0 or more.
    seed : int
        Of the random numbers.
    """
    ranks = rank(table.scored)
    with_final = np.concatenate([ranks.by_metric, ranks.final[None]])
    keys = [rule.key for rule in table.scheme.metrics]
    tests = [
        compare_pairs(key, without_gaps(scored))
        for key, scored in zip(keys, table.scored, strict=True)
    ]
    tests.append(compare_pairs(FINAL, -ranks.each.mean(axis=0)))
    return Ranking(
        table=table,
        ranks=ranks,
        beaten=count_beaten(with_final),
        stability=bootstrap(ranks.each, samples=bootstraps, seed=seed),
        tests=tuple(tests),
    )


def rank(scored: Numbers) -> Ranks:
    """Rank the teams in every case and metric, then average.

    Parameters
    ----------
    scored : float64 (metric, case, team)
        Higher is better; NaN is missing.

    Examples
    --------
    Two cases, three teams. Ranks 1, 2.5, 2.5 and 1, 2, 3 (missing).

    >>> rank(np.array([[[0.9, 0.8, 0.8], [0.7, 0.6, np.nan]]])).final.tolist()
    [1.0, 2.25, 2.75]
    """
    finite = np.where(np.isfinite(scored), np.round(scored, DECIMALS), -np.inf)
    each = stats.rankdata(-finite, axis=-1)  # (metric, case, team)
    by_metric = each.mean(axis=1)  # (metric, team)
    return Ranks(each=each, by_metric=by_metric, final=by_metric.mean(axis=0))


def count_beaten(mean_ranks: Numbers) -> npt.NDArray[np.int64]:
    """Return how many others have a worse mean rank; what FLARE's radar plot shows.

    Parameters
    ----------
    mean_ranks : float64 (metric, team)
        Lower is better.

    Examples
    --------
    >>> count_beaten(np.array([[1.5, 1.5, 3.0]])).tolist()
    [[1, 1, 0]]
    """
    rounded = np.round(mean_ranks, DECIMALS)
    worse = rounded[:, None, :] > rounded[:, :, None]  # (metric, team, other)
    return np.asarray(worse.sum(axis=2), dtype=np.int64)


def without_gaps(scored: Numbers) -> Numbers:
    """Return values in which a missing one is as bad as the worst that any team has.

    Parameters
    ----------
    scored : float64 (case, team)
        Higher is better; NaN is missing.

    Examples
    --------
    >>> without_gaps(np.array([[0.9, np.nan], [0.4, 0.5]])).tolist()
    [[0.9, 0.4], [0.4, 0.5]]
    """
    known = np.isfinite(scored)
    worst = scored[known].min() if known.any() else 0.0
    return np.where(known, scored, worst)


@dataclass(frozen=True, eq=False)
class Stability:
    """What the bootstrap samples say."""

    tau: Numbers
    """Kendall's tau-b between the ranking of each sample and the full one (metric and at last the
    final ranking, sample); NaN where it is undefined because all teams are equal."""
    places: npt.NDArray[np.float64]
    """Place of each team in the final ranking of each sample (sample, team); equal teams share
    the mean."""
    samples: int
    """Number of bootstrap samples."""
    seed: int
    """Of the random numbers."""

    def intervals(self) -> Numbers:
        """Return the 95 % interval of each team's place (team, 2): places that samples gave it.

        Nothing is interpolated between them; a half is a place that two teams shared.
        """
        if not self.samples:
            return np.full((self.places.shape[1], 2), np.nan)
        low, high = INTERVAL
        return np.stack(
            (
                np.quantile(self.places, low, axis=0, method="lower"),
                np.quantile(self.places, high, axis=0, method="higher"),
            ),
            axis=1,
        )


def bootstrap(ranks: Numbers, *, samples: int, seed: int) -> Stability:
    """Draw the cases anew, with replacement, and rank again.

    The ranks within a case do not depend on which other cases there are, so they are computed once;
    a sample is a vector of counts (how often each case was drawn), its mean ranks one matrix
    product. Source: Ma et al., "The FLARE 2023 Challenge", ranking stability; Kendall, Biometrika
    1938 (tau-b: 1945).

    Parameters
    ----------
    ranks : float64 (metric, case, team)
        Rank of each team in each case.
    samples : int
        How many times.
    seed : int
        Of the random numbers.
    """
    metrics, cases, teams = ranks.shape
    random = np.random.default_rng(seed)
    counts = random.multinomial(cases, np.full(cases, 1 / cases), size=samples)  # (sample, case)
    drawn = np.einsum("sc,mct->mst", counts / cases, ranks, optimize=True)
    drawn = np.concatenate([drawn, drawn.mean(axis=0)[None]])  # (metric + final, sample, team)
    full = ranks.mean(axis=1)
    full = np.concatenate([full, full.mean(axis=0)[None]])
    tau = np.array([kendall_tau(full[m], drawn[m]) for m in range(metrics + 1)])
    places = stats.rankdata(np.round(drawn[-1], DECIMALS), axis=-1).reshape(samples, teams)
    return Stability(tau.reshape(metrics + 1, samples), places, samples, seed)


def kendall_tau(reference: Numbers, others: Numbers) -> Numbers:
    """Return Kendall's tau-b between one ranking and many.

    Parameters
    ----------
    reference : float64 (team,)
        One ranking.
    others : float64 (sample, team)
        Many.

    Returns
    -------
    float64 (sample,)
        From -1 (reversed) to 1 (same order); NaN if a ranking has all teams equal.

    Examples
    --------
    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]))
    array([1.        , 0.33333333])
    """
    first, second = np.triu_indices(len(reference), k=1)
    one = np.sign(_difference(reference[None], first, second))[0].astype(np.float32)
    blocks = [np.empty(0)]
    for start in range(0, len(others), BLOCK):
        many = _difference(others[start : start + BLOCK], first, second)
        signs = np.sign(many).astype(np.float32)  # whole numbers up to 2**24 are exact
        untied = np.sqrt(float(one @ one) * (signs * signs).sum(axis=1, dtype=np.float64))
        with np.errstate(invalid="ignore"):
            blocks.append((signs @ one).astype(np.float64) / untied)
    return np.concatenate(blocks)


def _difference(
    ranks: Numbers, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> Numbers:
    rounded = np.round(ranks, DECIMALS)
    return rounded[:, first] - rounded[:, second]
