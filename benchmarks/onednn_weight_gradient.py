"""Where oneDNN's bf16 weight gradient goes wrong on CPUs: why patches have a least depth.

    python benchmarks/onednn_weight_gradient.py

Prints, for feature maps of several depths, the largest relative difference between the weight
gradient of a 3 x 3 x 3 convolution in bf16 and in float32. About 2e-3 is rounding. On a CPU with
AVX512-BF16 and torch 2.13, depth 2 gives numbers of any size, because memory nobody wrote is read;
the training configuration therefore refuses such patches (`flare_core.train.config.LEAST_DEPTH`).
"""

from __future__ import annotations

import torch
from torch.nn import functional

CHANNELS = 160
SHAPES = ((2, 3, 3), (2, 4, 4), (3, 3, 3), (4, 3, 3), (3, 4, 5), (6, 4, 5))
REPEATS = 10


def main() -> None:
    """Print one line for each shape."""
    for shape in SHAPES:
        worst = max(difference(shape) for _ in range(REPEATS))
        verdict = "ok" if worst < 0.05 else "WRONG"
        print(f"depth {shape[0]}, {shape[1]} x {shape[2]}: {worst:.2g} {verdict}")


def difference(shape: tuple[int, int, int]) -> float:
    """Return the relative difference of the two weight gradients."""
    dirt = torch.full((3_000_000,), 1e30)  # freed at once, so that unwritten memory shows
    del dirt
    x = torch.randn(1, CHANNELS, *shape).bfloat16().to(memory_format=torch.channels_last_3d)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, 3).mul_(0.02).bfloat16()
    low = weight.to(memory_format=torch.channels_last_3d).requires_grad_()
    high = weight.float().requires_grad_()
    y = functional.conv3d(x, low, padding=1)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    functional.conv3d(x.float(), high, padding=1).backward(gradient.float())
    assert low.grad is not None and high.grad is not None
    away = (low.grad.float() - high.grad).norm() / high.grad.norm()
    return float(away.nan_to_num(nan=float("inf")))


if __name__ == "__main__":
    main()
