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
        known = [e.fold_agreement for e in candidate.evidence.values()]
        values = [value for value in known if value is not None]
        if not values:
            return refuse(candidate, "agreement of folds not measured")
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
