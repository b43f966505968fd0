"""STU-Net: a U-Net of residual blocks that goes up by nearest neighbours and 1x1x1 convolutions.

Source: Huang et al. 2023, arXiv:2304.06716. Names of the parameters are those of its public
weights (Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.blocks import initialise, same_padding
from flare_core.networks.decoder import decoded
from flare_core.networks.normalisation import InstanceNorm
from flare_core.networks.slabs import Ready, add_and_activate, can_stream, run_blocks

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple


class StuBlock(nn.Module):
    """Two convolutions beside a skip, which the first block of a stage projects."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: Triple,
        stride: Triple,
        spec: NetworkSpec,
        *,
        project: bool,
    ) -> None:
        super().__init__()
        padding = same_padding(kernel)
        self.conv1 = nn.Conv3d(*channels, kernel, stride, padding)
        self.norm1 = InstanceNorm(channels[1], spec.norm_epsilon, spec.negative_slope)
        self.conv2 = nn.Conv3d(channels[1], channels[1], kernel, 1, padding)
        self.norm2 = InstanceNorm(channels[1], spec.norm_epsilon, None)
        self.conv3 = nn.Conv3d(*channels, 1, stride) if project else None
        self.act2 = nn.LeakyReLU(spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...)."""
        if can_stream(x):
            main = run_blocks(((self.conv1, self.norm1), (self.conv2, self.norm2)), Ready(x))
            beside = Ready(x if self.conv3 is None else self.conv3(x))
            return add_and_activate(main, beside, self.act2.negative_slope)
        y = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return self.act2(y + (x if self.conv3 is None else self.conv3(x)))


class StuUp(nn.Module):
    """Nearest neighbours up, then a 1x1x1 convolution."""

    def __init__(self, channels: tuple[int, int], stride: Triple) -> None:
        super().__init__()
        self.stride = tuple(float(n) for n in stride)
        self.conv = nn.Conv3d(*channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z * stride, ...).

        The convolution comes first: with a kernel of one voxel the order does not matter, and
        before it there are fewer voxels.
        """
        return functional.interpolate(self.conv(x), scale_factor=self.stride, mode="nearest")


class STUNet(nn.Module):
    """Encoder, decoder, logits."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths, strides, kernels = spec.features_per_stage, spec.strides, spec.kernel_sizes
        into = (spec.input_channels, *widths)
        last = len(widths) - 1
        self.conv_blocks_context = nn.ModuleList(
            _stage(count, (into[s], widths[s]), kernels[s], strides[s], spec)
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )
        self.upsample_layers = nn.ModuleList(
            StuUp((widths[below], widths[below - 1]), strides[below])
            for below in range(last, 0, -1)
        )
        self.conv_blocks_localization = nn.ModuleList(
            _stage(
                count, (2 * widths[last - 1 - i], widths[last - 1 - i]),
                kernels[last - 1 - i], (1, 1, 1), spec,
            )
            for i, count in enumerate(spec.convolutions_per_stage_decoder)
        )  # fmt: skip
        self.seg_outputs = nn.ModuleList(
            nn.Conv3d(widths[last - 1 - i], spec.output_channels, 1) for i in range(last)
        )
        self.deep_supervision = spec.deep_supervision
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X); a list, finest first, if supervised."""
        features = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            features.append(x)
        levels = zip(
            self.upsample_layers, self.conv_blocks_localization, self.seg_outputs, strict=True
        )
        return decoded(features, levels, supervised=self.deep_supervision and self.training)


def _stage(
    count: int, channels: tuple[int, int], kernel: Triple, stride: Triple, spec: NetworkSpec
) -> nn.Sequential:
    """Return some blocks; the first changes channels and resolution."""
    first = StuBlock(channels, kernel, stride, spec, project=True)
    same = (channels[1], channels[1])
    rest = [StuBlock(same, kernel, (1, 1, 1), spec, project=False) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)
