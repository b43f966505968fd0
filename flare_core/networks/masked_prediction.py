"""Prediction of a masked residual U-Net on a CPU: what the organ does not reach is not computed.

The results are those of the modules called one after the other, but for rounding:

1. On the way down features are 0 but around the organ: they are computed there alone, in bricks.
2. On the way up a block reads what was skipped, of which the same is true, beside what comes up
   from below, which is 0 hardly anywhere. A convolution of both is the sum of two: one in bricks,
   the other before voxels are repeated (`risen`).
3. A norm needs the moments of the whole image: they are gathered from its parts, and what is
   normalised is written over what was not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.networks.bricks import Crew, Field, Slices, Support, coarser
from flare_core.networks.masked_blocks import (
    BackgroundNorm,
    MaskedBlock,
    MaskedStage,
    Moments,
    moments,
    pooled,
)
from flare_core.networks.risen import RisenConvolution
from flare_core.networks.slabs import LAST, can_stream, convolution, thickness

if TYPE_CHECKING:
    from flare_core.models.stage_card import Triple

ONE: Triple = (1, 1, 1)


class Network(Protocol):
    """What is read of a `MaskedResidualUNet`."""

    strides: tuple[Triple, ...]
    downs: nn.ModuleList
    ups: nn.ModuleList
    norm: BackgroundNorm
    head: nn.Conv3d


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution."""

    shape: Triple
    """Voxels z, y, x."""
    border: Triple
    """How far a convolution reaches."""
    counted: Tensor
    """Voxels that norms divide by, float32 ()."""
    near: Sequence[Slices]
    """Bricks that hold what there is on the way down."""
    wide: Sequence[Slices]
    """Those that also hold what the first convolution on the way up makes of it."""

    @property
    def everywhere(self) -> Level:
        """Return the same level for an image that is nowhere 0."""
        z, y, x = self.shape
        rows = torch.zeros(z, y)
        bricks = Support(rows, rows + x, x).bricks(ONE)
        return replace(self, near=bricks, wide=bricks)


@dataclass(frozen=True, eq=False)
class Features:
    """What a stage makes on the way down, 0 outside of the level's bricks."""

    field: Field
    """Of all channels, not normalised."""
    parts: Sequence[Moments]
    """Their moments, brick by brick."""
    spare: Field | None = None
    """Memory that is no longer needed, with as many channels as are inside the block."""


@dataclass(frozen=True, eq=False)
class Risen:
    """What a stage makes on the way up, 0 nowhere."""

    image: Tensor
    """All channels (1, C, Z, Y, X), not normalised; perhaps the first of more."""
    parts: Sequence[Moments]
    """Their moments, slab by slab."""


def can_predict(x: Tensor, strides: Iterable[Triple]) -> bool:
    """Whether `predict` does images (B, C, Z, Y, X) like this: its levels fit into one another."""
    whole = (math.prod(axis) for axis in zip(*strides, strict=True))
    return can_stream(x) and all(n % w == 0 for n, w in zip(x.shape[2:], whole, strict=True))


def predict(network: Network, x: Tensor, counted: Tensor) -> Tensor:
    """Return logits (1, K, Z, Y, X).

    Parameters
    ----------
    x : Tensor (1, C, Z, Y, X)
        Zeros around the organ.
    counted : Tensor ()
        Voxels that norms divide by at the finest level.
    """
    strides = network.strides
    if strides[0] != ONE:
        x = functional.max_pool3d(x, strides[0])
    levels = _levels(network, x, counted / math.prod(strides[0]))
    with Crew(torch.get_num_threads()) as crew:
        found, skipped = _begun(x, levels[0]), []
        for s, (stage, level) in enumerate(zip(_stages(network.downs), levels, strict=True)):
            if s:
                found = _pooled(crew, found, strides[s], levels[s - 1], level)
            for block in stage.blocks:
                found = _block(crew, block, found, level)
            skipped.append(found)
        risen = _dense(skipped.pop(), levels[-1])
        for s, stage in zip(reversed(range(len(levels) - 1)), _stages(network.ups), strict=True):
            risen = _up(crew, stage, skipped.pop(), risen, (strides[s + 1], levels[s]))
        return _logits(crew, network, risen, levels[0])


def _stages(modules: nn.ModuleList) -> Sequence[MaskedStage]:
    """Return the stages of a list, whose type does not say what it holds."""
    return cast("Sequence[MaskedStage]", modules)


def _levels(network: Network, x: Tensor, counted: Tensor) -> list[Level]:
    """Return the levels, from where an image is not 0."""
    support, levels = Support.of(x), []
    for s, stage in enumerate(_stages(network.downs)):
        if s:
            stride = network.strides[s]
            support, counted = support.pooled(stride), counted / math.prod(stride)
        for block in stage.blocks:
            for conv in (block.conv1, block.conv2):
                support = support.grown(_half(conv))
        finer = network.strides[s + 1] if s + 1 < len(network.strides) else ONE
        border = _half(stage.blocks[0].conv2)
        near, wide = (each.bricks(finer) for each in (support, support.grown(border)))
        levels.append(Level(support.shape, border, counted, near, wide))
    return levels if levels[0].near else [level.everywhere for level in levels]


