"""The box a stage looks at: what was found roughly, a margin, and no tile for a row of voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flare_core.imaging.geometry import Box, Geometry
from flare_core.models.stage_card import StageCard
from flare_core.segment.nnunet import patch_here, spacing_here

LEAST_MARGIN = 0.9
"""Share of the card's margin that is kept where less of it saves a row of tiles. Half of it saved
half of a scan's tiles, and lost up to .016 of mean DSC; this is the 161st voxel and two more."""

LEAST_MARGIN_FAST = 0.5
"""The same where speed counts for more, which is where tiles do not overlap."""

MOST_TILES = 64
"""Along an axis for which the box is fitted; that is metres."""

Span = tuple[int, int]
"""First voxel along an axis, and the one after the last."""


def with_margin(
    box: Box, geometry: Geometry, card: StageCard, tile_step: float | None = None
) -> Box:
    """Widen a box by the card's margins, inside the scan, so that tiles are used up.

    A network sees a tile of its patch's size anyway: filled with the scan it knows where it is,
    filled with air it loses a spleen that was asked for alone. So a box smaller than a tile gets as
    large as one. One that needs another row of tiles for the last tenth of its margin, or because a
    voxel was rounded up, gives that up: at 1.5 mm that row was half of the time of most scans.

    Parameters
    ----------
    box : Box
        What must be inside, voxels of `geometry`.
    tile_step : float, optional
        Distance of tiles as a fraction of the patch; the card's if None.
    """
    fast = tile_step is not None and tile_step >= 1
    share = LEAST_MARGIN_FAST if fast else LEAST_MARGIN
    patch, voxel_mm = patch_here(card), spacing_here(card)
    spans = []
    for a, margin in enumerate(card.margin_mm):
        size, count = geometry.spacing_mm[a], geometry.shape[a]
        inner = (box.start[a], box.stop[a])
        low, high = (mm / size for mm in margin)
        if card.whole:  # one tile in any case, whatever its size
            spans.append(_widened(inner, low, high, count))
            continue
        lengths = _covered(patch[a], tile_step or card.tile_step, voxel_mm[a] / size)
        wanted = _at_least(_widened(inner, low, high, count), lengths[0], count)
        needed = _widened(inner, share * low, share * high, count)
        spans.append(of_few_tiles(wanted, needed, lengths))
    (z0, z1), (y0, y1), (x0, x1) = spans
    return Box((z0, y0, x0), (z1, y1, x1))


def of_few_tiles(wanted: Span, needed: Span, lengths: Sequence[int]) -> Span:
    """Return a span inside `wanted` around `needed` that takes as few tiles as `needed` does.

    Parameters
    ----------
    lengths : sequence of int
        What one tile covers, two, and so on.

    Examples
    --------
    >>> of_few_tiles((0, 30), (4, 22), [20, 30]), of_few_tiles((0, 31), (4, 25), [20, 30])
    ((3, 23), (0, 30))
    >>> of_few_tiles((5, 18), (7, 15), [20, 30])
    (5, 18)
    """
    length = next((n for n in lengths if n >= needed[1] - needed[0]), wanted[1] - wanted[0])
    if length >= wanted[1] - wanted[0]:
        return wanted
    middle = (needed[0] + needed[1] - length) // 2
    first = min(max(middle, wanted[0]), wanted[1] - length)
    return first, first + length


def _covered(patch: int, tile_step: float, voxels: float) -> list[int]:
    """Return how many of the scan's voxels one tile covers, two, and so on.

    Parameters
    ----------
    voxels : float
        Of the scan, in one voxel of the stage's grid.
    """
    apart = max(1, int(patch * tile_step))
    return [max(1, math.floor((patch + i * apart) * voxels)) for i in range(MOST_TILES)]


def _widened(span: Span, low: float, high: float, count: int) -> Span:
    """Return a span with margins, voxels, inside 0 to `count`."""
    return max(0, span[0] - math.ceil(low)), min(count, span[1] + math.ceil(high))


def _at_least(span: Span, length: int, count: int) -> Span:
    """Return a span inside 0 to `count`, widened to both sides to a length if there is room.

    Examples
    --------
    >>> _at_least((4, 6), 4, 10), _at_least((8, 10), 4, 10), _at_least((1, 2), 20, 10)
    ((3, 7), (6, 10), (0, 10))
    """
    length = min(count, max(length, span[1] - span[0]))
    missing = length - (span[1] - span[0])
    first = min(max(0, span[0] - missing // 2), count - length)
    return first, first + length
