"""Which scan should a person look at next? The most doubtful ones that differ from one another.

Doubt is measured organ by organ, each relative to its own size, so that a bad adrenal gland counts
as much as a bad liver. Diversity keeps a person from correcting the same mistake ten times: a scan
counts more the less it resembles those already seen, labelled, or further up in the list.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import organ
from flare_core.cases.store import CaseStore
from flare_core.train.strategies.candidate import CaseEvidence, OrganEvidence

Rows = npt.NDArray[np.float64]

DIVERSITY = 0.35
"""Share of diversity in a scan's score; the rest is doubt."""

PICKED = 200
"""Scans ranked one by one; nobody corrects more before the next round, so the rest is sorted by
doubt alone, and ten thousand cases stay quick."""

IMPLAUSIBLE = 0.3
"""Added to the doubt of an organ that no person can have like this."""

SEEN = ("corrected", "accepted", "rejected")
"""Statuses that a person has set."""

SEEN_SCORE = "seen"
"""Score of a case, above 0 where somebody has looked at it (a panel sets it on opening)."""


@dataclass(frozen=True)
class NextCase:
    """One scan of the list."""

    case: str
    """Its name."""
    score: float
    """0 to 1: how much is to be gained by looking at it."""
    doubt: float
    """Mean doubt of its organs, 0 to 1."""
    seen: bool
    """Whether somebody has looked at it already; such cases come last."""
    reason: str
    """Why it stands here, for people."""


def rank_cases(found: Sequence[CaseEvidence], seen: Iterable[str] = ()) -> tuple[NextCase, ...]:
    """Return the cases in the order in which a person should look at them.

    Parameters
    ----------
    found : sequence of CaseEvidence
        Of the last round.
    seen : iterable of str
        Names of the cases that somebody has looked at; they come last, and what resembles them
        counts as less new.
    """
    if not found:
        return ()
    known = set(seen)
    doubts = np.array([case_doubt(each) for each in found])
    places = _standardised(found)
    new = [i for i, each in enumerate(found) if each.case not in known]
    old = [i for i, each in enumerate(found) if each.case in known]
    order, scores, gaps = _greedy(doubts, places, new, old)
    late = sorted(old, key=lambda i: -doubts[i])
    scores |= {i: float(doubts[i]) for i in late}
    return tuple(
        NextCase(
            found[i].case,
            round(scores[i], 4),
            round(float(doubts[i]), 4),
            found[i].case in known,
            _reason(found[i], gaps.get(i), seen=found[i].case in known),
        )
        for i in (*order, *late)
    )


def seen_cases(store: CaseStore) -> set[str]:
    """Return the cases of a store that somebody has looked at."""
    names = {record.name for record in store.cases(status=SEEN)}
    return names | {case for case, row in store.score_table().items() if row.get(SEEN_SCORE, 0) > 0}


def store_scores(store: CaseStore, found: Sequence[CaseEvidence]) -> None:
    """Write what is known about each case into the store, for tables that people sort.

    Of an earlier model's word nothing stays: what this one did not find or measure has no value.
    """
    store.set_scores_of({each.case: case_scores(each) for each in found}, forget=EVIDENCE_SCORES)


EVIDENCE_SCORES = (
    "confidence", "expected_dsc", "border_entropy", "fold_agreement", "disagreement", "doubt"
)  # fmt: skip
"""What `case_scores` may tell."""


def case_scores(evidence: CaseEvidence) -> dict[str, float]:
    """Return the means over a case's organs, leaving out what was not measured."""
    organs = [each for each in evidence.organs.values() if each.volume_ml]
    rows: dict[str, list[float | None]] = {
        "confidence": [each.confidence for each in organs],
        "expected_dsc": [each.expected_dsc for each in organs],
        "border_entropy": [each.border_entropy for each in organs],
        "fold_agreement": [each.fold_agreement for each in organs],
        "disagreement": [evidence.disagreement],
        "doubt": [case_doubt(evidence)],
    }
    known = {name: [v for v in values if v is not None] for name, values in rows.items()}
    return {name: round(float(np.mean(v)), 5) for name, v in known.items() if v}


def case_doubt(evidence: CaseEvidence) -> float:
    """Return the mean doubt of the organs that were found, 0 to 1.

    In a scan of an abdomen in which none was, the model missed all: 1. A scan that could not even
    be read has 0, as nobody can correct it.
    """
    doubts = [organ_doubt(each) for each in evidence.organs.values() if each.volume_ml]
    if doubts:
        return float(np.mean(doubts))
    return 1.0 if _was_read(evidence) else 0.0


def _was_read(evidence: CaseEvidence) -> bool:
    """Whether a model has looked at the scan."""
    return bool(evidence.organs or evidence.features)


