"""From the scores of all cases to the numbers people quote.

Three policies, said here once:

- Undefined values (NaN by a metric's own policy) are left out and counted. An infinite distance
  (an organ missed altogether) counts in median and quartiles, but not in mean, SD and interval,
  which it would make infinite; how many there are is given.
- In `official` mode a DSC or NSD that the scripts leave undefined makes its mean NaN, as
  ``numpy.mean`` does there, and means are rounded to 4 decimals where the scripts round them.
- Confidence intervals are bootstrap percentiles over cases, 95 %, from a fixed seed: the same
  scores give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from flare_core.evaluate.evaluate import Evaluation
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.protocols import Target
from flare_core.evaluate.scoring import DIGITS

Numbers = npt.NDArray[np.float64]

RESAMPLES = 1000
SEED = 2023
LEVEL = (2.5, 97.5)
"""Percentiles of the confidence interval."""


@dataclass(frozen=True)
class Statistic:
    """One metric of one structure over all cases."""

    organ: str
    """Key of the structure."""
    metric: str
    """Key of the metric."""
    n: int
    """Cases with a defined value."""
    undefined: int
    """Cases without one."""
    infinite: int
    """Cases among `n` with an infinite value."""
    mean: float
    """Of the finite values."""
    sd: float
    """Of the finite values, of a sample (n - 1)."""
    median: float
    """Of all defined values."""
    q1: float
    """Lower quartile of all defined values."""
    q3: float
    """Upper quartile of all defined values."""
    ci_low: float
    """Lower end of the mean's confidence interval."""
    ci_high: float
    """Its upper end."""


@dataclass(frozen=True)
class Headline:
    """One number for the whole evaluation."""

    key: str
    """Name in tables."""
    name: str
    """Name for people."""
    value: float
    """0 to 1, or a count."""
    ci_low: float = math.nan
    """Lower end of the confidence interval; NaN where there is none."""
    ci_high: float = math.nan
    """Its upper end."""


def statistics(evaluation: Evaluation) -> tuple[Statistic, ...]:
    """Return one row for each structure and metric, in the edition's order."""
    rows = []
    for target in evaluation.rules.edition.targets:
        for metric in evaluation.rules.metrics_of(target):
            values = scores_of(evaluation, target, metric.key)
            spreads = metric.official and evaluation.rules.mode == "official"
            rows.append(_statistic(target.key, metric.key, values, spreads=spreads))
    return tuple(rows)


def headlines(evaluation: Evaluation) -> tuple[Headline, ...]:
    """Return FLARE's scores: the organs', the lesions', and lesion rates over all cases.

    As in FLARE23, the organ score is the mean over the organs of each organ's mean over the cases;
    the lesion stands apart.
    """
    rules = evaluation.rules
    groups = (("organ", rules.edition.organ_targets), ("lesion", rules.edition.lesion_targets))
    wanted = [METRICS[key] for key in rules.metrics if METRICS[key].official]
    scores = [
        _mean_of_means(evaluation, targets, group, metric.key)
        for group, targets in groups
        if targets
        for metric in wanted
    ]
    return (*scores, *_lesion_rates(evaluation))


def scores_of(evaluation: Evaluation, target: Target, metric: str) -> Numbers:
    """Return one metric of one structure (N,), for the cases that annotate it."""
    found = (
        one.values[metric]
        for case in evaluation.cases
        for one in case.scores
        if one.target == target.key and metric in one.values
    )
    return np.array(list(found), float)


def case_means(evaluation: Evaluation, targets: Sequence[Target], metric: str) -> Numbers:
    """Return each case's mean over some structures (N,); NaN where it has none of them.

    An undefined value of a structure makes the case's mean NaN in `official` mode and is left out
    in `fixed` mode.
    """
    table = _table(evaluation, targets, metric)
    if evaluation.rules.mode == "official":
        present = _annotated(evaluation, targets)
        return np.array([row[there].mean() if there.any() else math.nan
                         for row, there in zip(table, present, strict=True)])  # fmt: skip
    return np.array([_mean(row) for row in table])


