"""The building blocks of U-Nets, named as nnU-Net names them.

Parameter names follow dynamic_network_architectures (Isensee et al., Apache-2.0): a block has
`conv` and `norm`, a stack of blocks has `convs`, a residual stack has `blocks` with `conv1`,
`conv2` and `skip`. Only the names and the arithmetic are shared, so that public weights fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.normalisation import InstanceNorm
from flare_core.networks.separable import SeparableConv
from flare_core.networks.slabs import (
    Convolution,
    Ready,
    Source,
    add_and_activate,
    can_stream,
    run_blocks,
)

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple

ONE: Triple = (1, 1, 1)


def same_padding(kernel: Triple) -> Triple:
    """Return the padding that keeps the size for odd kernels."""
    z, y, x = ((k - 1) // 2 for k in kernel)
    return z, y, x


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (B, C, Z, Y, X) linearly to a size; nothing is done where it is right."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)


class ConvBlock(nn.Module):
    """Convolution, instance normalisation and, unless told otherwise, leaky ReLU."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: Triple,
        stride: Triple,
        spec: NetworkSpec,
        *,
        activation: bool = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        separable = spec.separable and kernel != ONE
        bias = spec.conv_bias if bias is None else bias
        self.conv = (SeparableConv if separable else nn.Conv3d)(
            *channels, kernel, stride, same_padding(kernel), bias=bias
        )
        self.norm = InstanceNorm(
            channels[1], spec.norm_epsilon, spec.negative_slope if activation else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...)."""
        return self.norm(self.conv(x))


class ConvStack(nn.Module):
    """Several ConvBlocks; the first one changes channels and resolution."""

    def __init__(
        self,
        count: int,
        channels: tuple[int, int],
        kernel: Triple,
        stride: Triple,
        spec: NetworkSpec,
    ) -> None:
        super().__init__()
        first = ConvBlock(channels, kernel, stride, spec)
        rest = [ConvBlock((channels[1], channels[1]), kernel, ONE, spec) for _ in range(count - 1)]
        self.convs = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...)."""
        if can_stream(x):
            return self.streamed(Ready(x))
        return self.convs(x)

    def streamed(self, source: Source, into: Tensor | None = None) -> Tensor:
        """Do the same slab by slab; `into` is overwritten with the first result."""
        return run_blocks(_pairs(self.convs), source, into=into).finished()


class MeanPool(nn.AvgPool3d):
    """Average pooling, in bf16 too: on CPUs torch has it for float32 alone."""

    kernel_size: Triple
    """Voxels z, y, x."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C, Z / stride, ...)."""
        if x.device.type != "cpu" or x.dtype == torch.float32:
            return super().forward(x)
        stride = self.kernel_size[0]
        slabs = x[:, :, : x.shape[2] // stride * stride].split(8 * stride, dim=2)
        return torch.cat([super(MeanPool, self).forward(s.float()).to(x.dtype) for s in slabs], 2)


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip that pools and projects where shapes change (ResNet-D)."""

    def __init__(
        self, channels: tuple[int, int], kernel: Triple, stride: Triple, spec: NetworkSpec
    ) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, kernel, stride, spec)
        self.conv2 = ConvBlock((channels[1], channels[1]), kernel, ONE, spec, activation=False)
        self.nonlin2 = nn.LeakyReLU(spec.negative_slope)
        skip: list[nn.Module] = [] if stride == ONE else [MeanPool(stride, stride)]
        if channels[0] != channels[1]:
            skip.append(ConvBlock(channels, ONE, ONE, spec, activation=False, bias=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...)."""
        if can_stream(x):
            main = run_blocks(_pairs((self.conv1, self.conv2)), Ready(x))
            return add_and_activate(main, self._beside(x), self.nonlin2.negative_slope)
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))

    def _beside(self, x: Tensor) -> Source:
        source: Source = Ready(x)
        for module in self.skip:
            if isinstance(module, ConvBlock):
                source = run_blocks(_pairs((module,)), source)
            else:
                source = Ready(module(x))
        return source


class ResidualStack(nn.Module):
    """Several ResidualBlocks; the first one changes channels and resolution."""

    def __init__(
        self,
        count: int,
        channels: tuple[int, int],
        kernel: Triple,
        stride: Triple,
        spec: NetworkSpec,
    ) -> None:
        super().__init__()
        first = ResidualBlock(channels, kernel, stride, spec)
        rest = [
            ResidualBlock((channels[1], channels[1]), kernel, ONE, spec) for _ in range(count - 1)
        ]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...)."""
        return self.blocks(x)


def _pairs(blocks: Iterable[nn.Module]) -> Iterator[tuple[Convolution, InstanceNorm]]:
    for block in blocks:
        if not isinstance(block, ConvBlock):
            raise TypeError(type(block))
        yield block.conv, block.norm


def initialise(modules: Sequence[nn.Module], slope: float) -> None:
    """Draw convolution weights as He et al. 2015 (fan-in, leaky ReLU); biases start at zero.

    A network without memory, built to be counted, has nothing to draw; to try all the same would
    import torch's compiler, which takes a second and a half.
    """
    for module in modules:
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
