"""PHTrans: a U-Net whose coarse stages convolve and attend in windows side by side.

Source: Liu et al. 2022, "PHTrans: Parallelly Hybridizing Global and Local Representations for
Medical Image Segmentation" (MICCAI); used two-stage by lseventeen (FLARE22) and for the region by
hmi306 (FLARE23). The first two stages are plain convolutions; below them, each block adds what a
convolution sees to what shifted-window attention sees (Liu et al. 2021, Swin).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.blocks import ONE, ConvBlock, ConvStack, initialise
from flare_core.networks.decoder import decoded

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec, Triple

CONVOLUTIONAL = 2
"""Finest stages without attention."""
WINDOW = 4
"""Edge of a window, voxels of the stage."""
HEADS = 4
"""Attention heads; fewer where the channels cannot be divided so."""


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learnt bias for each relative position."""

    places: Tensor
    """Which bias belongs to two voxels of a window (N, N)."""

    def __init__(self, channels: int, *, shifted: bool) -> None:
        super().__init__()
        self.heads = next(h for h in range(HEADS, 0, -1) if channels % h == 0)
        self.shift = WINDOW // 2 if shifted else 0
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(self.heads, (2 * WINDOW - 1) ** 3))
        self.register_buffer("places", _relative_places(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Z, Y, X, C) to the same shape."""
        size = x.shape[1:4]
        padded = [-(-n // WINDOW) * WINDOW for n in size]
        y = functional.pad(self.norm(x), [0, 0] + [
            v for n, p in zip(reversed(size), reversed(padded), strict=True) for v in (0, p - n)
        ])  # fmt: skip
        shifts = [self.shift if p > WINDOW else 0 for p in padded]
        if any(shifts):
            y = y.roll([-s for s in shifts], (1, 2, 3))
        mask = _window_mask(tuple(size), tuple(padded), tuple(shifts), x.device)
        y = self._attend(_windows(y), mask)
        y = _unwindowed(y, len(x), padded)
        if any(shifts):
            y = y.roll(shifts, (1, 2, 3))
        return y[:, : size[0], : size[1], : size[2]]

    def _attend(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Map (B * W, N, C) to the same shape; `mask` (W, N, N) says who sees whom."""
        count, tokens, channels = windows.shape
        parts = self.qkv(windows).view(count, tokens, 3, self.heads, channels // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # 3 x (B * W, H, N, C / H)
        bias = self.bias[:, self.places].to(q.dtype)  # (H, N, N)
        hidden = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -1e4)
        weights = bias + hidden.unsqueeze(1)  # (W, H, N, N)
        weights = weights.repeat(count // len(mask), 1, 1, 1)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=weights)
        return self.out(y.transpose(1, 2).reshape(count, tokens, channels))


class ParallelBlock(nn.Module):
    """A convolution and a transformer block on the same image, added."""

    def __init__(self, channels: int, kernel: Triple, spec: NetworkSpec, *, shifted: bool) -> None:
        super().__init__()
        self.conv = ConvBlock((channels, channels), kernel, ONE, spec)
        self.attention = WindowAttention(channels, shifted=shifted)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the same shape."""
        y = x.permute(0, 2, 3, 4, 1)  # (B, Z, Y, X, C)
        y = y + self.attention(y)
        y = y + self.mlp(y)
        return self.conv(x) + y.permute(0, 4, 1, 2, 3)


class PHTrans(nn.Module):
    """Encoder and decoder of the same stages; depth by `convolutions_per_stage_*`."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths, strides, kernels = spec.features_per_stage, spec.strides, spec.kernel_sizes
        into = (spec.input_channels, *widths)
        last = len(widths) - 1
        self.encoder = nn.ModuleList(
            _stage(s, count, (into[s], widths[s]), kernels[s], strides[s], spec)
            for s, count in enumerate(spec.convolutions_per_stage_encoder)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(widths[s + 1], widths[s], strides[s + 1], strides[s + 1])
            for s in range(last - 1, -1, -1)
        )
        self.decoder = nn.ModuleList(
            _stage(s, count, (2 * widths[s], widths[s]), kernels[s], ONE, spec)
            for s, count in zip(
                range(last - 1, -1, -1), spec.convolutions_per_stage_decoder, strict=True
            )
        )
        self.seg_layers = nn.ModuleList(
            nn.Conv3d(widths[s], spec.output_channels, 1) for s in range(last - 1, -1, -1)
        )
        self.deep_supervision = spec.deep_supervision
        initialise(list(self.modules()), spec.negative_slope)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map (B, C, Z, Y, X) to logits (B, K, Z, Y, X); a list, finest first, if supervised."""
        features = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        levels = zip(self.ups, self.decoder, self.seg_layers, strict=True)
        return decoded(features, levels, supervised=self.deep_supervision and self.training)


def _stage(
    place: int,
    count: int,
    channels: tuple[int, int],
    kernel: Triple,
    stride: Triple,
    spec: NetworkSpec,
) -> nn.Module:
    """Return the blocks of a stage, 0 the finest; the first changes channels and resolution."""
    if place < CONVOLUTIONAL:
        return ConvStack(count, channels, kernel, stride, spec)
    first = ConvBlock(channels, kernel, stride, spec)
    blocks = [ParallelBlock(channels[1], kernel, spec, shifted=i % 2 == 1) for i in range(count)]
    return nn.Sequential(first, *blocks)


def _windows(x: Tensor) -> Tensor:
    """Map (B, Z, Y, X, C) to (B * W, N, C), N the voxels of a window."""
    b, z, y, w, c = x.shape
    n = WINDOW
    x = x.view(b, z // n, n, y // n, n, w // n, n, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, n**3, c)


def _unwindowed(x: Tensor, batch: int, size: list[int]) -> Tensor:
    """The inverse of `_windows`."""
    n = WINDOW
    z, y, w = (s // n for s in size)
    x = x.view(batch, z, y, w, n, n, n, -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, *size, -1)


def _relative_places() -> Tensor:
    """Index into the biases for each pair of a window's voxels (N, N)."""
    axis = torch.arange(WINDOW)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)  # (3, N)
    apart = points[:, :, None] - points[:, None, :] + WINDOW - 1  # (3, N, N)
    edge = 2 * WINDOW - 1
    return (apart[0] * edge + apart[1]) * edge + apart[2]


def _window_mask(
    size: tuple[int, ...], padded: tuple[int, ...], shifts: tuple[int, ...], device: torch.device
) -> Tensor:
    """Who sees whom (W, N, N): only voxels that are neighbours in space, and never the padding."""
    region = torch.zeros(padded, dtype=torch.int64, device=device)
    region[: size[0], : size[1], : size[2]] = 1
    if any(shifts):
        region = region.roll([-s for s in shifts], (0, 1, 2))
        for axis, shift in enumerate(shifts):
            if shift:  # what came round from the other end is no neighbour
                shape = [1, 1, 1]
                shape[axis] = padded[axis]
                wrapped = torch.arange(padded[axis], device=device) >= padded[axis] - shift
                region = region + (region > 0) * wrapped.view(shape) * 2 ** (axis + 1)
    ids = _windows(region[None, ..., None]).view(prod(p // WINDOW for p in padded), -1)
    same = ids[:, :, None] == ids[:, None, :]
    return same & (ids[:, None, :] > 0) | torch.eye(WINDOW**3, dtype=torch.bool, device=device)
