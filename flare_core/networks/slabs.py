"""Prediction on a CPU, slab by slab: convolutions and norms in little memory, and in the cache.

An instance norm needs the mean of a whole channel, so a convolution's result has to be there before
any of it can be normalised. But it can be normalised right before the next convolution reads it:
here each convolution runs over slabs of slices, `Raw` results carry their moments, and a slab is
normalised in place on its way into the next convolution. One image of the finest level is then held
where there were four, no fresh memory is asked of the system for each step (which costs as much as
the arithmetic of a norm), and what a step reads is still in the cache. The results are those of the
modules called one after the other, but for the order of float32 sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

from flare_core.networks.normalisation import InstanceNorm, Moments, normalised
from flare_core.networks.separable import SeparableConv

Convolution = nn.Conv3d | SeparableConv

LAST = torch.channels_last_3d

SLAB_BYTES = 4 * 2**20
"""About as much of one image as is worked on at once; a few of these fit into a core's cache."""


class Source(Protocol):
    """What a convolution reads: an image (1, C, Z, Y, X), slices at a time, from low to high."""

    shape: tuple[int, int, int]
    """Z, Y, X."""

    def read(self, start: int, stop: int) -> tuple[Tensor, ...]:
        """Return slices (1, C, stop - start, Y, X), their channels perhaps in several tensors; may
        be overwritten by the next call.

        `start` never goes down, nor by more than one slab up.
        """
        ...


def can_stream(x: Tensor) -> bool:
    """Whether `x` (B, C, Z, Y, X) is one channels-last image on a CPU and no gradient is kept."""
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and len(x) == 1
        and x.is_contiguous(memory_format=LAST)
    )


class Ready:
    """An image as it is."""

    def __init__(self, image: Tensor) -> None:
        self.image = image
        z, y, x = image.shape[2:]
        self.shape = (z, y, x)

    def read(self, start: int, stop: int) -> tuple[Tensor]:
        """Return slices."""
        return (self.image[:, :, start:stop],)


class Raw:
    """A convolution's result that is normalised, in place, when it is read."""

    def __init__(self, image: Tensor, norm: InstanceNorm, moments: Moments) -> None:
        self.image = image
        z, y, x = image.shape[2:]
        self.shape = (z, y, x)
        self._norm = norm
        self._mean, self._variance = moments.pooled()
        self._done = 0

    def read(self, start: int, stop: int) -> tuple[Tensor]:
        """Return slices, normalised and activated."""
        if stop > self._done:
            part = self.image[:, :, self._done : stop]
            normalised(part, self._norm, self._mean, self._variance, out=part)
            self._done = stop
        return (self.image[:, :, start:stop],)

    def finished(self) -> Tensor:
        """Return the whole image, normalised."""
        for start in range(self._done, self.shape[0], n := thickness(self.image)):
            self.read(start, min(start + n, self.shape[0]))
        return self.image


