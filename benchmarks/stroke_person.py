"""A simulated person who draws strokes: over the largest error, in a plane chosen at random.

The person looks for the thickest of what is missing and of what is too much, turns to the slice in
which that piece is largest, and draws a hand-wide, unsteady line along its middle, from end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

from flare_core.imaging.geometry import Box

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

HAND_MM = 2.0
"""Half the width of a stroke."""
TREMBLE_MM = 1.0
"""How far a hand strays from the middle of what it marks."""


@dataclass
class Strokes:  # mutable: a person adds to it
    """What was drawn so far."""

    belongs: Mask
    """Marked as organ."""
    outside: Mask
    """Marked as not the organ."""

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Strokes:
        """Return no strokes."""
        return cls(np.zeros(shape, bool), np.zeros(shape, bool))


@dataclass(frozen=True, eq=False)
class Piece:
    """A connected error."""

    box: Box
    voxels: Mask
    """In the box."""
    weight: float
    """Sum of the voxels' depths, mm: thin shells count little."""
    missing: bool
    """Whether it is the organ's and was not found; else it is too much."""


def largest_error(now: Mask, truth: Mask, spacing: Sequence[float]) -> Piece | None:
    """The thickest piece of what is missing or too much; None if all is right."""
    found = [
        _largest(wrong, spacing, missing)
        for wrong, missing in ((truth & ~now, True), (now & ~truth, False))
    ]
    return max((f for f in found if f is not None), key=lambda piece: piece.weight, default=None)


def _largest(wrong: Mask, spacing: Sequence[float], missing: bool) -> Piece | None:
    box = Box.of_mask(wrong)
    if box is None:
        return None
    part = wrong[box.slices]
    deep = _depth(part, spacing)
    pieces, _ = ndimage.label(part)
    weights = np.bincount(pieces.ravel(), deep.ravel())
    weights[0] = 0
    return Piece(box, pieces == weights.argmax(), float(weights.max()), missing)


def _depth(mask: Mask, spacing: Sequence[float]) -> Floats:
    inner = (slice(1, -1),) * mask.ndim
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1), spacing)[inner], float)


def draw(
    now: Mask, truth: Mask, strokes: Strokes, spacing: Sequence[float],
    chance: np.random.Generator,
) -> tuple[Piece, Mask] | None:  # fmt: skip
    """Add one stroke; return the error it is about, and its voxels in that piece's box."""
    piece = largest_error(now, truth, spacing)
    if piece is None:
        return None
    axis = int(chance.integers(3))
    areas = piece.voxels.sum(axis=tuple(a for a in range(3) if a != axis))
    index = int(areas.argmax())
    flat = np.take(piece.voxels, index, axis=axis)
    stroke = np.zeros_like(piece.voxels)
    where: list[slice | int] = [slice(None)] * 3
    where[axis] = index
    stroke[tuple(where)] = line(flat, [s for a, s in enumerate(spacing) if a != axis], chance)
    marked, unmarked = strokes.belongs, strokes.outside
    if not piece.missing:
        marked, unmarked = unmarked, marked
    marked[piece.box.slices] |= stroke
    unmarked[piece.box.slices] &= ~stroke
    return piece, stroke


def line(flat: Mask, spacing: Sequence[float], chance: np.random.Generator) -> Mask:
    """Return a hand-wide line through the middle of a flat region, along its whole length."""
    pieces, _ = ndimage.label(flat)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    region = pieces == sizes.argmax()
    deep = _depth(region, spacing)
    inside = np.where(region, 1.0, -1.0)
    middle = tuple(int(n) for n in np.unravel_index(int(deep.argmax()), deep.shape))
    end = _farthest(inside, middle, spacing)
    other = _farthest(inside, end, spacing)
    paths = MCP_Geometric(np.where(region, 1.0 / (deep + 0.2 * min(spacing)), -1.0), None, True)
    paths.find_costs([end])
    ridge = np.zeros(flat.shape, bool)
    ridge[tuple(np.array(paths.traceback(other)).T)] = True
    shift = [round(chance.normal(0.0, TREMBLE_MM) / s) for s in spacing]
    moved = ndimage.shift(ridge.astype(np.uint8), shift, order=0).astype(bool) & region
    ridge = moved if moved.any() else ridge
    near = ndimage.distance_transform_edt(~ridge, spacing) <= HAND_MM
    stroke = near & region & (deep > 0.5 * min(spacing))
    return stroke if stroke.any() else ridge


def _farthest(inside: Floats, place: tuple[int, ...], spacing: Sequence[float]) -> tuple[int, ...]:
    """The pixel with the longest way from a place inside a region."""
    way, _ = MCP_Geometric(inside, sampling=spacing).find_costs([place])
    way = np.where((inside > 0) & np.isfinite(way), way, -1.0)
    return tuple(int(n) for n in np.unravel_index(int(way.argmax()), way.shape))