def organ_doubt(evidence: OrganEvidence) -> float:
    """Return how doubtful one organ is, 0 to 1: the mean of what was measured.

    The DSC to expect stands for probability and entropy, where it is known: it follows the truth
    better than both (benchmarks/confidence.py).

    Examples
    --------
    >>> round(organ_doubt(OrganEvidence(volume_ml=80.0, confidence=0.9, border_entropy=0.5)), 6)
    0.3
    >>> round(organ_doubt(OrganEvidence(confidence=0.9, border_entropy=0.5, expected_dsc=0.6)), 6)
    0.4
    """
    scores = [
        None if evidence.confidence is None else 1 - evidence.confidence,
        evidence.border_entropy,
    ]
    measures = [
        *(scores if evidence.expected_dsc is None else [1 - evidence.expected_dsc]),
        None if evidence.disagreement is None else min(1.0, evidence.disagreement),
        None if evidence.fold_agreement is None else 1 - evidence.fold_agreement,
    ]
    known = [value for value in measures if value is not None]
    doubt = sum(known) / len(known) if known else 0.0
    extra = IMPLAUSIBLE if evidence.volume_plausible is False else 0.0
    return min(1.0, doubt + extra)


def _greedy(
    doubts: Rows, places: Rows, new: Sequence[int], old: Sequence[int]
) -> tuple[list[int], dict[int, float], dict[int, float]]:
    """Return the order of the new cases, their scores, and how new each was when picked (0 to 1).

    The case that adds most comes first; then the distances to it count for all others.
    """
    gaps = np.full(len(doubts), np.inf)
    for i in old:
        gaps = np.minimum(gaps, _distances(places, i))
    highest = max(float(doubts.max()), 1e-9)
    left, order = set(new), list[int]()
    scores, newness = dict[int, float](), dict[int, float]()
    scale = _scale(places)
    while left and len(order) < PICKED:
        fresh = np.where(np.isfinite(gaps), np.minimum(1.0, gaps / scale), 1.0)
        total = (1 - DIVERSITY) * doubts / highest + DIVERSITY * fresh
        best = max(left, key=lambda i: (total[i], -i))
        order.append(best)
        scores[best], newness[best] = float(total[best]), float(fresh[best])
        left.discard(best)
        gaps = np.minimum(gaps, _distances(places, best))
    rest = sorted(left, key=lambda i: -doubts[i])
    scores |= {i: (1 - DIVERSITY) * float(doubts[i]) / highest for i in rest}
    return [*order, *rest], scores, newness


def _distances(places: Rows, i: int) -> Rows:
    return np.sqrt(np.mean((places - places[i]) ** 2, axis=1))


def _scale(places: Rows) -> float:
    """Return a large distance between two scans of the set: the 90th percentile of a sample."""
    step = max(1, len(places) // 50)
    sample = places[::step]
    distances = [d for i in range(len(sample)) for d in _distances(sample, i)[i + 1 :]]
    return max(float(np.quantile(distances, 0.9)), 1e-9) if distances else 1.0


def _standardised(found: Sequence[CaseEvidence]) -> Rows:
    """Return what the scans are like (n, k): each feature with mean 0 and SD 1 over the set.

    Volumes and voxel sizes are taken as logarithms. A missing HU (the organ was not found) is the
    mean; a missing volume is 0 mL.
    """
    names = sorted({name for each in found for name in each.features})
    if not names:
        return np.zeros((len(found), 1))
    table = np.array([[_place(each.features, name) for name in names] for each in found])
    known = np.isfinite(table)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table, 0.0).sum(axis=0) / count
    table = np.where(known, table, mean) - mean
    deviation = np.sqrt((table**2).mean(axis=0))
    return table / np.where(deviation > 1e-9, deviation, 1.0)


def _place(features: dict[str, float], name: str) -> float:
    if name.startswith("hu_"):
        return features.get(name, math.nan)
    return math.log(features.get(name, 0.0) + 1.0)


def _reason(evidence: CaseEvidence, newness: float | None, *, seen: bool) -> str:
    """Return in words why a case stands where it does."""
    if not evidence.organs:
        first = "no organ was found" if _was_read(evidence) else "nothing to judge"
        return "; ".join(("already seen",) * seen + (first, *evidence.notes))
    worst = sorted(
        ((organ_doubt(each), key) for key, each in evidence.organs.items() if each.volume_ml),
        reverse=True,
    )[:2]
    texts = [_why(key, evidence.organs[key]) for _, key in worst] or ["no organ was found"]
    texts += [
        f"{organ(key).name.lower()}: {text}"
        for key, text in evidence.remarks.items()
        if text != "not found"
    ][:2]
    if newness is not None and newness > 0.7:
        texts.append("unlike the scans seen or listed before it")
    if seen:
        texts.insert(0, "already seen")
    return "; ".join(texts)


def _why(key: str, evidence: OrganEvidence) -> str:
    """Return what is doubtful about an organ.

    Examples
    --------
    >>> _why("pancreas", OrganEvidence(volume_ml=60.0, confidence=0.8, disagreement=0.41))
    'pancreas: changed by 41 % of its size, 80 % sure'
    """
    parts = []
    if evidence.disagreement is not None:
        parts.append(f"changed by {100 * evidence.disagreement:.0f} % of its size")
    if evidence.fold_agreement is not None:
        parts.append(f"folds agree to {100 * evidence.fold_agreement:.0f} %")
    if evidence.expected_dsc is not None:
        parts.append(f"DSC of {evidence.expected_dsc:.2f} expected")
    elif evidence.confidence is not None:
        parts.append(f"{100 * evidence.confidence:.0f} % sure")
    if evidence.border_entropy is not None:
        parts.append(f"border {evidence.border_entropy:.2f} bits unsure")
    return f"{organ(key).name.lower()}: {', '.join(parts) or 'not measured'}"
