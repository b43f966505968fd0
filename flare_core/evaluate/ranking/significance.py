"""Is one team better than another? Wilcoxon's signed-rank test for all pairs, Holm's correction.

Two-sided, paired by case; differences of zero are left out, equal sizes share their mean rank. The
distribution is exact for up to 25 differences (with equal sizes too), normal above. With T teams
there are T (T - 1) / 2 tests for each metric: `p` is the plain value, as the FLARE papers use it,
and one in twenty of them is below 0.05 by chance alone; `p_holm` is corrected for that number.

Sources: Wilcoxon, Biometrics Bulletin 1945; Holm, Scandinavian Journal of Statistics 1979; the
comparison map follows Wiesenfarth et al., Scientific Reports 2021 (challengeR).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Numbers = npt.NDArray[np.float64]

LEVEL = 0.05
"""Below this a difference is called significant."""
MOST_EXACT = 25
"""Differences up to which the exact distribution is used; above it the normal one is as good."""
DECIMALS = 9
"""Values that agree to so many decimals are equal, and so are differences: 0.7 - 0.6 and 0.6 - 0.5
are not, by the computer's rounding."""


@dataclass(frozen=True, eq=False)
class PairTests:
    """Comparison of every pair of teams by one metric."""

    key: str
    """Which metric."""
    p: Numbers
    """Two-sided p (team, team), symmetric; 1 on the diagonal and where no case differs."""
    p_holm: Numbers
    """The same after Holm's correction for all pairs."""
    direction: npt.NDArray[np.int64]
    """1 where the row's team is better than the column's, -1 where it is worse, else 0: the sign
    of the signed-rank sum (team, team)."""
    differing: npt.NDArray[np.int64]
    """In how many cases the two differ (team, team)."""

    def better(self, *, corrected: bool = True) -> npt.NDArray[np.bool_]:
        """Return where the row's team is significantly better than the column's (team, team)."""
        p = self.p_holm if corrected else self.p
        return (p < LEVEL) & (self.direction > 0)


def compare_pairs(key: str, values: Numbers) -> PairTests:
    """Compare all teams in pairs.

    Parameters
    ----------
    key : str
        Name of the metric.
    values : float64 (case, team)
        Higher is better; no gaps.
    """
    teams = values.shape[1]
    first, second = np.triu_indices(teams, k=1)
    differences = np.round(values[:, first] - values[:, second], DECIMALS).T  # (pair, case)
    p, surplus = signed_rank(differences)
    differing = (differences != 0).sum(axis=1)
    return PairTests(
        key=key,
        p=_square(p, first, second, teams, diagonal=1.0),
        p_holm=_square(holm(p), first, second, teams, diagonal=1.0),
        direction=_square(np.sign(surplus), first, second, teams, mirrored=-1).astype(np.int64),
        differing=_square(differing, first, second, teams).astype(np.int64),
    )


def signed_rank(differences: Numbers) -> tuple[Numbers, Numbers]:
    """Test many samples of differences at once.

    Parameters
    ----------
    differences : float64 (test, case)
        Paired differences.

    Returns
    -------
    p : float64 (test,)
        Two-sided; 1 where all differences are zero.
    surplus : float64 (test,)
        Rank sum of the positive differences minus that of the negative ones.

    Examples
    --------
    All five positive: 2 of the 32 equally likely signs are that extreme.

    >>> p, surplus = signed_rank(np.array([[0.1, 0.4, 0.2, 0.3, 0.5]]))
    >>> p.tolist(), surplus.tolist()
    ([0.0625], [15.0])
    """
    sizes = np.abs(differences)
    zeros = (sizes == 0).sum(axis=1, keepdims=True)
    ranks = np.where(sizes > 0, stats.rankdata(sizes, axis=1) - zeros, 0.0)  # zeros come first
    surplus = (ranks * np.sign(differences)).sum(axis=1)
    spread = np.sqrt((ranks**2).sum(axis=1))  # of the surplus if each sign is a coin's
    with np.errstate(invalid="ignore"):
        p = np.where(spread > 0, special.erfc(np.abs(surplus) / spread / np.sqrt(2)), 1.0)
    for test in np.flatnonzero((sizes > 0).sum(axis=1) <= MOST_EXACT):
        p[test] = exact_p(ranks[test][ranks[test] > 0], surplus[test])
    return p, surplus


def exact_p(ranks: Numbers, surplus: float) -> float:
    """Return the share of all sign patterns whose surplus is at least as far from 0.

    Parameters
    ----------
    ranks : float64 (difference,)
        Multiples of one half.
    surplus : float
        The one that was seen.

    Examples
    --------
    >>> exact_p(np.array([1.5, 1.5, 3.0]), 6.0)
    0.25
    """
    doubled = np.rint(2 * ranks).astype(np.int64)  # equal sizes share half ranks
    total = int(doubled.sum())
    ways = np.zeros(total + 1)  # ways[s]: sign patterns whose positive ranks sum to s / 2
    ways[0] = 1.0
    for size in doubled:
        ways[size:] = ways[size:] + ways[: total + 1 - size]
    far = np.abs(2 * np.arange(total + 1) - total) >= abs(2 * surplus) - 1e-9
    return float(ways[far].sum() / 2.0 ** len(doubled))


def holm(p: Numbers) -> Numbers:
    """Correct p-values for their number: Holm's step-down method.

    Parameters
    ----------
    p : float64 (test,)
        Plain values.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    corrected = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    result = np.empty(len(p))
    result[order] = corrected
    return result


def _square(
    pairs: Numbers,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    teams: int,
    *,
    mirrored: int = 1,
    diagonal: float = 0.0,
) -> Numbers:
    """Spread values of pairs over a matrix (team, team)."""
    matrix = np.full((teams, teams), diagonal)
    matrix[first, second] = pairs
    matrix[second, first] = mirrored * pairs
    return matrix
