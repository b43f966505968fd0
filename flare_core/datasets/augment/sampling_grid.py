"""Where in a scan the voxels of a patch come from, and what is there.

What `torch.nn.functional.grid_sample` does with zeros beyond the border, but several times as fast
on a CPU, where that walks through the voxels one by one, and without its units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 2**17
"""Voxels worked on at a time: what belongs to them stays in a processor's cache."""

Block = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class SamplingGrid:
    """Where the voxels of a patch lie in a block of a scan."""

    axes: tuple[Tensor, Tensor, Tensor]
    """float32 (Z, Y, X) each: z, y, x as voxel indices of the block, from -1 to its size; beyond
    that there is nothing but what is outside."""
    shape: tuple[int, ...]
    """Voxels of the block, z, y, x."""

    def linear(self, block: Block, outside: int) -> Tensor:
        """Return the values at its points, float32 (1, 1, Z, Y, X), between voxels linearly."""
        flat, steps = self._padded(block, outside)
        found = torch.empty(self.axes[0].shape, device=flat.device)
        target = found.view(-1)
        for part in _chunks(target.numel()):
            cells = [_cell(a.view(-1)[part], n) for a, n in zip(self.axes, self.shape, strict=True)]
            index = _index([low for low, _ in cells], steps)
            z, y, x = (share for _, share in cells)
            corners = [
                flat[dz * steps[0] + dy * steps[1] :].index_select(0, index).float().lerp_(
                    flat[dz * steps[0] + dy * steps[1] + 1 :].index_select(0, index).float(), x
                )
                for dz in (0, 1)
                for dy in (0, 1)
            ]  # fmt: skip
            near, far = corners[0].lerp_(corners[1], y), corners[2].lerp_(corners[3], y)
            torch.lerp(near, far, z, out=target[part])
        return found[None, None]

    def nearest(self, block: Block, outside: int = 0) -> Tensor:
        """Return the values of the nearest voxels (1, 1, Z, Y, X), in the block's own type."""
        flat, steps = self._padded(block, outside)
        found = torch.empty(self.axes[0].shape, device=flat.device, dtype=flat.dtype)
        target = found.view(-1)
        for part in _chunks(target.numel()):
            lows = [axis.view(-1)[part].round().add_(1).int() for axis in self.axes]
            torch.index_select(flat, 0, _index(lows, steps), out=target[part])
        return found[None, None]

    def _padded(self, block: Block, outside: int) -> tuple[Tensor, tuple[int, int, int]]:
        """Return the block, flat, with a voxel of `outside` around it, and its steps z, y, x."""
        whole = np.full(tuple(n + 2 for n in self.shape), outside, block.dtype)
        whole[1:-1, 1:-1, 1:-1] = block
        _, y, x = whole.shape
        return torch.from_numpy(whole).to(self.axes[0].device).view(-1), (y * x, x, 1)


def affine_grid(
    centre: npt.NDArray[np.float64],
    patch: tuple[int, int, int],
    matrix: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    device: torch.device,
    *,
    bend: Tensor | None = None,
) -> SamplingGrid:
    """Return where a patch lies that is turned, scaled and perhaps bent about its centre.

    Parameters
    ----------
    centre : (3,)
        Middle of the patch in the block, voxel index.
    patch : (int, int, int)
        Voxels of the patch, z, y, x.
    matrix : (3, 3)
        From offsets in the patch to offsets in the block, voxels.
    shape : (int, int, int)
        Voxels of the block.
    bend : Tensor (3, Z, Y, X), optional
        Further offsets along z, y, x, voxels.
    """
    offsets = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in patch]
    z, y, x = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    axes = []
    for source, size in enumerate(shape):
        row = [float(value) for value in matrix[source]]
        place = (z * row[0] + float(centre[source])) + y * row[1] + x * row[2]
        if bend is not None:
            place += bend[source]
        axes.append(place.clamp_(-1.0, float(size)))
    return SamplingGrid((axes[0], axes[1], axes[2]), shape)


def smooth_field(coarse: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Return (C, Z, Y, X) between the points of (C, z, y, x), the outermost points in the corners.

    As `functional.interpolate` does it (trilinear, corners aligned), one axis after the other.
    """
    for count in size:
        weights = resampling(coarse.shape[1], count, "linear", align_corners=True)
        coarse = torch.tensordot(coarse, weights.to(coarse.device), dims=([1], [0]))
    return coarse  # each turn takes the first axis away and appends it: (C, Z, Y, X) again


def resampling(old: int, new: int, mode: str, *, align_corners: bool | None = None) -> Tensor:
    """Return the matrix (old, new) by which `functional.interpolate` resamples one axis.

    Examples
    --------
    >>> resampling(2, 3, "linear", align_corners=True).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    each = torch.eye(old)[None]
    return functional.interpolate(each, size=new, mode=mode, align_corners=align_corners)[0]


def looked_up(table: Tensor, indices: Tensor) -> Tensor:
    """Return ``table[indices]`` for a table (n,) and indices of any shape and integer type."""
    return table.index_select(0, indices.reshape(-1).int()).view(indices.shape)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]


def _cell(place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the voxel before each place, as index of the padded block, and the way to the next."""
    low = place.floor().clamp_(max=size - 1.0)
    return low.add(1).int(), place - low


def _index(voxels: list[Tensor], steps: tuple[int, int, int]) -> Tensor:
    """Return where voxels are in the flat block."""
    z, y, x = voxels
    return z.mul_(steps[0]).add_(y.mul_(steps[1])).add_(x)
