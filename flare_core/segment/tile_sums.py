"""The sums in which tiles' scores are blended: beside the network, or in the machine's own memory.

They are the largest thing of a run: all classes of a whole region. On a graphics card they stay
there as long as they fit. Where its memory runs out they move, once, and the run goes on: each tile
is counted exactly once, and the labels are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from flare_core.imaging.geometry import AxisMap, Index
from flare_core.segment.device_memory import OWN_MEMORY, Relief

Result = TypeVar("Result")

SMALLEST = 5e-8
"""Least sum of weights to divide by; not 0 in float16, and below any tile's weights."""


class Axes(Protocol):
    """What sums need to know of the tiles (`sliding_window.Tiling`)."""

    @property
    def axes(self) -> AxisMap:
        """From the image's axes to the network's."""
        ...

    @property
    def sum_type(self) -> torch.dtype:
        """Number format of the sums."""
        ...

    def back(self, scores: Tensor) -> Tensor:
        """Return scores in the image's axes."""
        ...


class TileSums:
    """Weighted sums (C, Z, Y, X) of tiles' scores, and of the weights (Z, Y, X)."""

    def __init__(
        self, shape: Sequence[int], weights: Tensor, tiling: Axes, where: torch.device
    ) -> None:
        self._tiling = tiling
        self._weights = weights.to(where)
        self._mass = torch.zeros(tuple(shape), dtype=tiling.sum_type, device=where)
        self._total: Tensor | None = None
        self._slices = where.type == "cpu"
        self._relief = Relief(self._move)

    def or_move(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, after the sums made room for it if there is too little.

        Raises
        ------
        InputError
            If there is too little even so.
        """
        return self._relief.do(work)

    def add(self, scores: Tensor, start: Index) -> None:
        """Add a tile's scores (C, network's axes) where it begins."""
        place = tile_place(start, self._weights)
        self.or_move(lambda: self._add(scores, place))
        self._mass[place] += self._weights

    def start(self, classes: int) -> None:
        """Have sums for so many classes, all 0, if there are none yet."""
        if self._total is None:
            self._total = self.or_move(lambda: self._zeros(classes))

    def mean(self, *, regions: bool) -> Tensor:
        """Return the weighted mean (C, Z, Y, X), the sums' own memory; unseen voxels: background.

        Parameters
        ----------
        regions : bool
            No channel is background: there is none where all are below 0.
        """
        return self.or_move(lambda: self._mean(regions))

    def _mean(self, regions: bool) -> Tensor:
        assert self._total is not None
        unseen = self._mass == 0
        if regions:
            self._total.masked_fill_(unseen, -1)
        else:
            self._total[0].masked_fill_(unseen, 1)
        return self._total.div_(self._mass.clamp_(min=SMALLEST))

    def _zeros(self, classes: int) -> Tensor:
        """Return zeros; on a CPU a voxel's classes lie side by side, as tiles have them there."""
        kind, shape = self._tiling.sum_type, self._mass.shape
        if self._slices:
            return torch.zeros(*shape, classes, dtype=kind).permute(3, 0, 1, 2)
        return torch.zeros(classes, *shape, dtype=kind, device=self._mass.device)

    def _add(self, scores: Tensor, place: tuple[slice, ...]) -> None:
        if self._total is None:
            self._total = self._zeros(scores.shape[0])
        inside = (slice(None), *place)
        total, there = self._total[inside], scores.to(self._mass.device)
        if self._slices:
            self._add_slices(total, there)
        else:  # in one step: memory has not run out in the middle of it
            total.addcmul_(self._tiling.back(there), self._weights)

    def _add_slices(self, total: Tensor, scores: Tensor) -> None:
        """Add slice by slice: channels-last scores are read in order, float32 copies stay small.

        The weights are laid out as the scores are: to multiply each with a voxel's few scores takes
        twice as long.
        """
        axes, depth = self._tiling.axes, scores.shape[1]
        axis = axes.permutation[0]
        wide: Tensor | None = None
        for k in range(depth):
            here = depth - 1 - k if axes.flips[0] else k
            part = self._tiling.back(scores[:, k : k + 1]).float()
            some, sums = self._weights.narrow(axis, here, 1), total.narrow(1 + axis, here, 1)
            wide = torch.empty_like(part) if wide is None else wide
            wide.copy_(some.expand_as(part))
            if sums.dtype == torch.float32:
                sums.addcmul_(part, wide)
            else:
                sums.copy_(wide.mul_(part).add_(sums))  # float16 += float32: 4 times slower

    def _move(self) -> None:
        """Go to the machine's own memory."""
        self._weights, self._mass = self._weights.to(OWN_MEMORY), self._mass.to(OWN_MEMORY)
        if self._total is not None:
            self._total = self._total.to(OWN_MEMORY)
        self._slices = True


def tile_place(start: Index, weights: Tensor) -> tuple[slice, ...]:
    """Return the voxels of a tile that begins there and has these weights (Z, Y, X)."""
    return tuple(slice(a, a + n) for a, n in zip(start, weights.shape, strict=True))
