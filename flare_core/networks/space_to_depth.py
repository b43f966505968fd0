"""Run a network on folded blocks of voxels: its first, dearest level works at a coarser grid.

Blocks of (z, y, x) voxels become channels before the network and logits are unfolded behind it
(Shi et al. 2016 for the unfolding). Nothing is thrown away, and a CPU is spared the level where
most of a U-Net's time goes.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from flare_core.models.stage_card import NetworkSpec, Triple


def fold(x: Tensor, block: Triple) -> Tensor:
    """Map (B, C, Z, Y, X) to (B, block * C, Z / bz, Y / by, X / bx), voxel of the block first."""
    b, c, z, y, w = x.shape
    bz, by, bx = block
    x = x.reshape(b, c, z // bz, bz, y // by, by, w // bx, bx)
    x = x.permute(0, 3, 5, 7, 1, 2, 4, 6)  # (B, bz, by, bx, C, Z', Y', X')
    return x.reshape(b, c * prod(block), z // bz, y // by, w // bx)


def unfold(x: Tensor, block: Triple) -> Tensor:
    """Map (B, block * C, Z, Y, X) to (B, C, Z * bz, Y * by, X * bx); the inverse of `fold`."""
    b, c, z, y, w = x.shape
    bz, by, bx = block
    x = x.reshape(b, bz, by, bx, c // prod(block), z, y, w)
    x = x.permute(0, 4, 5, 1, 6, 2, 7, 3)  # (B, C, Z, bz, Y, by, X, bx)
    return x.reshape(b, c // prod(block), z * bz, y * by, w * bx)


def blocks_along_x(x: Tensor, block: Triple) -> Tensor:
    """Map (B, block * C, Z, Y, X) to (B, C, Z, Y, X * block): `unfold` without moving memory.

    The voxels of a block lie side by side along x. Losses do not ask where a voxel is, so they can
    read logits and labels in this order; for channels-last tensors it is a view.
    """
    b, c, z, y, w = x.shape
    n = prod(block)
    rows = x.permute(0, 2, 3, 4, 1).reshape(b, z, y, w * n, c // n)
    return rows.permute(0, 4, 1, 2, 3)


class SpaceToDepthNet(nn.Module):
    """`fold`, a network, `unfold`.

    While training, logits come in the order of `blocks_along_x`; bring the labels into the same
    order with ``blocks_along_x(fold(labels, block), block)``.
    """

    def __init__(self, network: Callable[[NetworkSpec], nn.Module], spec: NetworkSpec) -> None:
        super().__init__()
        factor = prod(spec.space_to_depth)
        self.block = spec.space_to_depth
        self.network = network(
            replace(
                spec,
                input_channels=spec.input_channels * factor,
                output_channels=spec.output_channels * factor,
            )
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X), sizes divisible by block and strides, to logits of that size."""
        folded = fold(x, self.block).contiguous(memory_format=layout_of(x))
        y = self.network(folded)
        place = blocks_along_x if self.training else unfold
        if isinstance(y, list):
            return [place(level, self.block) for level in y]
        return place(y, self.block)


def layout_of(x: Tensor) -> torch.memory_format:
    """Return the layout that convolutions like best where `x` lives (facts: 4 to 14 times)."""
    return torch.channels_last_3d if x.device.type == "cpu" else torch.contiguous_format
