"""A MetaFormer encoder whose mixer modulates by depth-wise convolutions, and a UNETR decoder.

Sources: team hanglok (FLARE23): widths 60, 120, 240, 480, depths 2, 4, 6, 2, depth-wise kernels 3,
5, 7, attention in the late stages only; Yu et al. 2022, "MetaFormer is actually what you need for
vision"; Lin et al. 2023, "Scale-aware modulation meets transformer"; Hatamizadeh et al. 2022,
UNETR (the decoder: residual blocks on skips from every resolution, the image's own included).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.blocks import ONE, ResidualBlock, initialise, same_padding
from flare_core.networks.normalisation import InstanceNorm

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple

SCALES = (3, 5, 7)
"""Depth-wise kernels of the modulation; a third of the channels each."""
HEADS = 4
"""Attention heads of the late stages."""
LATE = 2
"""So many of the coarsest stages attend."""
MOST_TOKENS = 4096
"""Voxels that attend to one another; larger stages are pooled for keys and values."""


class ScaleModulation(nn.Module):
    """Values times what depth-wise convolutions of several sizes see."""

    def __init__(self, channels: int, kernel: Triple) -> None:
        super().__init__()
        shares = [channels // len(SCALES)] * len(SCALES)
        shares[0] += channels - sum(shares)
        self.shares = shares
        self.value = nn.Conv3d(channels, channels, 1)
        self.looks = nn.ModuleList(
            nn.Conv3d(share, share, size, padding=same_padding(size), groups=share)
            for share, size in zip(shares, (_flat(n, kernel) for n in SCALES), strict=True)
        )
        self.mix = nn.Conv3d(channels, channels, 1)
        self.out = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        parts = x.split(self.shares, dim=1)
        seen = torch.cat([look(part) for look, part in zip(self.looks, parts, strict=True)], dim=1)
        return self.out(self.mix(seen) * self.value(x))


class Attention(nn.Module):
    """Every voxel looks at all others, or at their means where there are too many."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(h for h in range(HEADS, 0, -1) if channels % h == 0)
        self.query = nn.Conv3d(channels, channels, 1)
        self.key_value = nn.Conv3d(channels, 2 * channels, 1)
        self.out = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        factor = 1
        while x[0, 0].numel() // factor**3 > MOST_TOKENS:
            factor += 1
        depth, height, width = (max(1, n // factor) for n in x.shape[2:])
        seen = x if factor == 1 else functional.adaptive_avg_pool3d(x, (depth, height, width))
        q = self._tokens(self.query(x))
        k, v = (self._tokens(part) for part in self.key_value(seen).chunk(2, dim=1))
        y = functional.scaled_dot_product_attention(q, k, v)  # (B, H, N, C / H)
        return self.out(y.permute(0, 1, 3, 2).reshape(x.shape))

    def _tokens(self, x: Tensor) -> Tensor:
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)  # (B, H, N, C / H)


class MetaBlock(nn.Module):
    """Mixer and multi-layer perceptron, each on a normalised image and beside a skip."""

    def __init__(self, channels: int, kernel: Triple, spec: NetworkSpec, *, attends: bool) -> None:
        super().__init__()
        self.norm1 = InstanceNorm(channels, spec.norm_epsilon, None)
        self.mixer = Attention(channels) if attends else ScaleModulation(channels, kernel)
        self.norm2 = InstanceNorm(channels, spec.norm_epsilon, None)
        self.mlp = nn.Sequential(
            nn.Conv3d(channels, 4 * channels, 1), nn.GELU(), nn.Conv3d(4 * channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MetaFormerUNETR(nn.Module):
    """Encoder stages of MetaFormer blocks, a decoder of residual blocks."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths, strides, kernels = spec.features_per_stage, spec.strides, spec.kernel_sizes
        into = (spec.input_channels, *widths)
        last = len(widths) - 1
        self.downs = nn.ModuleList(
            nn.Conv3d(into[s], widths[s], _covering(strides[s]), strides[s],
                      same_padding(_covering(strides[s])))
            for s in range(len(widths))
        )  # fmt: skip
        self.stages = nn.ModuleList(
            nn.Sequential(*(
                MetaBlock(widths[s], kernels[s], spec, attends=s > last - LATE and s > 0)
                for _ in range(count)
            ))
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )  # fmt: skip
        self.skips = nn.ModuleList(
            ResidualBlock((widths[s], widths[s]), kernels[s], ONE, spec) for s in range(last)
        )
        self.image_skip = ResidualBlock((spec.input_channels, widths[0]), kernels[0], ONE, spec)
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(widths[s + 1], widths[s], strides[s + 1], strides[s + 1])
            for s in range(last - 1, -1, -1)
        )
        self.joins = nn.ModuleList(
            ResidualBlock((2 * widths[s], widths[s]), kernels[s], ONE, spec)
            for s in range(last - 1, -1, -1)
        )
        self.to_image = (
            nn.ConvTranspose3d(widths[0], widths[0], strides[0], strides[0])
            if strides[0] != ONE
            else nn.Identity()
        )
        self.last_join = ResidualBlock((2 * widths[0], widths[0]), kernels[0], ONE, spec)
        self.head = nn.Conv3d(widths[0], spec.output_channels, 1)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X)."""
        image, features = x, []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
            features.append(x)
        x = features.pop()
        for up, join, skip in zip(self.ups, self.joins, reversed(self.skips), strict=True):
            x = join(torch.cat((up(x), skip(features.pop())), dim=1))
        x = torch.cat((self.to_image(x), self.image_skip(image)), dim=1)
        return self.head(self.last_join(x))


def _flat(size: int, kernel: Triple) -> Triple:
    """A cube of this size, but one voxel along axes where the stage's kernel is one."""
    z, y, x = (size if k > 1 else 1 for k in kernel)
    return z, y, x


def _covering(stride: Triple) -> Triple:
    """An odd kernel that misses no voxel at this stride."""
    z, y, x = (s if s % 2 else s + 1 for s in (max(3, n) for n in stride))
    return z, y, x