def _begun(x: Tensor, level: Level) -> Features:
    """Return an image (1, C, Z, Y, X) as features whose moments nobody has asked for."""
    field = Field(x, x.shape[1], level.shape, level.border, level.near)
    for brick in level.near:
        inside = (..., *brick)
        field.at(brick).copy_(x[inside])
    return Features(field, ())


def _pooled(crew: Crew, finer: Features, stride: Triple, above: Level, level: Level) -> Features:
    """Return features on the next level."""
    field = Field(finer.field.memory, finer.field.channels, level.shape, level.border, level.near)

    def pool(brick: Slices) -> Moments:
        most = functional.max_pool3d(_packed(finer.field.at(brick)), stride)
        field.at(coarser(brick, stride)).copy_(most)
        return moments(most)

    return Features(field, crew.each(pool, above.near))


def _block(crew: Crew, block: MaskedBlock, before: Features, level: Level) -> Features:
    """Return what a block makes; what it read is written over."""
    source, like = before.field, before.field.memory
    result = Field(like, block.conv2.out_channels, level.shape, level.border, level.wide)
    inner = Field(like, block.conv1.out_channels, level.shape, level.border, level.near)
    scale = None if block.norm1 is None else pooled(before.parts, level.counted)

    def begin(brick: Slices) -> None:
        part = _packed(source.at(brick))
        result.at(brick).copy_(part if block.skip is None else convolution(part, block.skip.weight))
        if block.norm1 is not None and scale is not None:
            source.at(brick).copy_(block.norm1.applied(part, *scale))

    def first(brick: Slices) -> Moments:
        found = _convolved(source, brick, block.conv1)
        inner.at(brick).copy_(found)
        return moments(found)

    def second(brick: Slices) -> Moments:
        found = _convolved(inner, brick, block.conv2).add_(result.at(brick))
        result.at(brick).copy_(found)
        return moments(found)

    crew.each(begin, level.near)
    parts = crew.each(first, level.near)
    _normalise(crew, inner, block.norm2, pooled(parts, level.counted), level)
    return Features(result, crew.each(second, level.near), inner)


def _normalise(
    crew: Crew, field: Field, norm: BackgroundNorm, scale: tuple[Tensor, Tensor], level: Level
) -> None:
    """Normalise features in place."""

    def change(brick: Slices) -> None:
        field.at(brick).copy_(norm.applied(_packed(field.at(brick)), *scale))

    crew.each(change, level.near)


def _up(
    crew: Crew, stage: MaskedStage, beside: Features, below: Risen, place: tuple[Triple, Level]
) -> Risen:
    """Return what a stage makes of what was skipped, which is written over, and of the level below.

    Parameters
    ----------
    place : (int, int, int), Level
        How often the voxels from below are repeated, and the level they rise to.
    """
    first, *others = stage.blocks
    found = _Join(crew, first, beside, below, *place).result()
    level = place[1].everywhere
    for block in others:
        features = replace(_begun(found.image, level), parts=found.parts)
        found = _dense(_block(crew, block, features, level), level)
    return found


def _dense(features: Features, level: Level) -> Risen:
    """Return features as an image that may be other than 0 anywhere."""
    z, y, x = (slice(0, n) for n in level.shape)
    return Risen(_packed(features.field.at((z, y, x))), features.parts)


