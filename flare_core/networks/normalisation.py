"""Instance normalisation and leaky ReLU in one step that keeps the channels-last layout.

torch's own instance norm copies channels-last tensors to channels-first and back, a quarter of a
U-Net's time on a CPU. Normalising one image is the same as batch normalisation of a batch of one,
and for that torch has channels-last kernels; only their sums need help (see `channel_moments`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 64
"""Partial sums per channel (a power of two)."""


class InstanceNorm(nn.Module):
    """Normalise each channel of each image over its voxels; parameters as nn.InstanceNorm3d."""

    def __init__(self, channels: int, epsilon: float, negative_slope: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon
        self.negative_slope = negative_slope
        """Slope of the leaky ReLU that follows, or None for no activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last_3d):
            if len(x) == 1:
                return self._normalise_image(x)
            return torch.cat([self._normalise_image(image) for image in x.split(1)])
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        y = functional.instance_norm(x, weight=weight, bias=bias, eps=self.epsilon)
        if self.negative_slope is None:
            return y
        return functional.leaky_relu(y, self.negative_slope, inplace=True)

    def _normalise_image(self, image: Tensor) -> Tensor:
        """Map channels-last (1, C, Z, Y, X) to the same shape and layout."""
        return _ChannelsLastNorm.apply(
            image, self.weight, self.bias, self.epsilon, self.negative_slope
        )


class _ChannelsLastNorm(torch.autograd.Function):
    """Instance norm and leaky ReLU of one image; statistics in float32 whatever its type."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        slope: float | None,
    ) -> Tensor:
        """Return the activation and keep what the backward pass reads."""
        mean, variance = channel_moments(x)
        weight, bias = weight.float(), bias.float()
        y = functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=epsilon)
        if slope is not None:
            functional.leaky_relu_(y, slope)
        ctx.save_for_backward(x, y, mean, torch.rsqrt(variance + epsilon), weight)
        ctx.slope, ctx.epsilon = slope, epsilon
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of x, weight and bias."""
        x, y, mean, inverse, weight = ctx.saved_tensors
        g = gradient.contiguous(memory_format=torch.channels_last_3d)
        if ctx.slope is not None:  # y has the sign of the value before the activation
            g = torch.ops.aten.leaky_relu_backward(g, y, ctx.slope, True)
        g_x, g_weight, g_bias = torch.ops.aten.native_batch_norm_backward(
            g, x, weight, None, None, mean, inverse, True, ctx.epsilon, [True, True, True]
        )
        return g_x, g_weight, g_bias, None, None


class Moments:
    """Mean and variance of every channel, gathered over the parts of an image."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Tensor, Tensor]] = []

    def add(self, part: Tensor) -> None:
        """Take in some channels-last voxels (1, C, Z, Y, X)."""
        self._parts.append((part[0, 0].numel(), *channel_moments(part)))

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance over all parts, float32 (C,)."""
        if len(self._parts) == 1:
            return self._parts[0][1:]
        counts = torch.tensor([n for n, _, _ in self._parts], dtype=torch.float32)
        share = (counts / counts.sum())[:, None]
        means, variances = (torch.stack(each) for each in tuple(zip(*self._parts, strict=True))[1:])
        mean = (share * means).sum(dim=0)
        return mean, (share * (variances + (means - mean).square())).sum(dim=0)


def normalised(
    x: Tensor, norm: InstanceNorm, mean: Tensor, variance: Tensor, *, out: Tensor
) -> None:
    """Write `x`, channels-last (1, C, Z, Y, X), normalised and activated to `out`, perhaps itself.

    Parameters
    ----------
    mean, variance : float32 (C,)
        Of the whole image.
    """
    weight, bias = norm.weight.float(), norm.bias.float()
    y = functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=norm.epsilon)
    if norm.negative_slope is None:
        out.copy_(y)
    else:
        torch.ops.aten.leaky_relu.out(y, norm.negative_slope, out=out)


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of one channels-last image, float32 (C,)."""
    means, variances = group_moments(x)
    mean = means.mean(dim=0)
    return mean, variances.mean(dim=0) + (means - mean).square().mean(dim=0)


def group_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of one channels-last image in groups of voxels.

    torch's kernel adds a channel's voxels one after the other; after a million additions in float32
    a thousandth of the variance is lost. So each GROUPS-th voxel gets a sum of its own.

    Returns
    -------
    Tensor, Tensor
        float32 (groups, C), of equally many voxels each.
    """
    groups = math.gcd(x[0, 0].numel(), GROUPS)
    wide = widened(x, groups)
    ignored = torch.zeros(2, wide.shape[1])  # running statistics; float32, so the sums are too
    means, variances = torch.batch_norm_update_stats(wide, ignored[0], ignored[1], 0.0)
    return means.view(groups, -1), variances.view(groups, -1)


def widened(x: Tensor, groups: int) -> Tensor:
    """Return a channels-last image (1, C, Z, Y, X) read as (1, groups * C, voxels / groups, 1, 1):
    neighbours as if they were more channels of one voxel.
    """
    voxels, channels = x[0, 0].numel(), x.shape[1]
    rows = x.permute(0, 2, 3, 4, 1).reshape(1, voxels // groups, 1, 1, groups * channels)
    return rows.permute(0, 4, 1, 2, 3)
