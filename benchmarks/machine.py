"""What this machine could do at best: bytes and operations a second, measured now.

A stage that takes ten times as long as its bytes or its operations would need has something to
gain; one that takes twice as long has not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

COPIED = 256 * 2**20
"""Bytes copied at a time; far more than caches hold."""

SIDE = 2048
"""Of the square matrices multiplied."""

REPEATS = 5


@dataclass(frozen=True)
class Machine:
    """The limits."""

    bytes_per_s: float
    """Read and written together, by copying."""
    flops: float
    """Operations a second in a product of large matrices."""

    def seconds(self, *, moved: float = 0.0, operations: float = 0.0) -> float:
        """Return the least time for so many bytes and operations: the slower of the two."""
        return max(moved / self.bytes_per_s, operations / self.flops)


def measure(dtype: torch.dtype) -> Machine:
    """Return what the machine does now, with torch's threads: the best of a few tries."""
    source, target = torch.zeros(COPIED, dtype=torch.uint8), torch.ones(COPIED, dtype=torch.uint8)
    a = torch.randn(SIDE, SIDE).to(dtype)
    copied = _fastest(lambda: target.copy_(source))
    multiplied = _fastest(lambda: a @ a)
    return Machine(2 * COPIED / copied, 2 * SIDE**3 / multiplied)


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def operations(network: nn.Module, patch: Sequence[int]) -> float:
    """Return the operations of a network's convolutions on one tile; the network is on `meta`."""
    total = 0.0

    def count(module: nn.Module, _: tuple[Tensor, ...], found: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
        each = prod(module.kernel_size) * module.in_channels // module.groups
        if isinstance(module, nn.ConvTranspose3d):  # each voxel of the result reads one place
            each //= prod(module.stride)
        total += 2.0 * each * found.numel()

    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                hooks.callback(module.register_forward_hook(count).remove)
        dtype = next(network.parameters()).dtype
        network.eval()(torch.empty(1, 1, *patch, device="meta", dtype=dtype))
    return total