class Joined:
    """What comes up from the level below, made when it is read, beside what was skipped."""

    def __init__(self, up: nn.Module, stride: int, below: Tensor, skip: Tensor) -> None:
        self.skip = skip
        z, y, x = skip.shape[2:]
        self.shape = (z, y, x)
        self._up = Raising(up) if can_raise(up) else _After(up)
        self._stride, self._below = stride, below
        self._held: Tensor | None = None
        self._from = self._to = 0

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return slices (1, C of below, ...) and (1, C of skip, ...); none is made twice."""
        if stop > self._to:  # all that comes up from a slice below, so that it comes up once
            self._extend(start, min(-(-stop // self._stride) * self._stride, self.shape[0]))
        return self._risen(start, stop), self.skip[:, :, start:stop]

    def _risen(self, start: int, stop: int) -> Tensor:
        assert self._held is not None
        return self._held[:, :, start - self._from : stop - self._from]

    def _extend(self, start: int, stop: int) -> None:
        """Hold slices from start to stop; those held already move to the front."""
        first = max(start, self._to)
        below = self._below[:, :, first // self._stride : -(-stop // self._stride)]
        kept = self._risen(start, self._to) if start < self._to else None
        self._held = self._up(below, kept)
        self._from, self._to = start - first % self._stride, stop


class _After:
    """What any module makes, behind the slices before it."""

    def __init__(self, up: nn.Module) -> None:
        self._up = up

    def __call__(self, x: Tensor, before: Tensor | None) -> Tensor:
        risen: Tensor = self._up(x)
        return risen if before is None else torch.cat((before, risen), dim=2)


class Raising:
    """A transposed convolution whose kernel is its stride: a point-wise one whose results are laid
    side by side. torch's own adds them one by one.
    """

    def __init__(self, up: nn.ConvTranspose3d) -> None:
        self._stride, self._channels = up.kernel_size, up.out_channels
        # (I, O, z, y, x): places first, so that those along x lie side by side with their channels
        weight = up.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        self._weight = weight[..., None, None, None].contiguous(memory_format=LAST)
        self._bias = None if up.bias is None else up.bias.repeat(math.prod(up.kernel_size))

    def __call__(self, x: Tensor, before: Tensor | None) -> Tensor:
        """Map channels-last (1, C, Z, Y, X) to (1, C', slices before + Z * stride, ...)."""
        (z, y, x_stride), (depth, height, width) = self._stride, x.shape[2:]
        found = convolution(x, self._weight, self._bias).permute(0, 2, 3, 4, 1)
        row = x_stride * self._channels
        old = 0 if before is None else before.shape[2]
        laid = _empty(x, (self._channels, old + depth * z, height * y, width * x_stride))
        if before is not None:
            laid[:, :, :old] = before
        places = laid[:, :, old:].permute(0, 2, 3, 4, 1).view(depth, z, height, y, width, row)
        places.copy_(found.reshape(depth, height, width, z, y, row).permute(0, 3, 1, 4, 2, 5))
        return laid


def can_raise(up: nn.Module) -> TypeGuard[nn.ConvTranspose3d]:
    """Whether `Raising` does what a module does."""
    return (
        isinstance(up, nn.ConvTranspose3d)
        and up.kernel_size == up.stride
        and set(up.padding) == set(up.output_padding) == {0}
        and set(up.dilation) == {up.groups} == {1}
    )


def convolve(
    conv: Convolution, norm: InstanceNorm, source: Source, *, into: Tensor | None = None
) -> Raw:
    """Return the result of a convolution, not yet normalised.

    Parameters
    ----------
    into : Tensor (1, C', Z', Y', X'), optional
        Where the result goes; may be the memory that `source` reads from if the convolution keeps
        the size: a slab is written when the next one has been read.
    """
    size = out_shape(conv, source.shape)
    late: tuple[slice, Tensor] | None = None
    moments = Moments()
    result = into
    for slices in _cut(conv, source.shape, size):
        slab = _convolved(conv, source, slices)
        moments.add(slab)
        if result is None:
            result = _empty(slab, (conv.out_channels, *size))
        if late is not None:
            result[:, :, late[0]] = late[1]
        late = slices, slab
    if result is None or late is None:
        raise ValueError("an image without slices")
    result[:, :, late[0]] = late[1]
    return Raw(result, norm, moments)


def run_blocks(
    blocks: Iterable[tuple[Convolution, InstanceNorm]],
    source: Source,
    *,
    into: Tensor | None = None,
) -> Raw:
    """Return the result of convolutions and norms one after the other, the last norm outstanding.

    Parameters
    ----------
    into : Tensor, optional
        For the first convolution's result, as in `convolve`.
    """
    result: Raw | None = None
    for conv, norm in blocks:
        if result is not None:
            source, into = result, result.image if _keeps_size(conv) else None
        result = convolve(conv, norm, source, into=into)
    if result is None:
        raise ValueError("no blocks")
    return result


def add_and_activate(main: Raw, beside: Source, slope: float) -> Tensor:
    """Return leaky ReLU of the sum of a block's two branches, in the memory of `main`."""
    depth = main.shape[0]
    for start in range(0, depth, n := thickness(main.image)):
        stop = min(start + n, depth)
        (total,), parts = main.read(start, stop), beside.read(start, stop)
        total.add_(_as_one(parts))
        nn.functional.leaky_relu(total, slope, inplace=True)
    return main.image


def can_tell(head: nn.Module, x: Tensor) -> TypeGuard[nn.Conv3d]:
    """Whether `tell` does this head on these features."""
    return (
        can_stream(x)
        and isinstance(head, nn.Conv3d)
        and set(head.kernel_size) == set(head.stride) == {1}
        and head.groups == 1
        and head.out_channels <= head.in_channels
    )


def tell(head: nn.Conv3d, x: Tensor) -> Tensor:
    """Return logits (1, K, Z, Y, X), channels-last: they are written over the features that they
    are of, side by side from the beginning of their memory.

    Fresh memory for the finest level's logits would cost as much as the convolution. A voxel has no
    more logits than features, so none are written over a slab that has not been read.
    """
    depth, height, width = x.shape[2:]
    few, row = head.out_channels, width * head.out_channels
    strides = (depth * height * row, 1, height * row, row, few)
    logits = x.as_strided((1, few, depth, height, width), strides)
    for start in range(0, depth, n := thickness(x)):
        part = slice(start, start + n)
        logits[:, :, part] = convolution(x[:, :, part], head.weight, head.bias)
    return logits


def thickness(image: Tensor) -> int:
    """Return the slices of a slab of an image (1, C, Z, Y, X)."""
    return max(1, SLAB_BYTES // max(1, image[:, :, :1].numel() * image.element_size()))


def convolution(
    part: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: tuple[int, ...] = (0, 0, 0),
    stride: tuple[int, ...] = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """Return a convolution of a part of an image (1, C, Z, Y, X), by the fastest kernel for it."""
    if torch.backends.mkldnn.is_available() and _has_kernel(part.dtype):
        # conv3d itself gives slabs of few float32 voxels to a kernel that is ten times slower
        return torch.mkldnn_convolution(part, weight, bias, padding, stride, (1, 1, 1), groups)
    return nn.functional.conv3d(part, weight, bias, stride, padding, 1, groups)


def out_shape(conv: Convolution, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the size (Z', Y', X') of a convolution's result."""
    z, y, x = (
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(shape, _padding(conv), conv.kernel_size, conv.stride, strict=True)
    )
    return z, y, x


def _cut(conv: Convolution, shape: tuple[int, int, int], size: tuple[int, int, int]) -> list[slice]:
    """Return slabs of the result so that neither what is read nor what is written is large."""
    width = next(conv.parameters()).element_size()
    written = conv.out_channels * size[1] * size[2] * width
    read = conv.in_channels * shape[1] * shape[2] * width * conv.stride[0]
    n = max(1, conv.kernel_size[0] - 1, SLAB_BYTES // max(1, written, read))
    return [slice(start, min(start + n, size[0])) for start in range(0, size[0], n)]


def _convolved(conv: Convolution, source: Source, slices: slice) -> Tensor:
    """Return some slices of a convolution's result, channels-last."""
    kernel, stride, border = conv.kernel_size[0], conv.stride[0], _padding(conv)[0]
    depth = source.shape[0]
    first = slices.start * stride - border
    stop = (slices.stop - 1) * stride - border + kernel
    parts = source.read(max(0, first), min(stop, depth))
    if first < 0 or stop > depth:
        parts = tuple(_bordered(p, max(0, -first), max(0, stop - depth)) for p in parts)
    if isinstance(conv, SeparableConv):
        found = _separately(conv, parts)
    else:
        found = _run(conv, _as_one(parts))
    return found.contiguous(memory_format=LAST)


def _separately(conv: SeparableConv, parts: Sequence[Tensor]) -> Tensor:
    """Return a separable convolution of slices: a sum over groups of channels, which are joined
    nowhere. Of several, each but the first is rounded once more.
    """
    bias, total, first = conv.point.bias, None, 0
    for part in parts:
        here = slice(first, first + part.shape[1])
        deep = _as_last(_run(conv.depth, part, conv.depth.weight[here]))
        found = convolution(deep, conv.point.weight[:, here], bias if total is None else None)
        total = found if total is None else total.add_(found)
        first = here.stop
    if total is None:
        raise ValueError("an image without channels")
    return total


def _run(conv: nn.Conv3d, part: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return a convolution of slices, their border along z being there already.

    Parameters
    ----------
    weight : Tensor, optional
        Of some channels alone, where each has a kernel of its own.
    """
    _, y, x = _padding(conv)
    bias, groups = conv.bias, conv.groups
    if weight is None:
        weight = conv.weight
    else:
        groups = len(weight)
    return convolution(part, weight, bias, padding=(0, y, x), stride=conv.stride, groups=groups)


def _as_one(parts: Sequence[Tensor]) -> Tensor:
    """Return groups of channels as one image."""
    if len(parts) == 1:
        return parts[0]
    whole = _empty(parts[0], (sum(p.shape[1] for p in parts), *parts[0].shape[2:]))
    first = 0
    for part in parts:
        whole[:, first : first + part.shape[1]] = part
        first += part.shape[1]
    return whole


def _as_last(part: Tensor) -> Tensor:
    """Return a part whose only channel, if it has but one, is told to be the last axis: its memory
    says neither, and what a convolution makes of it would lie channel by channel.
    """
    if part.shape[1] > 1 or not part.is_contiguous():
        return part
    batch, _, *others = part.stride()
    return part.as_strided(part.shape, (batch, 1, *others))


def _padding(conv: Convolution) -> tuple[int, int, int]:
    """Return the zeros at every border: their type allows a word, too."""
    z, y, x = (int(p) for p in conv.padding)
    return z, y, x


def _has_kernel(dtype: torch.dtype) -> bool:
    """Whether oneDNN convolves this type here: half ones need AVX-512, fp16 a late part of it."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype != torch.float16 or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def _bordered(part: Tensor, before: int, after: int) -> Tensor:
    """Return slices with some of zeros before and behind them."""
    channels, depth, *plane = part.shape[1:]
    whole = _empty(part, (channels, before + depth + after, *plane))
    whole[:, :, :before] = 0
    whole[:, :, before : before + depth] = part
    whole[:, :, before + depth :] = 0
    return whole


def _empty(like: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return uninitialised channels-last memory for one image (C, Z, Y, X)."""
    return torch.empty((1, *size), dtype=like.dtype, memory_format=LAST)


def _keeps_size(conv: Convolution) -> bool:
    return (
        conv.in_channels == conv.out_channels
        and set(conv.stride) == {1}
        and all(2 * p == k - 1 for p, k in zip(_padding(conv), conv.kernel_size, strict=True))
    )
