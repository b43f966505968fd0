"""The networks of a run and the loss of one patch, and what a strategy does with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from flare_core.networks import build_network
from flare_core.segment.runtime import Runtime
from flare_core.train.batches import Patch
from flare_core.train.config import TrainConfig
from flare_core.train.losses import deep_supervision_loss, level_targets, merge_unannotated
from flare_core.train.strategies.candidate import Candidate, Decision


class Strategy(Protocol):
    """How unlabelled scans help: a choice of cases, and a loss.

    A strategy is a frozen dataclass; its fields are its settings in the training configuration:
    ``"strategy": {"kind": "mean_teacher", "decay": 0.99}``. It holds no networks itself, so the
    same object selects cases on a laptop and trains on a GPU.
    """

    @property
    def uses_unlabelled(self) -> bool:
        """Whether `patch_loss` learns from scans without labels (`TrainConfig.unlabelled`)."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
        """Decide, before training, which predicted labels are trained on.

        Returns
        -------
        tuple of Decision
            One for each candidate, in their order.
        """

    def check(self, config: TrainConfig) -> None:
        """Refuse what this cannot train, before anything is loaded.

        Raises
        ------
        InputError
            If it cannot.
        """

    def networks(self, config: TrainConfig) -> dict[str, nn.Module]:
        """Return the networks this needs beside the student, such as ``{"teacher": ...}``.

        They are found again in `TrainingStep.extra`, saved in the checkpoint, and never exported.
        Their parameters are trained with the student's where they require a gradient.
        """

    def begin(self, training: TrainingStep) -> None:
        """Set the further networks up once the student has its first weights."""

    def patch_loss(self, patch: Patch, training: TrainingStep) -> Tensor:
        """Return the loss of one patch; the gradients of a batch's patches are averaged."""

    def after_step(self, training: TrainingStep) -> None:
        """Do what follows an optimiser step, such as moving a teacher."""


class TrainingStep(nn.Module):
    """A student, and the further networks of its strategy; maps a patch to its loss.

    It is a module so that DistributedDataParallel can wrap it, whatever the strategy does inside.

    Parameters
    ----------
    config : TrainConfig
    strategy : Strategy
    runtime : Runtime
        Where training runs.
    """

    def __init__(self, config: TrainConfig, strategy: Strategy, runtime: Runtime) -> None:
        super().__init__()
        self.config, self.strategy, self.runtime = config, strategy, runtime
        self.steps = 0  # optimiser steps of the whole run so far
        self.student = build_network(config.network)
        self.extra = nn.ModuleDict(strategy.networks(config))
        self.to(device=runtime.device, memory_format=runtime.layout)  # type: ignore[call-overload]

    def forward(self, patch: Patch) -> Tensor:
        """Return the loss of one patch."""
        return self.strategy.patch_loss(patch, self)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that the optimiser moves."""
        return [each for each in self.parameters() if each.requires_grad]

    def autocast(self) -> torch.autocast:
        """Return the context in which networks run, in the run's number format."""
        device, dtype = self.runtime.device, self.runtime.dtype
        return torch.autocast(device, dtype, enabled=dtype != torch.float32)

    def levels(self, image: Tensor) -> list[Tensor]:
        """Return the student's logits (B, K, Z, Y, X) at every supervised resolution, finest first.

        They are in the order of `networks.space_to_depth.blocks_along_x`, as `loss` wants them.
        """
        with self.autocast():
            levels = self.student(image)
        return levels if isinstance(levels, list) else [levels]

    @torch.no_grad()
    def answer(self, network: nn.Module, image: Tensor) -> Tensor:
        """Return a network's logits (B, K, Z, Y, X) in the voxels' own order, without gradients."""
        was = network.training
        network.eval()
        with self.autocast():
            logits = network(image)
        network.train(was)
        return logits

    def loss(self, levels: Sequence[Tensor], patch: Patch) -> Tensor:
        """Return the loss of logits over all resolutions, over what the patch's case annotates."""
        spec, weights, annotated = self.config.network, patch.weights, patch.annotated
        if self.config.unannotated == "max" and not patch.fully_labelled:
            levels = [merge_unannotated(each.float(), annotated, pooled=True) for each in levels]
            annotated = (True,) * len(annotated)  # what is not annotated has no probability left
        return deep_supervision_loss(
            levels,
            level_targets(patch.classes, spec, len(levels)),
            annotated,
            focal_gamma=self.config.focal_gamma,
            balance=self.config.class_balance,
            weights=() if weights is None else level_targets(weights, spec, len(levels)),
        )
