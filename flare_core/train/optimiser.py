"""What moves the weights: AdamW, or the SGD that nnU-Net and most teams train with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from flare_core.train.config import TrainConfig


def optimiser_of(config: TrainConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of a configuration; the rate is set before every step."""
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=1e-3,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
