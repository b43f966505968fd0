"""Rounds of pseudo labels, the cases that change least between rounds kept (FLARE22's winner)."""

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
class Iterative(Supervised):
    """Keep the cases whose labels changed least over the last rounds.

    blackbean, FLARE22: a large teacher labels 2000 scans in three rounds; u compares the rounds
    (`Candidate.disagreement`); the 1924 scans with the lowest u train a small student. The last
    round's configuration is then that of the small network, with this same strategy.
    """

    keep: float = 0.962
    """Share of the cases kept, those with the lowest u, 0 to 1 (blackbean: 1924 of 2000)."""
    most: float = 1.0
    """Largest u of a kept case, whatever its rank."""
    most_organ: float = 1.0
    """Largest disagreement of one organ of a kept case; 1 is "as much changed as there is"."""
    weight: float = 1.0
    """How often a kept case is drawn, relative to an expert's."""

    LIMITS: ClassVar[Limits] = {
        "keep": (0, 1),
        "most": (0, math.inf),
        "most_organ": (0, math.inf),
        "weight": (1e-6, math.inf),
    }
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Rank by u; a case without u (the first round has none to compare with) is kept."""
        known = sorted(c.disagreement for c in candidates if c.disagreement is not None)
        kept = math.ceil(self.keep * len(known) - 1e-9)
        limit = min(known[kept - 1], self.most) if kept else -1.0
        return tuple(self._decide(each, limit) for each in candidates)

    def _decide(self, candidate: Candidate, limit: float) -> Decision:
        u = candidate.disagreement
        if u is not None and u > limit:
            return refuse(candidate, f"u {u:.3f} is above {max(limit, 0.0):.3f}, the last one kept")
        return decide(candidate, self._doubt, weight=self.weight)

    def _doubt(self, evidence: OrganEvidence) -> str:
        if why := implausible(evidence):
            return why
        changed = evidence.disagreement or 0.0
        return f"disagreement {changed:.2f}" if changed > self.most_organ else ""
