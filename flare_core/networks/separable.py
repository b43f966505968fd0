"""Convolutions whose weights are a depth-wise times a point-wise part.

A network's card says that its convolutions are such (`NetworkSpec.separable`), or the weights show
it: a depth-wise separable convolution multiplied out is a dense one, and as long as dense weights
still are such a product, the two small convolutions say the same as the dense one in a quarter to
an eighth of the time (measured on a CPU, bf16, 16 to 128 channels). At full width most of a U-Net's
time is such convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from flare_core.models.stage_card import Triple

ROUNDING = 2.0**-8
"""Most of a weight that may be lost: bf16, in which such weights are kept and run, rounds by up to
half of this; a trained dense convolution would lose most of itself."""

FEW = 4
"""Input channels that are looked at first: most dense convolutions are told by these."""

TURNS = 3
"""Steps towards the best product; where there is one, the first nearly finds it."""


class SeparableConv(nn.Module):
    """A depth-wise convolution, then a point-wise one, with nothing between them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Triple,
        stride: Triple,
        padding: Triple,
        *,
        bias: bool,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.depth = nn.Conv3d(
            in_channels, in_channels, kernel_size, stride, padding, groups=in_channels, bias=False
        )
        self.point = nn.Conv3d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to (B, C', Z / stride, ...).

        The way back through a depth-wise convolution takes a CPU four times as long as through the
        dense one that does the same, and other devices take longer both ways: there it is that.
        """
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            return self.point(self.depth(x))
        weight = self.point.weight * self.depth.weight[:, 0]
        return functional.conv3d(x, weight, self.point.bias, self.stride, self.padding)


def _three(numbers: Sequence[int] | str) -> Triple:
    z, y, x = (int(number) for number in numbers)
    return z, y, x


def _separated(conv: nn.Conv3d, depth: Tensor, point: Tensor) -> SeparableConv:
    """Return what a dense convolution does, from weights (I, T) and (O, I)."""
    kernel, stride, padding = (_three(n) for n in (conv.kernel_size, conv.stride, conv.padding))
    bias = conv.bias is not None
    made = SeparableConv(conv.in_channels, conv.out_channels, kernel, stride, padding, bias=bias)
    with torch.no_grad():
        made.depth.weight.copy_(depth.view_as(made.depth.weight))
        made.point.weight.copy_(point.view_as(made.point.weight))
        if conv.bias is not None and made.point.bias is not None:
            made.point.bias.copy_(conv.bias)
    return made


def separate(network: nn.Module) -> int:
    """Replace the convolutions of a network that are such products; return how many there were.

    What is left of the network predicts as before, but for rounding; its weights have other names.
    """

    def separated(child: nn.Module) -> nn.Module | None:
        if isinstance(child, nn.Conv3d) and (parts := _parts(child)) is not None:
            return _separated(child, *parts)
        return None

    return _replace(network, separated)


def multiply_out(network: nn.Module) -> int:
    """Replace such convolutions of a network by the dense ones that do the same; return how many.

    For devices on which those take less time than the two; the products are made in float32.
    """

    def multiplied(child: nn.Module) -> nn.Module | None:
        return _multiplied(child) if isinstance(child, SeparableConv) else None

    return _replace(network, multiplied)


def _replace(network: nn.Module, other: Callable[[nn.Module], nn.Module | None]) -> int:
    """Put what `other` makes of a module of a network in its place, None: it stays; return how many
    were replaced.
    """
    found = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            new = other(child)
            if new is not None:
                setattr(module, name, new)
                found += 1
    return found


def _multiplied(conv: SeparableConv) -> nn.Conv3d:
    dense = nn.Conv3d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
        bias=conv.point.bias is not None, device=conv.point.weight.device,
    )  # fmt: skip
    with torch.no_grad():
        dense.weight.copy_(conv.point.weight.float() * conv.depth.weight[:, 0].float())
        if conv.point.bias is not None and dense.bias is not None:
            dense.bias.copy_(conv.point.bias)
    return dense


def _parts(conv: nn.Conv3d) -> tuple[Tensor, Tensor] | None:
    """Return weights (I, T) and (O, I) whose product a convolution's are; None if there is none."""
    dense = conv.groups == 1 and max(conv.kernel_size) > 1 and conv.out_channels > 1
    if not dense or max(conv.dilation) > 1 or not isinstance(conv.padding, tuple):
        return None
    weights = conv.weight.detach().float().flatten(2)  # (O, I, T)
    if product_of(weights[:, :FEW]) is None:
        return None
    return product_of(weights)


def product_of(weights: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return d (I, T) and p (O, I) so that weights (O, I, T) are p d, as far as that can be.

    Examples
    --------
    >>> p, d = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    >>> found = product_of(p[:, :, None] * d)
    >>> torch.allclose(found[1][:, :, None] * found[0], p[:, :, None] * d)
    True
    >>> product_of(torch.eye(4).view(4, 1, 4)) is None
    True
    """
    strongest = weights.square().sum(dim=2).argmax(dim=0)  # (I,)
    depth = weights[strongest, torch.arange(weights.shape[1])]  # (I, T)
    for _ in range(TURNS):
        point = _fitted(weights, depth[None], dim=2)  # (O, I)
        depth = _fitted(weights, point[:, :, None], dim=0)  # (I, T)
    left = weights - point[:, :, None] * depth
    if left.norm() > ROUNDING * weights.norm():
        return None
    return depth, point


def _fitted(weights: Tensor, known: Tensor, dim: int) -> Tensor:
    """Return the factor that with the known one comes nearest to the weights (O, I, T)."""
    return (weights * known).sum(dim=dim) / known.square().sum(dim=dim).clamp_min(1e-30)
