"""Old model against new on the frozen hold-out, organ by organ: is the new one fit to take over?

The rule (`Rule`): the mean over organs must not fall, and no organ may fall by more than `most`,
nor by more than `tolerance` where resampling the patients says that it surely fell. The first half
asks for progress, the second protects each organ; a few hold-out patients cannot prove that nothing
got worse, so a fall within the tolerance is forgiven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.json_fields import decode
from flare_core.wording import many

METRICS = ("dsc", "nsd")
"""What is compared; both in [0, 1], higher is better."""


@dataclass(frozen=True)
class Rule:
    """What "not worse" means; differences of DSC and of NSD alike, in [0, 1]."""

    tolerance: float = 0.01
    """An organ's mean may fall by this much in any case."""
    most: float = 0.05
    """An organ's mean may never fall by more, sure or not."""
    overall: float = 0.0
    """The mean over all organs may fall by this much."""
    certainty: float = 0.95
    """How sure the fall of an organ must be, over all organs and metrics together: with a dozen
    organs, one falls by accident in every other comparison (Bonferroni's correction)."""
    samples: int = 10000
    """How often the patients are drawn anew (bootstrap)."""
    seed: int = 0
    """Of these draws."""

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        fits = 0 <= self.tolerance <= self.most and self.overall >= 0
        _require(fits, (self.tolerance, self.most, self.overall), "0 <= tolerance <= most")
        _require(0.5 < self.certainty < 1, self.certainty, "certainty above .5 and below 1")
        _require(100 <= self.samples <= 10**6, self.samples, "100 to 1000000 samples")


@dataclass(frozen=True)
class CaseScores:
    """How well one model labelled one hold-out case."""

    case: str
    """Name of the case."""
    patient: str
    """Whoever was scanned; patients are resampled, not cases."""
    organs: dict[str, dict[str, float]]
    """Organ key -> metric -> value."""
    reference: str = ""
    """File name of the person's labels that it was scored against; "" in runs of before."""


@dataclass(frozen=True)
class Change:
    """One organ by one metric, old against new."""

    organ: str
    """Key."""
    metric: str
    """One of `METRICS`."""
    cases: int
    """Hold-out cases that have a value."""
    old: float
    """Mean over the cases, old model."""
    new: float
    """Mean over the cases, new model."""
    low: float
    """The change, new - old, is at least this in `Rule.certainty` of the resampled hold-outs."""
    high: float
    """The change is at most this in `Rule.certainty` of the resampled hold-outs."""
    worse: str = ""
    """Why this speaks against the new model; empty if it does not."""

    @property
    def change(self) -> float:
        """Mean of new minus mean of old."""
        return self.new - self.old


