"""Predicted labels on which models trained on different folds agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flare_core.train.strategies.candidate import (
    Candidate,
    Decision,
    OrganEvidence,
    decide,
    implausible,
    refuse,
)
from flare_core.train.strategies.supervised import Limits, Supervised


@dataclass(frozen=True)
class Agreement(Supervised):
    """Accept a case whose mean pairwise DSC between the folds' models is high enough.

    FLARE22's brananas: five folds, a case is accepted from .85 on. Ours also refuses single organs
    of an accepted case, as labels may be partial.
    """

    least_mean: float = 0.85
    """Least mean pairwise DSC over the organs that were found, 0 to 1."""
    least_organ: float = 0.7
    """Least pairwise DSC of one organ, 0 to 1; small organs agree less than the case as a whole."""
    weight: float = 1.0
    """How often an accepted case is drawn, relative to an expert's."""

    LIMITS: ClassVar[Limits] = {
        "least_mean": (0, 1),
        "least_organ": (0, 1),
        "weight": (1e-6, math.inf),
    }
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept by the case's mean first, then by organ."""
        return tuple(self._decide(each) for each in candidates)

    def _decide(self, candidate: Candidate) -> Decision:
        known = [e for e in candidate.evidence.values() if e.fold_agreement is not None]
        values = [e.fold_agreement or 0.0 for e in known if not _in_no_fold(e)]
        if not values:
            why = "no organ found by any fold" if known else "agreement of folds not measured"
            return refuse(candidate, why)
        mean = sum(values) / len(values)
        if mean < self.least_mean:
            return refuse(candidate, f"mean agreement {mean:.2f} < {self.least_mean:g}")
        return decide(candidate, self._doubt, weight=self.weight)

    def _doubt(self, evidence: OrganEvidence) -> str:
        if why := implausible(evidence):
            return why
        if evidence.fold_agreement is None:
            return "agreement not measured"
        low = evidence.fold_agreement < self.least_organ
        return f"agreement {evidence.fold_agreement:.2f} < {self.least_organ:g}" if low else ""


def _in_no_fold(evidence: OrganEvidence) -> bool:
    """Whether no fold found the organ: to agree on nothing is no agreement.

    `evidence.fold_agreement` has no value then; 1 is what earlier versions wrote.
    """
    return evidence.volume_ml == 0 and evidence.fold_agreement == 1
