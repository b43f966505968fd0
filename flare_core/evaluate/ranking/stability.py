"""Would other cases have given another ranking? Bootstrap over the cases, Kendall's tau.

The ranks within a case do not depend on which other cases there are, so they are computed once; a
bootstrap sample is a vector of counts (how often each case was drawn), its mean ranks one matrix
product. Source: Ma et al., "The FLARE 2023 Challenge", ranking stability; Kendall, Biometrika 1938
(tau-b: 1945).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Numbers = npt.NDArray[np.float64]

DECIMALS = 9
"""Mean ranks that agree to so many decimals are equal."""
INTERVAL = (0.025, 0.975)
"""Of a team's places over the bootstrap samples: 95 %."""
BLOCK = 200
"""Samples whose pairs of teams are compared at a time; bounds the memory."""


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
        """Return the 95 % interval of each team's place (team, 2)."""
        if not self.samples:
            return np.full((self.places.shape[1], 2), np.nan)
        return np.quantile(self.places, INTERVAL, axis=0).T


def bootstrap(ranks: Numbers, *, samples: int, seed: int) -> Stability:
    """Draw the cases anew, with replacement, and rank again.

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
