"""Class scores onto a finer grid, and the best class of each voxel there.

All scores of a whole scan would not fit: 14 classes on 512 x 512 x 110 voxels are 1.6 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Geometry
from flare_core.imaging.resample import Float, grid_weights

Weights = tuple[Float, Float, Float]

if TYPE_CHECKING:
    import torch

UNSURE = 255
"""In place of a class: the source voxels around do not agree on the best one."""

HALF = 2.0**-9
"""Of a score: a lead larger than this outlasts the rounding of both to float16."""


@dataclass(frozen=True)
class Chunking:
    """How much is computed at a time; the labels do not depend on it."""

    slices: int
    """Source slices whose best classes are found."""
    slab: int
    """Target slices for which the source is mixed (bounds memory)."""
    voxels: int
    """Voxels interpolated."""


ON_CPU = Chunking(slices=1, slab=4, voxels=1 << 15)
"""What a core has in its own cache."""

ON_DEVICE = Chunking(slices=16, slab=16, voxels=1 << 20)
"""A graphics card wants much at a time, and this is still only about 0.2 GiB."""


def streamed_argmax(
    scores: torch.Tensor,
    source: Geometry,
    target: Geometry,
    *,
    pace: Chunking = ON_CPU,
    weights: Weights | None = None,
    regions: bool = False,
    half: bool = False,
) -> npt.NDArray[np.uint8]:
    """Interpolate class scores onto `target` and return the best class of each voxel.

    The labels are bit-identical to interpolating all classes and taking the arg-max, without ever
    holding all of that (1.6 GiB for 14 classes on 512 x 512 x 110 voxels). Most voxels need no
    interpolation: where all source voxels around have the same best class, so has any mean of them
    with weights of at least 0, and rounding cannot change that (see `_ScoreGrid.sure_classes`). The
    rest, near the organs' surfaces, is interpolated, with a running maximum over the classes.

    Parameters
    ----------
    scores : float tensor (C, z, y, x), C < 255
        Logits or probabilities on `source`, finite, on any device.
    pace : Chunking
        Of the device that the scores are on.
    weights : three float32 matrices (target, source) for z, y, x, optional
        Another interpolation than the linear one of `grid_weights`; no weight below 0.
    regions : bool
        Channels do not exclude one another: the last channel above 0 counts, see `last_above_zero`.
    half : bool
        Interpolated scores are rounded to float16 before they are compared, as nnU-Net's are.

    Returns
    -------
    uint8 (Z, Y, X) on `target`; ties go to the lower class.
    """
    import torch

    grid = _ScoreGrid(scores, source, target, weights, regions=regions, half=half)
    labels = grid.sure_classes(pace.slices)  # (Z, Y * X)
    for rows in _slabs(target, pace.slab):
        mixes = grid.mixed_slices(rows)
        for voxels in torch.nonzero(labels[rows] == UNSURE).split(pace.voxels):
            if len(voxels):
                row, place = voxels.unbind(dim=1)
                labels[rows][row, place] = grid.classes(grid.scores_at(mixes, row, place))
    return labels.view(target.shape).cpu().numpy()


class _ScoreGrid:
    """Class scores on a target grid, computed for the voxels asked for.

    Classes lie side by side in memory, so a voxel's scores are a weighted sum of a few short rows:
    neighbouring source slices are mixed first, then each voxel reads its 2 x 2 places in the mix.
    """

    def __init__(
        self,
        scores: torch.Tensor,
        source: Geometry,
        target: Geometry,
        weights: Weights | None = None,
        *,
        regions: bool = False,
        half: bool = False,
    ) -> None:
        self.scores = scores.detach()
        self.regions, self.half = regions, half
        weights = grid_weights(source, target) if weights is None else weights
        self.z, y, x = map(_taps, weights)  # z is looked up slice by slice, by the processor
        self.y, self.x = y.to(scores.device), x.to(scores.device)
        self.plane = target.shape[1] * target.shape[2]
        self.places = self._addresses(self.y.all_places, self.x.all_places, source.shape[2])
        products = self.y.weights[:, None, :, None] * self.x.weights[None, :, None, :]
        self.weights = products.reshape(self.plane, -1)  # (Y * X, taps)

    def _addresses(self, y: torch.Tensor, x: torch.Tensor, width: int) -> torch.Tensor:
        """Return where in a source slice each voxel of a target slice reads, (Y * X, taps)."""
        places = y[:, None, :, None] * width + x[None, :, None, :]  # (Y, X, ty, tx)
        return places.reshape(self.plane, -1)

    def mixed_slices(self, rows: slice) -> torch.Tensor:
        """Return the source mixed along z for some target slices, (k * y * x, C)."""
        import torch

        return torch.cat([self._mixed_slice(k) for k in range(rows.start, rows.stop)])

    def scores_at(
        self, mixes: torch.Tensor, row: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores (C, n) at the `place` (y * X + x) in the `row`-th slice of `mixes`."""
        import torch

        size = self.scores.shape[2] * self.scores.shape[3]
        found = torch.nn.functional.embedding_bag(
            self.places[place] + (row * size)[:, None],
            mixes,
            mode="sum",
            per_sample_weights=self.weights[place],
        )  # (n, C)
        return found.T.contiguous()

    def _mixed_slice(self, k: int) -> torch.Tensor:
        """Return source slices mixed for target slice `k`, (y * x, C)."""
        first, weights = int(self.z.first[k]), self.z.weights[k].tolist()
        mix = self.scores[:, first].flatten(1).float() * weights[0]  # (C, y * x)
        for i, weight in enumerate(weights[1:], first + 1):
            mix.add_(self.scores[:, i].flatten(1).float(), alpha=weight)
        return mix.T.contiguous()

    def classes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the class (uint8) of each voxel of (C, ...)."""
        if self.regions:
            return last_above_zero(scores)
        return _best_classes(scores.half().float() if self.half else scores)[0]

    def sure_classes(self, slices: int) -> torch.Tensor:
        """Return the best class where it needs no interpolation, else UNSURE; uint8 (Z, Y * X).

        `slices` of the source are looked at a time.

        Let class a beat class c in all n source voxels that make a target voxel. Then it beats it
        in the mean too, by the mean of its leads. Each term of the computed sums is off by less
        than n * 2**-24 of itself (Higham 2002, section 3.1), so a lead of n * 2**-22 of a's score
        in each source voxel is more than rounding can eat up, whichever way the sums are made.
        """
        import torch

        taps = [axis.weights.shape[1] for axis in (self.z, self.y, self.x)]
        least = HALF if self.half else (taps[0] + taps[1] * taps[2] + 2) * 2.0**-22
        codes = []
        for some in self.scores.split(slices, dim=1):
            scores = some.contiguous().float()  # (C, k, y, x)
            codes.append(_sure_region(scores) if self.regions else _sure_class(scores, least))
        cells = torch.cat(codes)
        for axis, count in enumerate(taps):
            cells = _agreed(cells, count, axis)
        corner = self.y.first[:, None] * cells.shape[2] + self.x.first  # (Y, X)
        inside = cells[self.z.first.to(cells.device)].flatten(1)  # (Z, cells of a slice)
        return inside.index_select(1, corner.flatten())


@dataclass(frozen=True, eq=False)
class _Taps:
    """The few neighbouring source voxels that make each target voxel, along one axis."""

    first: torch.Tensor
    """int64 (n,): the first of them."""
    weights: torch.Tensor
    """float32 (n, taps): how much of each; at least 0."""

    @property
    def all_places(self) -> torch.Tensor:
        """All of them, int64 (n, taps)."""
        import torch

        return self.first[:, None] + torch.arange(self.weights.shape[1], device=self.first.device)

    def to(self, device: torch.device) -> _Taps:
        """Return the same on a device."""
        return _Taps(self.first.to(device), self.weights.to(device))


def _taps(weights: Float) -> _Taps:
    """Return the non-zero part of a matrix of `axis_weights`."""
    import torch

    first = (weights > 0).argmax(axis=1)
    last = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    count = int((last - first).max()) + 1
    first = np.minimum(first, weights.shape[1] - count)
    some = np.take_along_axis(weights, first[:, None] + np.arange(count), axis=1)
    return _Taps(torch.from_numpy(first), torch.from_numpy(some))


def _best_classes(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best class (uint8; the lower one if equal) and its score from (C, ...)."""
    import torch

    best = scores[0].clone()
    classes = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for c in range(1, len(scores)):
        better = scores[c] > best
        torch.maximum(
            classes, better.view(torch.uint8).mul_(c), out=classes
        )  # c is the largest yet
        torch.maximum(best, scores[c], out=best)
    return classes, best


