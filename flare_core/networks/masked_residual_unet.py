"""A residual U-Net for one organ on a background of zeros, which costs and changes nothing.

Blocks normalise before they convolve (He et al. 2016, pre-activation). An instance norm turns zeros
into something else, and what it does to the organ depends on how much background the tile holds.
Here features are kept relative to the background's, which so stays 0 through all layers: zero
padding is then what a larger tile would hold, no convolution needs a bias, and the norm counts as
many zeros beyond the tile as make the organ a given share of all.

Source: the U-Net of KU Leuven's DeepVoxNet (Robben et al. 2018) as pyliverlesionseg builds it,
without padding and with the tile's own share; its weights fit
(benchmarks/default_model/lesion_teacher.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.blocks import initialise
from flare_core.networks.masked_blocks import BackgroundNorm, MaskedStage
from flare_core.networks.masked_prediction import can_predict, predict

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple


class MaskedResidualUNet(nn.Module):
    """Encoder, decoder, logits.

    Of the spec, stage s has `features_per_stage[s]` channels behind it and those of the stage
    before it inside (the first: half its own); on the way up half as many as on the way down. A
    block has the stage's kernel once, and once the same within the slices of the first axis. No
    convolution has a bias but the last.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths = spec.features_per_stage
        self.share = spec.foreground_share
        self.strides = spec.strides
        inner = (max(1, widths[0] // 2), *widths[:-1])
        into = (spec.input_channels, *widths[:-1])
        kernels = [(_flat(kernel), kernel) for kernel in spec.kernel_sizes]
        self.downs = nn.ModuleList(
            MaskedStage(count, (into[s], inner[s], widths[s]), kernels[s], spec, first=s == 0)
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )
        risen = (*(max(1, n // 2) for n in widths[:-1]), widths[-1])
        levels = zip(
            reversed(range(len(widths) - 1)), spec.convolutions_per_stage_decoder, strict=True
        )
        self.ups = nn.ModuleList(
            MaskedStage(
                count,
                (widths[s] + risen[s + 1], widths[s], risen[s]),
                (kernels[s][1], kernels[s][0]),
                spec,
            )
            for s, count in levels
        )
        self.norm = BackgroundNorm(spec)
        self.head = nn.Conv3d(risen[0], spec.output_channels, 1)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X), zeros around the organ, to logits (B, K, Z, Y, X)."""
        counted = self._counted(x)
        if can_predict(x, self.strides):
            return predict(self, x, counted[0])
        features, counts = [], []
        for down, stride in zip(self.downs, self.strides, strict=True):
            if stride != (1, 1, 1):
                x = functional.max_pool3d(x, stride)
                counted = counted / math.prod(stride)
            x = down(x, counted)
            features.append(x)
            counts.append(counted)
        x = features.pop()
        for up, count in zip(self.ups, reversed(counts[:-1]), strict=True):
            skip = features.pop()
            x = functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = up(torch.cat((skip, x), dim=1), count)
        return self.head(self.norm(x, counts[0], relative=False))

    def _counted(self, x: Tensor) -> Tensor:
        """Return how many voxels the norms of each image divide by, float32 (B,)."""
        organ = (x != 0).any(dim=1).sum(dim=(1, 2, 3)).float()
        return (organ / self.share).clamp_min(float(x[0, 0].numel()))


def _flat(kernel: Triple) -> Triple:
    return (1, *kernel[1:])