@dataclass(frozen=True)
class Verdict:
    """Whether the new model may take over."""

    promote: bool
    """It is not worse."""
    reason: str
    """One or two sentences for people."""
    changes: tuple[Change, ...] = ()
    """Every organ by every metric."""
    old: dict[str, float | None] | None = None
    """Metric -> mean over organs, old model; None without an old model."""
    new: dict[str, float | None] | None = None
    """Metric -> mean over organs, new model."""
    finds_nothing: bool = False
    """The new model found no organ in any scan; such a model is never put into use."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: object, where: str = "verdict.json") -> Verdict:
        """Return the verdict that `to_json` wrote.

        Raises
        ------
        InputError
            If it is none.
        """
        return decode(cls, row, where)


def judge(old: Sequence[CaseScores], new: Sequence[CaseScores], rule: Rule) -> Verdict:
    """Compare two models on the same hold-out cases.

    Parameters
    ----------
    old, new : sequence of CaseScores
        Of the same cases, in any order. An organ that only one of them was scored on counts as 0
        for the other.

    Raises
    ------
    InputError
        If the cases differ, or there is none.
    """
    pairs = _paired(old, new)
    looks = [(organ, metric) for metric in METRICS for organ in _organs(pairs)]
    found = [_change(organ, metric, pairs, rule, len(looks)) for organ, metric in looks]
    changes = [each for each in found if each is not None]
    before, after = _means(changes, "old"), _means(changes, "new")
    against = [*_falls(before, after, rule), *(_complaint(each) for each in changes if each.worse)]
    against += [] if changes else ["there is nothing in them to score either model by"]
    empty = finds_nothing(new)
    if empty:
        against.insert(0, "the new model finds no organ")
    patients = many(len({p.patient for p, _ in pairs}), "patient")
    cases = f"on {many(len(pairs), 'hold-out case')} of {patients}"
    if against:
        reason = f"Not promoted: {cases}, {'; '.join(against)}."
    else:
        gains = ", ".join(f"{m.upper()} {before[m]:.3f} -> {after[m]:.3f}" for m in before)
        reason = f"Not worse {cases}: mean over organs {gains}; no organ fell beyond the tolerance."
    return Verdict(not against, reason, tuple(changes), dict(before), dict(after), empty)


def first_of_its_name(new: Sequence[CaseScores]) -> Verdict:
    """Return the verdict on a model that has no predecessor."""
    after = judge(new, new, Rule()).new
    if finds_nothing(new):
        reason = "Not promoted: there was no model before it, but it finds no organ."
        return Verdict(False, reason, (), None, after, finds_nothing=True)
    return Verdict(True, "There was no model before it.", (), None, after)


def finds_nothing(scores: Sequence[CaseScores]) -> bool:
    """Whether a model found no organ anywhere, although there was one.

    An organ that is in nobody's labels scores 1 (`hold_out`), one that was missed 0. What a model
    did find overlaps in part: DSC is between the two.

    Examples
    --------
    >>> missed, none_there, found = ({"dsc": v} for v in (0.0, 1.0, 0.8))
    >>> finds_nothing([CaseScores("a", "p", {"liver": missed, "gallbladder": none_there})])
    True
    >>> finds_nothing([CaseScores("a", "p", {"liver": missed, "spleen": found})])
    False
    """
    values = [row["dsc"] for case in scores for row in case.organs.values() if "dsc" in row]
    return 0.0 in values and all(value in (0.0, 1.0) for value in values)


def _falls(before: Mapping[str, float], after: Mapping[str, float], rule: Rule) -> list[str]:
    """Return what the means over organs say against the new model."""
    return [
        f"the mean {metric.upper()} over organs fell from {before[metric]:.3f} to "
        f"{after[metric]:.3f}"
        for metric in before
        if after[metric] < before[metric] - rule.overall - 1e-12
    ]


def _complaint(change: Change) -> str:
    return f"{change.organ} ({change.metric.upper()}) {change.worse}"


def _paired(
    old: Sequence[CaseScores], new: Sequence[CaseScores]
) -> list[tuple[CaseScores, CaseScores]]:
    mine = {each.case: each for each in new}
    names = {each.case for each in old}
    if names != set(mine) or not names:
        raise InputError(
            "hold-out scores",
            f"{many(len(names), 'case')} of the old model, {len(mine)} of the new",
            "the same cases, one or more",
            "Score both models on the frozen hold-out first.",
        )
    return [(each, mine[each.case]) for each in sorted(old, key=lambda s: s.case)]


def _organs(pairs: Sequence[tuple[CaseScores, CaseScores]]) -> list[str]:
    return list(dict.fromkeys(key for a, b in pairs for key in (*a.organs, *b.organs)))


def _change(
    organ: str, metric: str, pairs: Sequence[tuple[CaseScores, CaseScores]], rule: Rule, looks: int
) -> Change | None:
    """Compare one organ by one metric, of so many looks; None where no case has a value."""
    rows = [
        (
            a.patient,
            a.organs.get(organ, {}).get(metric, 0.0),
            b.organs.get(organ, {}).get(metric, 0.0),
        )
        for a, b in pairs
        if metric in a.organs.get(organ, {}) or metric in b.organs.get(organ, {})
    ]
    if not rows:
        return None
    before, after = (float(np.mean([row[i] for row in rows])) for i in (1, 2))
    drawn = _resampled([(patient, b - a) for patient, a, b in rows], rule)
    low, high = (float(np.quantile(drawn, q)) for q in (1 - rule.certainty, rule.certainty))
    limit = float(np.quantile(drawn, 1 - (1 - rule.certainty) / looks))
    worse = _why_worse(after - before, limit, rule)
    return Change(organ, metric, len(rows), before, after, low, high, worse)


def _why_worse(change: float, high: float, rule: Rule) -> str:
    """Return why a change speaks against the new model; empty if it does not.

    `high` is what the change is surely below.

    Examples
    --------
    >>> _why_worse(-0.02, -0.004, Rule())
    'surely fell, by 0.020'
    >>> _why_worse(-0.02, 0.01, Rule()), _why_worse(-0.2, 0.01, Rule())
    ('', 'fell by 0.200')
    """
    if change < -rule.most - 1e-12:
        return f"fell by {-change:.3f}"
    surely = high < 0 and change < -rule.tolerance - 1e-12
    return f"surely fell, by {-change:.3f}" if surely else ""


def _resampled(rows: Sequence[tuple[str, float]], rule: Rule) -> npt.NDArray[np.float64]:
    """Return the mean change in hold-outs whose patients are drawn anew, with replacement."""
    sums: dict[str, list[float]] = {}
    for patient, change in rows:
        sums.setdefault(patient, []).append(change)
    total = np.array([math.fsum(changes) for changes in sums.values()])
    count = np.array([len(changes) for changes in sums.values()])
    random = np.random.default_rng(rule.seed)
    drawn = random.integers(len(total), size=(rule.samples, len(total)))
    return total[drawn].sum(axis=1) / count[drawn].sum(axis=1)


def _means(changes: Sequence[Change], side: str) -> dict[str, float]:
    """Return metric -> mean over organs."""
    return {
        metric: float(np.mean([getattr(c, side) for c in changes if c.metric == metric]))
        for metric in METRICS
        if any(c.metric == metric for c in changes)
    }


def _require(fits: bool, came: object, legal: str) -> None:
    if not fits:
        raise InputError("rule of promotion", str(came), legal, "Correct the settings.")
