"""A FasterNet encoder of partial convolutions and SegFormer's decoder of 1x1x1 convolutions.

Sources: team hanglok (FLARE23, the region stage: widths 32 to 256 on 128 x 128 x 128 voxels); Chen
et al. 2023, "Run, don't walk: chasing higher FLOPS for faster neural networks" (CVPR); Xie et al.
2021, "SegFormer". Three quarters of the channels pass a block's convolution untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flare_core.networks.blocks import initialise, resized, same_padding
from flare_core.networks.normalisation import InstanceNorm

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple

CONVOLVED = 4
"""One of so many channels is convolved."""
COMMON = 2
"""The decoder's width, in widths of the finest stage."""


class FasterBlock(nn.Module):
    """Convolve a part of the channels, mix all of them, beside a skip."""

    def __init__(self, channels: int, kernel: Triple, spec: NetworkSpec) -> None:
        super().__init__()
        self.part = max(1, channels // CONVOLVED)
        self.conv = nn.Conv3d(self.part, self.part, kernel, 1, same_padding(kernel), bias=False)
        self.widen = nn.Conv3d(channels, 2 * channels, 1, bias=False)
        self.norm = InstanceNorm(2 * channels, spec.norm_epsilon, spec.negative_slope)
        self.narrow = nn.Conv3d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        seen = torch.cat((self.conv(x[:, : self.part]), x[:, self.part :]), dim=1)
        return x + self.narrow(self.norm(self.widen(seen)))


class FasterNetSegFormer(nn.Module):
    """Encoder stages, all of them brought to the finest one's grid, fused, up to the image."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths, strides, kernels = spec.features_per_stage, spec.strides, spec.kernel_sizes
        into = (spec.input_channels, *widths)
        common = COMMON * widths[0]
        # the first stage's kernel covers its stride; later ones merge patches, as FasterNet does
        self.downs = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(into[s], widths[s], strides[s], strides[s], bias=False),
                InstanceNorm(widths[s], spec.norm_epsilon, None),
            )
            for s in range(len(widths))
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(FasterBlock(widths[s], kernels[s], spec) for _ in range(count)))
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )
        self.project = nn.ModuleList(nn.Conv3d(width, common, 1) for width in widths)
        self.fuse = nn.Conv3d(common * len(widths), common, 1, bias=False)
        self.norm = InstanceNorm(common, spec.norm_epsilon, spec.negative_slope)
        self.head = nn.Conv3d(common, spec.output_channels, 1)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X)."""
        size, features = x.shape[2:], []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
            features.append(x)
        finest = features[0].shape[2:]
        levels = [
            resized(project(level), finest)
            for project, level in zip(self.project, features, strict=True)
        ]
        return resized(self.head(self.norm(self.fuse(torch.cat(levels, dim=1)))), size)
