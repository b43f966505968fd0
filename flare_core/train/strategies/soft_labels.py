"""Distillation: learn a teacher's doubt along with its labels.

Source: Hinton, Vinyals and Dean 2015; team Harmonics (FLARE24), soft labels of three teachers in
8 bit. The soft labels are files beside the label maps (`datasets.soft_map`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flare_core.train.strategies.candidate import Candidate, Decision, decide, implausible
from flare_core.train.strategies.supervised import Limits, Supervised

if TYPE_CHECKING:
    from torch import Tensor

    from flare_core.train.batches import Patch
    from flare_core.train.training_step import TrainingStep


@dataclass(frozen=True)
class SoftLabels(Supervised):
    """Learn from soft labels where a case has them, and from its labels everywhere."""

    soft: float = 0.5
    """Weight of the cross entropy against the soft labels; the rest is the loss against the most
    likely organ."""
    weight: float = 1.0
    """How often an accepted case is drawn, relative to an expert's."""

    LIMITS: ClassVar[Limits] = {"soft": (0, 1), "weight": (1e-6, math.inf)}
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept all that is plausible: the teacher's doubt is part of what is learned."""
        return tuple(decide(each, implausible, weight=self.weight) for each in candidates)

    def patch_loss(self, patch: Patch, training: TrainingStep) -> Tensor:
        """Return the mixed loss, over the organs that the patch's case annotates."""
        from flare_core.train.losses import level_targets, mean_over_levels, soft_loss

        levels = training.levels(patch.image)
        hard = training.loss(levels, patch)
        if patch.second is None or patch.share is None:
            return hard
        spec, count = training.config.network, len(levels)
        targets = (level_targets(t, spec, count) for t in (patch.classes, patch.second))
        first, second = targets
        share = level_targets(patch.share, spec, count)
        told = patch.weights
        weights = [None] * count if told is None else [*level_targets(told, spec, count)]
        losses = [
            soft_loss(*each[:4], patch.annotated, weights=each[4])
            for each in zip(levels, first, second, share, weights, strict=True)
        ]
        return self.soft * mean_over_levels(losses) + (1 - self.soft) * hard
