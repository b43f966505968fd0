"""Where nnU-Net's tiles lie and how much each of their voxels counts (Isensee et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flare_core.imaging.geometry import Index

PEAK = 10.0
"""Weight of a tile's middle voxel; nnU-Net keeps its weights in float16 and needs the range."""


def nnunet_starts(size: int, patch: int, step: float) -> list[int]:
    """Return where tiles begin along one axis of at least `patch` voxels.

    Examples
    --------
    >>> nnunet_starts(110, 64, 0.5)
    [0, 23, 46]
    """
    count = math.ceil((size - patch) / (patch * step)) + 1
    between = (size - patch) / max(1, count - 1)
    return [round(between * i) for i in range(count)]


def nnunet_weights(patch: Index) -> Tensor:
    """Return the weight of each voxel of a tile: a Gaussian of SD patch / 8 about voxel n // 2.

    In float16 its tails are 0; they get the smallest weight that is not.
    """
    axes = []
    for n in patch:
        away = torch.arange(n, dtype=torch.float64) - n // 2
        bell = torch.exp(-0.5 * (away / (n / 8)) ** 2)
        axes.append(bell * (away.abs() <= int(n / 2 + 0.5)))  # cut at 4 SD, as scipy's filter is
    exact = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    weights = (PEAK * exact).half()
    weights[weights == 0] = weights[weights > 0].min()
    return weights.float()
