"""Mean teacher: the running mean of the student labels what nobody has labelled.

Sources: Tarvainen and Valpola 2017; team hmi306 (FLARE23, 4th): EMA .99, loss weights 1 for fully
labelled patches, .5 for partly labelled, .5 for unlabelled; the teacher's arg-max is the target,
and the reference's voxels are forced into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flare_core.train.strategies.candidate import Candidate, Decision, refuse
from flare_core.train.strategies.second_opinion import completed, ramp
from flare_core.train.strategies.supervised import Limits, Supervised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flare_core.train.batches import Patch
    from flare_core.train.config import TrainConfig
    from flare_core.train.training_step import TrainingStep


@dataclass(frozen=True)
class MeanTeacher(Supervised):
    """Learn from labels and, with less weight, from a slower copy of oneself."""

    decay: float = 0.99
    """Share of the teacher that stays in each step (hmi306)."""
    labelled: float = 1.0
    """Weight of patches whose case annotates every organ (hmi306)."""
    partly: float = 0.5
    """Weight of patches whose other organs the teacher fills in (hmi306)."""
    unlabelled: float = 0.5
    """Weight of patches that the teacher alone labels (hmi306)."""
    ramp_steps: int = 200
    """Steps in which the teacher's weight rises: at first it knows nothing."""
    least_probability: float = 0.9
    """Voxels of which the teacher is less sure are left out. hmi306, who saw whole volumes, left
    none out (0); on patches that teaches the teacher's specks: on a toy cohort (one seed) the mean
    DSC fell from .775 to .709 with 0 and was .778 with .9."""

    uses_unlabelled: ClassVar[bool] = True
    """The teacher labels them while training."""
    LIMITS: ClassVar[Limits] = {
        "decay": (0, 0.999999),
        "labelled": (0, math.inf),
        "partly": (0, math.inf),
        "unlabelled": (0, math.inf),
        "ramp_steps": (0, math.inf),
        "least_probability": (0, 1),
    }
    """Least and greatest legal value."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept no predicted label: the scans are learned from without any."""
        why = "the teacher labels this scan anew in every step"
        return tuple(refuse(each, why) for each in candidates)

    def networks(self, config: TrainConfig) -> dict[str, nn.Module]:
        """Return the teacher."""
        from flare_core.networks import build_network

        return {"teacher": build_network(config.network).requires_grad_(requires_grad=False)}

    def begin(self, training: TrainingStep) -> None:
        """Let the teacher know what the student knows."""
        training.extra["teacher"].load_state_dict(training.student.state_dict())

    def patch_loss(self, patch: Patch, training: TrainingStep) -> Tensor:
        """Return the weighted loss against the reference, completed by the teacher."""
        if patch.fully_labelled:
            return self.labelled * training.loss(training.levels(patch.image), patch)
        trust = ramp(training.steps, self.ramp_steps)
        levels = training.levels(patch.image)
        taught = training.loss(levels, self._completed(patch, training))
        if patch.unlabelled:
            return self.unlabelled * trust * taught
        known = training.loss(levels, patch) if trust < 1 else taught
        return self.partly * (trust * taught + (1 - trust) * known)

    def after_step(self, training: TrainingStep) -> None:
        """Move the teacher towards the student; faster in the first steps."""
        import torch

        decay = min(self.decay, (1 + training.steps) / (10 + training.steps))
        teacher, student = training.extra["teacher"], training.student
        with torch.no_grad():
            for mean, now in zip(teacher.parameters(), student.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def _completed(self, patch: Patch, training: TrainingStep) -> Patch:
        """Return the patch as the teacher, who sees the scan as it was, labels it."""
        view = patch.image if patch.plain is None else patch.plain
        answer = training.answer(training.extra["teacher"], view)
        return completed(patch, answer, self.least_probability)
