"""Blocks of a network that sees one organ on a background of zeros (`masked_residual_unet`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.blocks import same_padding
from flare_core.networks.normalisation import group_moments, widened
from flare_core.networks.slabs import LAST

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple

Moments = tuple[int, Tensor, Tensor]
"""Voxels of a part of an image, and mean and variance of every channel over each of some equally
large groups of them, float32 (groups, C)."""

WIDE = 512
"""Numbers of neighbouring voxels that are normalised as one voxel's, at most: kernels are slow with
few numbers a voxel."""


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
        mean, variance = pooled([moments(x)], counted)
        if not x.requires_grad:
            return self.applied(x, mean, variance, relative=relative)
        scale = torch.rsqrt(variance + self.epsilon)
        y = (x.float() - mean[:, None, None, None]) * scale[:, None, None, None]
        y = functional.leaky_relu(y, self.negative_slope).to(x.dtype)
        if not relative:
            return y
        background = functional.leaky_relu(-mean * scale, self.negative_slope)
        return y - background.to(x.dtype)[:, None, None, None]

    def applied(
        self, x: Tensor, mean: Tensor, variance: Tensor, *, relative: bool = True
    ) -> Tensor:
        """Return a part of an image (1, C, Z, Y, X), normalised; what is 0 stays 0 to the bit.

        Parameters
        ----------
        mean, variance : float32 (C,)
            Of the whole image.
        """
        if not (x.device.type == "cpu" and x.is_contiguous(memory_format=LAST)):
            return self._activated(x, mean, variance, relative)
        groups = math.gcd(x[0, 0].numel(), most_groups(x.shape[1]))
        mean, variance = (each.expand(groups, -1).reshape(-1) for each in (mean, variance))
        wide = self._activated(widened(x, groups), mean, variance, relative)
        voxels = wide.permute(0, 2, 3, 4, 1).reshape(1, *x.shape[2:], x.shape[1])
        return voxels.permute(0, 4, 1, 2, 3)

    def _activated(self, x: Tensor, mean: Tensor, variance: Tensor, relative: bool) -> Tensor:
        if relative:
            zero = x.new_zeros(1, x.shape[1], 1, 1, 1)
            return self._activated(x, mean, variance, False).sub_(
                self._activated(zero, mean, variance, False)
            )
        y = functional.batch_norm(x, mean, variance, eps=self.epsilon)
        return functional.leaky_relu_(y, self.negative_slope)


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

    @property
    def blocks(self) -> Sequence[MaskedBlock]:
        """The blocks; the type of a `nn.ModuleList` does not say what it holds."""
        return cast("Sequence[MaskedBlock]", self)

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z, Y, X)."""
        for block in self.blocks:
            x = block(x, counted)
        return x


def moments(x: Tensor) -> Moments:
    """Return the moments of one image (1, C, Z, Y, X), or of a part of it."""
    voxels = x[0, 0].numel()
    if x.device.type == "cpu" and not x.requires_grad and x.is_contiguous(memory_format=LAST):
        return (voxels, *group_moments(x))
    variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3, 4), unbiased=False)
    return voxels, mean[None], variance[None]


def pooled(parts: Sequence[Moments], counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of an image and of zeros around it, float32 (C,).

    Parameters
    ----------
    parts : sequence of Moments
        Of parts of an image outside of which it is 0.
    counted : Tensor
        Voxels of all, with the zeros.
    """
    means = torch.cat([mean for _, mean, _ in parts])
    variances = torch.cat([variance for _, _, variance in parts])
    share = torch.cat([torch.full((len(m),), n / len(m)) for n, m, _ in parts]).to(means.device)
    share = (share / counted)[:, None]
    mean = (share * means).sum(dim=0)
    return mean, (share * (variances + means.square())).sum(dim=0) - mean.square()


def most_groups(channels: int) -> int:
    """Return how many voxels, a power of two, are read as one of at most `WIDE` numbers.

    Examples
    --------
    >>> most_groups(20), most_groups(160), most_groups(1000)
    (16, 2, 1)
    """
    return 2 ** max(0, (WIDE // channels).bit_length() - 1)


def _conv(before: int, after: int, kernel: Triple) -> nn.Conv3d:
    return nn.Conv3d(before, after, kernel, 1, same_padding(kernel), bias=False)
