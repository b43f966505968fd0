"""Predicted labels that the network is sure of, organ by organ."""

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
)
from flare_core.train.strategies.supervised import Limits, Supervised
from flare_core.wording import many


@dataclass(frozen=True)
class Confident(Supervised):
    """Accept an organ by its own confidence and the sharpness of its border.

    FLARE24's CDL-UNet took the cases with a reliability of .9 first. Doubt is looked for at the
    organ's border: the mean over a volume is ruled by voxels that nobody doubts.
    """

    least_confidence: float = 0.9
    """Least mean probability within the organ, 0 to 1."""
    most_border_entropy: float = 0.5
    """Most mean entropy of the border region, as a share of the most possible. Partial-volume
    voxels alone give about .2."""
    most_pieces: int = 3
    """Most connected components; a label in shreds is a guess."""
    weight: float = 1.0
    """How often an accepted case is drawn, relative to an expert's."""

    LIMITS: ClassVar[Limits] = {
        "least_confidence": (0, 1),
        "most_border_entropy": (0, 1),
        "most_pieces": (1, math.inf),
        "weight": (1e-6, math.inf),
    }
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept each organ that is sure enough; what was not measured is not held against it."""
        return tuple(decide(each, self._doubt, weight=self.weight) for each in candidates)

    def _doubt(self, evidence: OrganEvidence) -> str:
        if why := implausible(evidence):
            return why
        if evidence.confidence is None:
            return "confidence not measured"
        if evidence.confidence < self.least_confidence:
            return f"confidence {evidence.confidence:.2f} < {self.least_confidence:g}"
        entropy = evidence.border_entropy or 0.0
        if entropy > self.most_border_entropy:
            return f"border entropy {entropy:.2f} > {self.most_border_entropy:g}"
        pieces = evidence.pieces or 0
        return many(pieces, "piece") if pieces > self.most_pieces else ""
