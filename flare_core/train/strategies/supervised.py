"""Labels only: what every other strategy is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flare_core.errors import InputError
from flare_core.train.strategies.candidate import Candidate, Decision, refuse

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flare_core.train.batches import Patch
    from flare_core.train.config import TrainConfig
    from flare_core.train.training_step import TrainingStep

Limits = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Supervised:
    """Learn from the labels there are; strategies that only select inherit its step."""

    uses_unlabelled: ClassVar[bool] = False
    """Scans without labels teach nothing."""
    LIMITS: ClassVar[Limits] = {}
    """Setting -> least and greatest legal value."""

    def __post_init__(self) -> None:
        for name, (low, high) in self.LIMITS.items():
            came = getattr(self, name)
            if not low <= came <= high:
                legal = f"{low:g} to {high:g}"
                raise InputError(f"strategy: {name}", str(came), legal, "Correct the setting.")

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Accept no predicted label."""
        return tuple(refuse(each, "only people's labels are used") for each in candidates)

    def check(self, config: TrainConfig) -> None:
        """Do nothing: any network can be trained like this."""

    def networks(self, config: TrainConfig) -> dict[str, nn.Module]:
        """Return none: the student learns alone."""
        del config
        return {}

    def begin(self, training: TrainingStep) -> None:
        """Do nothing: there is no other network."""

    def patch_loss(self, patch: Patch, training: TrainingStep) -> Tensor:
        """Return the loss over the organs that the patch's case annotates."""
        return training.loss(training.levels(patch.image), patch)

    def after_step(self, training: TrainingStep) -> None:
        """Do nothing: there is no other network."""
