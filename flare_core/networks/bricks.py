"""Prediction on a CPU where most of an image is 0: in bricks, and only where there is something.

What a convolution without a bias makes of zeros is 0. An image that is 0 but for an organ is so
worked on in bricks around the organ alone, a few at a time, each of which fits into a core's cache.
In memory there is room for the whole image, but what no brick touches is never asked of the system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from flare_core.networks.slabs import LAST

if TYPE_CHECKING:
    from flare_core.models.stage_card import Triple

Item = TypeVar("Item")
Result = TypeVar("Result")

Slices = tuple[slice, slice, slice]
"""Voxels of an image along z, y, x."""

BRICK = (4, 16)
"""Slices and rows of a brick, at least. Smaller ones lie closer around an organ, and cost more for
what a convolution reads beside them."""

STEP = 16
"""A brick begins and ends at multiples of this along x, at least: for every new size oneDNN makes a
program of its own."""


class Crew:
    """Threads that share the parts of an image; each is all of torch's threads that it uses.

    They meet when all parts are done, without spinning: a busy machine makes nobody wait for long.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "brick") if threads > 1 else None

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return what `work` makes of every item, in their order."""
        if self._pool is None:
            return [work(item) for item in items]
        alone = partial(_alone, work, torch.is_inference_mode_enabled())
        return list(self._pool.map(alone, items))


def _alone(work: Callable[[Item], Result], inference: bool, item: Item) -> Result:
    """Work as the thread that waits for the result would, with one thread."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)  # of this thread alone
    with torch.inference_mode(inference), torch.no_grad():
        return work(item)


@dataclass(frozen=True, eq=False)
class Support:
    """Where an image (Z, Y, X) may be other than 0: in one stretch of each row."""

    first: Tensor
    """First voxel of each row, float32 (Z, Y); infinity where the row is empty."""
    stop: Tensor
    """The voxel behind its last one, float32 (Z, Y); minus infinity where it is empty."""
    width: int
    """X."""

    @property
    def shape(self) -> Triple:
        """Z, Y, X."""
        z, y = self.first.shape
        return z, y, self.width

    @classmethod
    def of(cls, image: Tensor) -> Support:
        """Return where an image (1, C, Z, Y, X) is not 0."""
        there = (image[0] != 0).any(dim=0)  # (Z, Y, X)
        x = torch.arange(there.shape[2], dtype=torch.float32)
        first = torch.where(there, x, torch.inf).amin(dim=2)
        return cls(first, torch.where(there, x + 1, -torch.inf).amax(dim=2), there.shape[2])

    def grown(self, reach: Triple) -> Support:
        """Return where a convolution that reaches so far makes something of it."""
        z, y, x = reach
        size, padding = (2 * z + 1, 2 * y + 1), (z, y)
        stop = functional.max_pool2d(self.stop[None], size, 1, padding)[0]
        first = -functional.max_pool2d(-self.first[None], size, 1, padding)[0]
        return Support((first - x).clamp_min(0), (stop + x).clamp_max(self.width), self.width)

    def pooled(self, stride: Triple) -> Support:
        """Return it on a grid so much coarser, for an image whose size is a multiple of that."""
        z, y, x = stride
        stop = functional.max_pool2d(self.stop[None], (z, y))[0]
        first = -functional.max_pool2d(-self.first[None], (z, y))[0]
        return Support((first / x).floor(), (stop / x).ceil(), self.width // x)

    def bricks(self, stride: Triple) -> list[Slices]:
        """Return bricks that hold all of it, of multiples of `stride` voxels."""
        (nz, ny), depth, height = _brick_size(stride), *self.first.shape
        step = -(-STEP // stride[2]) * stride[2]
        stops, firsts = (
            functional.max_pool2d(each[None], (nz, ny), ceil_mode=True)[0]
            for each in (self.stop, -self.first)
        )
        found = []
        places = (stops > -firsts).nonzero()
        edges = torch.stack((-firsts, stops), dim=2)[tuple(places.T)].long()
        for (z, y), (first, stop) in zip(places.tolist(), edges.tolist(), strict=True):
            rows = slice(y * ny, min((y + 1) * ny, height))
            across = slice(first // step * step, min(-(-stop // step) * step, self.width))
            found.append((slice(z * nz, min((z + 1) * nz, depth)), rows, across))
        return found


def _brick_size(stride: Triple) -> tuple[int, int]:
    """Return slices and rows of a brick, multiples of a stride."""
    z, y = (-(-least // n) * n for least, n in zip(BRICK, stride[:2], strict=True))
    return z, y


def coarser(brick: Slices, stride: Triple) -> Slices:
    """Return a brick of multiples of `stride` voxels on the coarser grid."""
    z, y, x = (slice(b.start // n, b.stop // n) for b, n in zip(brick, stride, strict=True))
    return z, y, x


class Field:
    """One channels-last image (1, C, Z, Y, X) with a border, 0 where no brick has been written.

    Parameters
    ----------
    like : Tensor
        Of its number format.
    channels : int
    shape : (int, int, int)
    border : (int, int, int)
        How far beyond the image, and beyond a brick, may be read.
    bricks : sequence of Slices
        Only these may be read, each with its border.
    """

    def __init__(
        self, like: Tensor, channels: int, shape: Triple, border: Triple, bricks: Sequence[Slices]
    ) -> None:
        size = (1, channels, *(n + 2 * b for n, b in zip(shape, border, strict=True)))
        self.memory = torch.empty(size, dtype=like.dtype, memory_format=LAST)
        self.shape, self.border, self.channels = shape, border, channels
        for brick in bricks:  # not all of it: zeros that nobody reads are memory, too
            self.around(brick, border).zero_()

    def at(self, brick: Slices) -> Tensor:
        """Return the voxels of a brick, a view."""
        return self.around(brick, (0, 0, 0))

    def around(self, brick: Slices, reach: Triple) -> Tensor:
        """Return the voxels of a brick and those around it, a view."""
        z, y, x = (
            slice(part.start + b - r, part.stop + b + r)
            for part, b, r in zip(brick, self.border, reach, strict=True)
        )
        return self.memory[:, :, z, y, x]