class _Join:
    """The block that reads two levels."""

    def __init__(
        self,
        crew: Crew,
        block: MaskedBlock,
        beside: Features,
        below: Risen,
        stride: Triple,
        level: Level,
    ) -> None:
        assert block.norm1 is not None and block.skip is not None
        self._crew, self._block, self._norm, self._level = crew, block, block.norm1, level
        self._beside, self._below, self._stride = beside, below, stride
        channels = beside.field.channels
        parts = [
            [_packed(conv.weight[:, cut]) for conv in (block.conv1, block.skip)]
            for cut in (slice(0, channels), slice(channels, None))
        ]
        (self._weight, self._skip), (weight, self._skip_below) = parts
        self._risen = RisenConvolution(weight, stride)

    def result(self) -> Risen:
        """Return the block's features."""
        block, like, shape = self._block, self._below.image, self._level.shape
        inner = _room(like, block.conv1.out_channels, shape)
        repeated = self._from_below(inner)
        past = self._from_beside(inner)
        slabs = _slabs(inner, self._stride[0])
        parts = self._crew.each(lambda slab: moments(inner[:, :, slab]), slabs)
        scale = pooled(parts, self._level.counted)
        after = block.conv2.out_channels
        fits = after <= inner.shape[1]  # a slab is written when it has been read
        result = inner[:, :after] if fits else _room(like, after, shape)

        def finish(slab: slice) -> Moments:
            part = block.norm2.applied(inner[:, :, slab], *scale)
            found = convolution(part, block.conv2.weight, padding=_half(block.conv2))
            self._add_repeated(repeated, slab, found)
            self._add_bricks(past, slab, found)
            result[:, :, slab] = found
            return moments(found)

        return Risen(result, self._crew.each(finish, slabs))

    def _from_below(self, inner: Tensor) -> Tensor:
        """Write the first convolution of the coarse features; return what goes past it: coarse,
        but each voxel as often along x as it is repeated.
        """
        coarse, counted = self._below.image, self._level.counted / math.prod(self._stride)
        scale = [each[-coarse.shape[1] :] for each in pooled(self._below.parts, counted)]
        depth, height, width = coarse.shape[2:]
        slabs = [(slab, slice(0, height), slice(0, width)) for slab in _slabs(coarse, 1)]
        field = Field(coarse, coarse.shape[1], (depth, height, width), self._risen.border, slabs)

        def begin(slab: Slices) -> Tensor:
            inside = (..., *slab)
            part = _packed(coarse[inside])
            field.at(slab).copy_(self._norm.applied(part, *scale))
            return convolution(part, self._skip_below).repeat_interleave(self._stride[2], dim=4)

        past = torch.cat(self._crew.each(begin, slabs), dim=2)
        last, step = depth + self._risen.windows, max(1, thickness(inner) // self._stride[0])
        steps = [slice(start, min(start + step, last)) for start in range(0, last, step)]
        self._crew.each(lambda few: self._risen.write(field.memory, few, inner), steps)
        return _packed(past)

    def _from_beside(self, inner: Tensor) -> Field:
        """Add the first convolution of what was skipped; return what goes past it."""
        field, level, reach = self._beside.field, self._level, _half(self._block.conv1)
        past = self._beside.spare
        if past is None or past.channels != self._skip.shape[0]:
            past = Field(inner, self._skip.shape[0], level.shape, (0, 0, 0), ())
        scale = pooled(self._beside.parts, level.counted)

        def begin(brick: Slices) -> None:
            part = _packed(field.at(brick))
            past.at(brick).copy_(convolution(part, self._skip))
            field.at(brick).copy_(self._norm.applied(part, *scale))

        def add(brick: Slices) -> None:
            part = _packed(field.around(brick, reach))
            place = (..., *brick)
            inner[place] += convolution(part, self._weight)

        self._crew.each(begin, level.near)
        self._crew.each(add, level.wide)
        return past

    def _add_repeated(self, coarse: Tensor, slab: slice, out: Tensor) -> None:
        """Add every coarse voxel to those of a slab (1, C, Z', Y', X') that it became."""
        z, y, _ = self._stride
        part = coarse[:, :, slab.start // z : slab.stop // z].permute(0, 2, 3, 4, 1)
        _, d, h, w, c = part.shape
        rows = out.permute(0, 2, 3, 4, 1).view(d, z, h, y, w * c)
        rows.add_(part.reshape(d, 1, h, 1, w * c))

    def _add_bricks(self, past: Field, slab: slice, out: Tensor) -> None:
        """Add to a slab (1, C, Z', Y', X') what there is in it of an image of bricks."""
        for z, y, x in self._level.near:
            low, high = max(z.start, slab.start), min(z.stop, slab.stop)
            if low < high:
                part = past.at((slice(low, high), y, x))
                out[:, :, low - slab.start : high - slab.start, y, x] += part


def _logits(crew: Crew, network: Network, risen: Risen, level: Level) -> Tensor:
    """Return logits (1, K, Z, Y, X)."""
    norm, head, scale = network.norm, network.head, pooled(risen.parts, level.counted)

    def tell(slab: slice) -> Tensor:
        part = norm.applied(_packed(risen.image[:, :, slab]), *scale, relative=False)
        return convolution(part, head.weight, head.bias)

    return torch.cat(crew.each(tell, _slabs(risen.image, 1)), dim=2)


def _convolved(field: Field, brick: Slices, conv: nn.Conv3d) -> Tensor:
    """Return a convolution's result in a brick."""
    return convolution(_packed(field.around(brick, _half(conv))), conv.weight)


def _half(conv: nn.Conv3d) -> Triple:
    """Return how far a convolution reaches."""
    z, y, x = (int(k) // 2 for k in conv.kernel_size)
    return z, y, x


def _packed(part: Tensor) -> Tensor:
    """Return a part of an image as one of its own: kernels take others apart first."""
    return part.contiguous(memory_format=LAST)


def _room(like: Tensor, channels: int, shape: Sequence[int]) -> Tensor:
    """Return uninitialised memory for one channels-last image."""
    return torch.empty((1, channels, *shape), dtype=like.dtype, memory_format=LAST)


def _slabs(image: Tensor, multiple: int) -> list[slice]:
    """Return slices of an image that are worked on at a time, so many or a multiple of them."""
    step, depth = max(1, thickness(image) // multiple) * multiple, image.shape[2]
    return [slice(start, min(start + step, depth)) for start in range(0, depth, step)]
