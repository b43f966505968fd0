"""A convolution of an image whose voxels were repeated (nearest), computed before they are.

Neighbours that are copies of one voxel need their weights' sum and one multiplication. Of a kernel
of 3 x 3 x 3 on an image that was enlarged twice along each axis, every voxel sees 2 x 2 x 2 coarse
ones: 8 products for 27. Which those are depends on whether its place is even or odd, so there are
eight small kernels, and their results are laid beside one another.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flare_core.networks.slabs import LAST, convolution

if TYPE_CHECKING:
    from flare_core.models.stage_card import Triple


class RisenConvolution:
    """A convolution without bias that keeps the size, of an image enlarged by whole numbers.

    Parameters
    ----------
    weight : Tensor (O, I, z, y, x)
        Odd sizes.
    stride : (int, int, int)
        How often voxels are repeated along z, y, x.
    """

    def __init__(self, weight: Tensor, stride: Triple) -> None:
        self.stride, self._channels = stride, weight.shape[0]
        self._shifts: list[list[int]] = []
        kernels = weight.float()
        for axis, (size, n) in enumerate(zip(weight.shape[2:], stride, strict=True), 2):
            shifts, sums = _sums(size, n)
            self._shifts.append(shifts)
            each = kernels.movedim(axis, -1) @ sums.view(-1, size).T
            kernels = each.unflatten(-1, (n, -1)).movedim(-1, axis)
        # (O, I, z, y, x, places along z, y, x): those along x by where they write, so that what
        # one step makes for a row lies side by side as it does in the fine image
        places = kernels.permute(5, 6, 7, 0, 1, 2, 3, 4)[
            :, :, sorted(range(stride[2]), key=self._x)
        ]
        self._weight = places.flatten(0, 3).to(weight.dtype).contiguous(memory_format=LAST)

    @property
    def border(self) -> Triple:
        """How many zeros are around the coarse image (z, y, x)."""
        z, y, x = (-shifts[0] for shifts in self._shifts)
        return z, y, x

    @property
    def windows(self) -> int:
        """How many more steps along z there are than coarse slices."""
        return self._shifts[0][-1] - self._shifts[0][0]

    def write(self, coarse: Tensor, steps: slice, out: Tensor) -> None:
        """Write what some steps along z make; all steps together write everything once.

        Parameters
        ----------
        coarse : Tensor (1, I, Z, Y, X)
            With its border.
        steps : slice
            From 0 to Z without border + `windows`.
        out : Tensor (1, O, Z', Y', X'), channels-last
            The whole fine image.
        """
        depth = self._weight.shape[2]
        part = coarse[:, :, steps.start : steps.stop + depth - 1]
        found = convolution(part.contiguous(memory_format=LAST), self._weight)
        rows = found[0].split(self._channels * self.stride[2])
        places = product(*(range(n) for n in self.stride[:2]))
        for few, (z, y) in zip(rows, places, strict=True):
            from_z, to_z = self._meet(0, z, slice(steps.start, steps.start + few.shape[1]), out)
            from_y, to_y = self._meet(1, y, slice(0, few.shape[2]), out)
            self._lay(few[:, from_z, from_y], out[0, :, to_z, to_y])

    def _meet(self, axis: int, place: int, steps: slice, out: Tensor) -> tuple[slice, slice]:
        """Return which of some steps write inside the image for a place, and where."""
        shifts, n = self._shifts[axis], self.stride[axis]
        shift = shifts[place] - shifts[0]
        low = max(steps.start, shift)
        high = max(low, min(steps.stop, shift + out.shape[2 + axis] // n))
        start, stop = ((step - shift) * n + place for step in (low, high))
        return slice(low - steps.start, high - steps.start), slice(start, stop, n)

    def _x(self, place: int) -> int:
        """Return which voxel along x the first step writes for a place."""
        return place - self.stride[2] * (self._shifts[2][place] - self._shifts[2][0])

    def _lay(self, few: Tensor, out: Tensor) -> None:
        """Write rows: steps (places along x * O, z, y, steps) to voxels (O, z, y, x)."""
        n, channels, width = self.stride[2], self._channels, out.shape[3]
        first = min(self._x(place) for place in range(n))
        low = -(first // n)  # before it and from `high` on, a step writes outside the image, too
        high = low + (width - low * n - first) // n
        start = low * n + first
        source, target = few.permute(1, 2, 3, 0), out.permute(1, 2, 3, 0)
        whole = target[:, :, start : start + (high - low) * n]
        whole.view(*whole.shape[:2], high - low, n * channels)[:] = source[:, :, low:high]
        for step in (*range(low), *range(high, few.shape[3])):
            for i in range(n):
                x = step * n + first + i
                if 0 <= x < width:
                    target[:, :, x] = source[:, :, step, i * channels : (i + 1) * channels]


def _sums(kernel: int, stride: int) -> tuple[list[int], Tensor]:
    """Return by place in a coarse voxel the first coarse neighbour that it sees, counted from its
    own, and which weights of the kernel fall on each: float32 (stride, neighbours, kernel).

    Examples
    --------
    >>> shifts, sums = _sums(3, 2)
    >>> shifts, sums.int().tolist()
    ([-1, 0], [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    """
    half = (kernel - 1) // 2
    seen = [[math.floor((p + t - half) / stride) for t in range(kernel)] for p in range(stride)]
    width = max(each[-1] - each[0] + 1 for each in seen)
    last = max(each[-1] for each in seen)
    shifts = [min(each[0], last - width + 1) for each in seen]
    sums = torch.zeros(stride, width, kernel)
    for p, each in enumerate(seen):
        for t, neighbour in enumerate(each):
            sums[p, neighbour - shifts[p], t] = 1
    return shifts, sums
