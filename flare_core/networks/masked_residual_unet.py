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

from flare_core.networks.blocks import initialise, same_padding
from flare_core.networks.normalisation import channel_moments
from flare_core.networks.slabs import LAST

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple


class BackgroundNorm(nn.Module):
    """Instance norm without parameters and leaky ReLU, relative to what they make of 0."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.epsilon = spec.norm_epsilon
        self.negative_slope = spec.negative_slope

    def forward(self, x: Tensor, counted: Tensor, *, relative: bool = True) -> Tensor:
        """Map (B, C, Z, Y, X), background 0, to the same shape.

        Parameters
        ----------
        counted : Tensor (B,)
            Voxels that sums are divided by, at least the tile's; those beyond it are background.
        relative : bool
            Whether the background is 0 afterwards.
        """
        if len(x) == 1:
            return self._one(x, counted[0], relative)
        images = zip(x.split(1), counted, strict=True)
        return torch.cat([self._one(image, n, relative) for image, n in images])

    def _one(self, x: Tensor, counted: Tensor, relative: bool) -> Tensor:
        mean, variance = _moments(x, counted)
        scale = torch.rsqrt(variance + self.epsilon)
        background = functional.leaky_relu(-mean * scale, self.negative_slope)
        background = background.to(x.dtype)[:, None, None, None]
        if x.requires_grad:
            y = (x.float() - mean[:, None, None, None]) * scale[:, None, None, None]
            y = functional.leaky_relu(y, self.negative_slope).to(x.dtype)
            return y - background if relative else y
        y = functional.batch_norm(x, mean, variance, eps=self.epsilon)
        functional.leaky_relu_(y, self.negative_slope)
        return y.sub_(background) if relative else y


class MaskedBlock(nn.Module):
    """Norm, convolution, norm, convolution, beside a skip."""

    def __init__(
        self,
        channels: tuple[int, int, int],
        kernels: tuple[Triple, Triple],
        spec: NetworkSpec,
        *,
        first: bool = False,
    ) -> None:
        super().__init__()
        before, inner, after = channels
        self.norm1 = None if first else BackgroundNorm(spec)
        self.conv1 = _conv(before, inner, kernels[0])
        self.norm2 = BackgroundNorm(spec)
        self.conv2 = _conv(inner, after, kernels[1])
        self.skip = None if before == after else _conv(before, after, (1, 1, 1))

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z, Y, X)."""
        beside = x if self.skip is None else self.skip(x)
        y = self.conv1(x if self.norm1 is None else self.norm1(x, counted))
        y = self.conv2(self.norm2(y, counted))
        return y + beside if y.requires_grad else y.add_(beside)


class MaskedStage(nn.ModuleList):
    """Several blocks; the first one changes channels."""

    def __init__(
        self,
        count: int,
        channels: tuple[int, int, int],
        kernels: tuple[Triple, Triple],
        spec: NetworkSpec,
        *,
        first: bool = False,
    ) -> None:
        after = channels[2]
        super().__init__(
            MaskedBlock(channels if i == 0 else (after,) * 3, kernels, spec, first=first and i == 0)
            for i in range(count)
        )

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z, Y, X)."""
        for block in self:
            x = block(x, counted)
        return x


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


def _moments(x: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of one image and of zeros around it, float32 (C,).

    Parameters
    ----------
    x : Tensor (1, C, Z, Y, X)
    counted : Tensor
        Voxels of both.
    """
    if x.device.type == "cpu" and not x.requires_grad and x.is_contiguous(memory_format=LAST):
        mean, variance = channel_moments(x)
    else:
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3, 4), unbiased=False)
    share = x[0, 0].numel() / counted
    whole = mean * share
    return whole, (variance + mean.square()) * share - whole.square()


def _conv(before: int, after: int, kernel: Triple) -> nn.Conv3d:
    return nn.Conv3d(before, after, kernel, 1, same_padding(kernel), bias=False)


def _flat(kernel: Triple) -> Triple:
    return (1, *kernel[1:])