def bootstrap_interval(
    values: Numbers, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return the 95 % confidence interval of a mean, or of the mean of the columns' means.

    Parameters
    ----------
    values : float (N,) or (N, K)
        Cases, or cases by structures with NaN where a case lacks one; cases are resampled.
    resamples : int
        Bootstrap samples.
    seed : int
        Of the random numbers.

    Examples
    --------
    >>> bootstrap_interval(np.full(5, 0.5))
    (0.5, 0.5)
    """
    table = values.reshape(len(values), -1)
    if len(table) < 2:
        return math.nan, math.nan
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    draws = _draws(len(table), resamples, seed)
    counts = draws @ known  # (resamples, K)
    with np.errstate(invalid="ignore"):
        means = (draws @ filled) / np.where(counts == 0, np.nan, counts)
        there = ~np.isnan(means)
        centres = np.where(there, means, 0.0).sum(axis=1) / there.sum(axis=1)  # 0 / 0 is NaN
    low, high = np.nanpercentile(centres, LEVEL)
    return float(low), float(high)


@lru_cache(maxsize=2)
def _draws(cases: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return how often each sample draws each case (resamples, cases).

    One evaluation asks for hundreds of intervals over the same number of cases.
    """
    share = np.full(cases, 1 / cases)
    draws = np.random.default_rng(seed).multinomial(cases, share, size=resamples)
    draws.flags.writeable = False
    return draws


def _statistic(organ: str, metric: str, values: Numbers, *, spreads: bool) -> Statistic:
    defined = values[~np.isnan(values)]
    finite = defined[np.isfinite(defined)]
    undefined = len(values) - len(defined)
    mean = _mean(finite)
    low, high = bootstrap_interval(finite) if len(finite) else (math.nan, math.nan)
    if spreads:
        mean = math.nan if undefined else float(np.round(mean, DIGITS))
        low, high = (math.nan, math.nan) if undefined else (low, high)
    quartiles = _quantiles(defined)
    return Statistic(
        organ=organ,
        metric=metric,
        n=len(defined),
        undefined=undefined,
        infinite=len(defined) - len(finite),
        mean=mean,
        sd=float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan,
        median=quartiles[1],
        q1=quartiles[0],
        q3=quartiles[2],
        ci_low=low,
        ci_high=high,
    )


def _quantiles(values: Numbers) -> tuple[float, float, float]:
    """Return quartiles and median; interpolated between finite neighbours only.

    Examples
    --------
    >>> _quantiles(np.array([1.0, 2.0, 3.0, np.inf]))
    (1.75, 2.5, inf)
    """
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    if np.isfinite(values).all():
        low, middle, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        return low, middle, high
    ordered = np.sort(values)
    found = []
    for share in (0.25, 0.5, 0.75):
        place = share * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        rest = place - math.floor(place)
        found.append(float(below if rest == 0 else below + (above - below) * rest)
                     if np.isfinite(below) else math.inf)  # fmt: skip
    return found[0], found[1], found[2]


def _mean_of_means(
    evaluation: Evaluation, targets: Sequence[Target], group: str, metric: str
) -> Headline:
    name = f"{group.capitalize()} {metric.upper()}"
    table = _table(evaluation, targets, metric)
    if evaluation.rules.mode == "official":
        columns = [scores_of(evaluation, target, metric) for target in targets]
        means = [np.round(np.mean(column), DIGITS) for column in columns if len(column)]
        value = float(np.round(np.mean(means), DIGITS)) if means else math.nan
    else:
        value = _mean(np.array([_mean(column) for column in table.T]))
    low, high = bootstrap_interval(table) if math.isfinite(value) else (math.nan, math.nan)
    return Headline(f"{group}_{metric}", name, value, low, high)


def _lesion_rates(evaluation: Evaluation) -> list[Headline]:
    """Return sensitivity, precision and F1 over all lesions of all cases."""
    keys = ("true_lesions", "predicted_lesions", "found_lesions")
    targets = evaluation.rules.edition.lesion_targets
    if not targets or not set(keys) <= set(evaluation.rules.metrics):
        return []
    true, predicted, found = (
        float(sum(np.nansum(scores_of(evaluation, target, key)) for target in targets))
        for key in keys
    )
    rates = (
        ("sensitivity", found / true if true else math.nan),
        ("precision", found / predicted if predicted else math.nan),
        ("f1", 2 * found / (true + predicted) if true + predicted else math.nan),
    )
    return [
        Headline(f"all_lesions_{key}", f"{key.capitalize()} over all lesions", value)
        for key, value in rates
    ]


def _table(evaluation: Evaluation, targets: Sequence[Target], metric: str) -> Numbers:
    """Return a metric as (cases, structures); NaN where undefined or not annotated."""
    rows: list[Mapping[str, float]] = [
        {one.target: one.values[metric] for one in case.scores if metric in one.values}
        for case in evaluation.cases
    ]
    return np.array([[row.get(target.key, math.nan) for target in targets] for row in rows], float)


def _annotated(evaluation: Evaluation, targets: Sequence[Target]) -> npt.NDArray[np.bool_]:
    """Return which structures (cases, structures) are annotated."""
    rows = [{one.target for one in case.scores} for case in evaluation.cases]
    return np.array([[target.key in row for target in targets] for row in rows], bool)


def _mean(values: Numbers) -> float:
    """Return the mean of what is defined; NaN of nothing.

    Examples
    --------
    >>> _mean(np.array([1.0, np.nan, 3.0])), _mean(np.array([]))
    (2.0, nan)
    """
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
