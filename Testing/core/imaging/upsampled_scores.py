"""All class scores on another grid, as what gives the labels without them is compared with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from flare_core.imaging.geometry import Geometry
from flare_core.imaging.resample_scores import _ScoreGrid, _slabs


def upsampled_slabs(
    scores: torch.Tensor, source: Geometry, target: Geometry, *, slab: int = 4
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield (target rows, class scores float32 (C, k, Y, X)) slab by slab.

    Every score is the same sum of the same products whatever the slab, and the one that
    `streamed_argmax` compares.
    """
    grid = _ScoreGrid(scores, source, target)
    for rows in _slabs(target, slab):
        count = rows.stop - rows.start
        row = torch.arange(count, device=scores.device).repeat_interleave(grid.plane)
        place = torch.arange(grid.plane, device=scores.device).repeat(count)
        found = grid.scores_at(grid.mixed_slices(rows), row, place)
        yield rows, found.view(-1, count, *target.shape[1:])
