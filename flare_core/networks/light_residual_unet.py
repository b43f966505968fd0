"""A light residual U-Net for whole-volume input: depth-wise convolutions, sums instead of joins.

Source: team hmi306 (FLARE23) runs organs and tumours on the whole region of 192 x 192 x 192
voxels at once; the finest levels then decide the memory. Here a block is a depth-wise convolution
and two 1x1x1 ones beside a skip, the decoder adds the encoder's features, and it goes up by linear
interpolation after a 1x1x1 convolution. The wiring is ours, not the team's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from flare_core.networks.blocks import ConvBlock, initialise, resized, same_padding
from flare_core.networks.normalisation import InstanceNorm

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple


class LightBlock(nn.Module):
    """Depth-wise convolution, then two 1x1x1 convolutions, beside a skip."""

    def __init__(self, channels: int, kernel: Triple, spec: NetworkSpec) -> None:
        super().__init__()
        self.look = nn.Conv3d(
            channels, channels, kernel, 1, same_padding(kernel), groups=channels, bias=False
        )
        self.norm = InstanceNorm(channels, spec.norm_epsilon, None)
        self.widen = nn.Conv3d(channels, 2 * channels, 1)
        self.act = nn.LeakyReLU(spec.negative_slope)
        self.narrow = nn.Conv3d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        return x + self.narrow(self.act(self.widen(self.norm(self.look(x)))))


class LightResidualUNet(nn.Module):
    """Encoder, decoder, logits; deep supervision is not offered: there is one patch, the whole."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths, strides, kernels = spec.features_per_stage, spec.strides, spec.kernel_sizes
        into = (spec.input_channels, *widths)
        last = len(widths) - 1
        self.downs = nn.ModuleList(
            ConvBlock((into[s], widths[s]), kernels[s], strides[s], spec)
            for s in range(len(widths))
        )
        self.stages = nn.ModuleList(
            _blocks(count, widths[s], kernels[s], spec)
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )
        self.ups = nn.ModuleList(
            nn.Conv3d(widths[s + 1], widths[s], 1) for s in range(last - 1, -1, -1)
        )
        self.merged = nn.ModuleList(
            _blocks(count, widths[s], kernels[s], spec)
            for s, count in zip(
                range(last - 1, -1, -1), spec.convolutions_per_stage_decoder, strict=True
            )
        )
        self.head = nn.Conv3d(widths[0], spec.output_channels, 1)
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X)."""
        size, features = x.shape[2:], []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
            features.append(x)
        x = features.pop()
        for up, stage in zip(self.ups, self.merged, strict=True):
            skip = features.pop()
            x = stage(resized(up(x), skip.shape[2:]) + skip)
        x = self.head(x)
        return resized(x, size)


def _blocks(count: int, channels: int, kernel: Triple, spec: NetworkSpec) -> nn.Sequential:
    return nn.Sequential(*(LightBlock(channels, kernel, spec) for _ in range(count)))
