"""What a self-training strategy is: a choice of cases, and a loss.

A strategy is a frozen dataclass; its fields are its settings in the training configuration:
``"strategy": {"kind": "mean_teacher", "decay": 0.99}``. It holds no networks itself, so the same
object selects cases on a laptop and trains on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from flare_core.train.strategies.candidate import Candidate, Decision

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flare_core.train.batches import Patch
    from flare_core.train.config import TrainConfig
    from flare_core.train.lesson import Lesson


class Strategy(Protocol):
    """How unlabelled scans help."""

    @property
    def uses_unlabelled(self) -> bool:
        """Whether `step` learns from scans without labels (`TrainConfig.unlabelled`)."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Decide, before training, which predicted labels are trained on.

        Returns
        -------
        tuple of Decision
            One for each candidate, in their order.
        """

    def networks(self, config: TrainConfig) -> dict[str, nn.Module]:
        """Return the networks this needs beside the student, such as ``{"teacher": ...}``.

        They are found again in `Lesson.extra`, saved in the checkpoint, and never exported. Their
        parameters are trained with the student's where they require a gradient.
        """

    def begin(self, lesson: Lesson) -> None:
        """Set the further networks up once the student has its first weights."""

    def step(self, patch: Patch, lesson: Lesson) -> Tensor:
        """Return the loss of one patch; the gradients of a batch's patches are averaged."""

    def after_step(self, lesson: Lesson) -> None:
        """Do what follows an optimiser step, such as moving a teacher."""