def last_above_zero(scores: torch.Tensor) -> torch.Tensor:
    """Return 1 + the last channel of (C, ...) whose score is above 0 (uint8), 0 where none is.

    A score is the logit of a sigmoid, so above 0 is a probability above one half.
    """
    import torch

    classes = torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    for c in range(len(scores)):
        classes.masked_fill_(scores[c] > 0, c + 1)
    return classes


def _sure_class(scores: torch.Tensor, least: float) -> torch.Tensor:
    """Return the best class of (C, ...) where it leads by more than rounding, else UNSURE."""
    import torch

    best = scores.amax(dim=0)
    nearly = best - (best.abs() * least).add_(1e-30)
    classes = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    rivals = torch.zeros_like(classes)
    for c in range(len(scores)):
        near = (scores[c] >= nearly).view(torch.uint8)
        rivals += near
        classes.add_(near, alpha=c)  # of the only one, where it has no rival
    return classes.masked_fill_(rivals > 1, UNSURE)


def _sure_region(scores: torch.Tensor) -> torch.Tensor:
    """Return `last_above_zero` of (C, ...), UNSURE where a score that decides it is nearly 0.

    Where a channel has one sign in all source voxels, every mean of them has that sign as well.
    """
    best = last_above_zero(scores)
    for c in range(len(scores)):
        best.masked_fill_((scores[c].abs() < 1e-30) & (best <= c + 1), UNSURE)
    return best


def _agreed(cells: torch.Tensor, count: int, axis: int) -> torch.Tensor:
    """Return what each `count` neighbours along an axis all say, UNSURE where they differ."""
    import torch

    places = cells.shape[axis] - count + 1
    agreed = cells.narrow(axis, 0, places)
    for i in range(1, count):
        agreed = torch.where(agreed == cells.narrow(axis, i, places), agreed, UNSURE)
    return agreed


def _slabs(target: Geometry, slab: int) -> Iterator[slice]:
    """Yield the slices of a grid, `slab` at a time."""
    for start in range(0, target.shape[0], slab):
        yield slice(start, min(start + slab, target.shape[0]))
