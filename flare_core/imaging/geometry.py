"""Where voxels are: grids, boxes and axis orders, without the voxels themselves.

Conventions used by the whole library:

- arrays and indices are ``(z, y, x)``; the *array axes* are 0 = z, 1 = y, 2 = x;
- world points are LPS millimetres, ordered ``(x, y, z)`` = (left, posterior, superior);
- a voxel's index is the position of its centre; its cell reaches half a voxel to each side;
- *canonical* means that the array axes point as closely as possible to Superior, Posterior, Left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError

Triple = tuple[float, float, float]
Index = tuple[int, int, int]
Matrix = tuple[Triple, Triple, Triple]
Array = npt.NDArray[np.generic]
Number = TypeVar("Number", bound=np.generic)

CANONICAL: Matrix = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Direction of the array axes z, y, x when they point to Superior, Posterior, Left (in LPS)."""

GRID_TOLERANCE_MM = 0.5
"""Corners of a scan and of a label map that any tool drew on it lie no further apart: each rounds
spacing and axes in its own way, which adds up from end to end, but less than to another voxel."""

COMPARED_TOLERANCE_MM = 0.1
"""Where two maps are compared voxel by voxel, in scores, votes or on a picture, nothing but the
rounding of a header is let pass: more would count as a distance between surfaces."""

NUDGE = 1e-6
"""Voxels. Places on two grids that should coincide differ by rounding; less than this is nothing,
so that what lies on the border of two voxels falls to the same one on every machine."""


@dataclass(frozen=True)
class Box:
    """A half-open block of voxels, ``start <= index < stop`` along z, y, x."""

    start: Index
    """First voxel inside, (z, y, x)."""
    stop: Index
    """First voxel behind the block, (z, y, x)."""

    @property
    def shape(self) -> Index:
        """Voxels along z, y, x; never negative."""
        return _index(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index an array with this to get the block."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def empty(self) -> bool:
        """Whether no voxel is inside."""
        return 0 in self.shape

    def intersect(self, other: Box) -> Box:
        """Return the block inside both boxes.

        Where they do not meet, the result is empty and its `slices` select nothing; a stop below 0
        would count from the array's end instead.

        Examples
        --------
        >>> Box((0, 0, 0), (9, 9, 9)).intersect(Box((2, -5, 0), (12, -1, 9)))
        Box(start=(2, 0, 0), stop=(9, 0, 9))
        """
        start = _index(map(max, self.start, other.start))
        return Box(start, _index(map(max, start, map(min, self.stop, other.stop))))

    def union(self, other: Box) -> Box:
        """Return the smallest block around the voxels of both boxes; an empty box adds none.

        Examples
        --------
        >>> Box((2, 2, 2), (4, 4, 4)).union(Box((0, 3, 3), (1, 4, 5)))
        Box(start=(0, 2, 2), stop=(4, 4, 5))
        """
        if self.empty or other.empty:
            return other if self.empty else self
        return Box(
            _index(map(min, self.start, other.start)), _index(map(max, self.stop, other.stop))
        )

    def grow(self, margin: Index, within: tuple[int, ...]) -> Box:
        """Move every face outwards by `margin` voxels, but not out of a grid of shape `within`.

        Examples
        --------
        >>> Box((2, 2, 2), (4, 4, 4)).grow((1, 5, 0), within=(9, 9, 9))
        Box(start=(1, 0, 2), stop=(5, 9, 4))
        """
        wide = Box(
            _index(a - m for a, m in zip(self.start, margin, strict=True)),
            _index(b + m for b, m in zip(self.stop, margin, strict=True)),
        )
        return wide.intersect(Box((0, 0, 0), _index(within)))

    @staticmethod
    def of_shape(shape: Index) -> Box:
        """Return the box that holds a whole grid."""
        return Box((0, 0, 0), shape)

    @staticmethod
    def of_slices(place: tuple[slice, slice, slice]) -> Box:
        """Return the box that slices with a start and a stop select, as of `scipy.ndimage`."""
        z, y, x = place
        return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))

    @staticmethod
    def of_mask(mask: Array) -> Box | None:
        """Return the smallest box around the true voxels of `mask` (Z, Y, X), or None if empty."""
        spans = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hits = np.flatnonzero(np.any(mask, axis=others))
            if hits.size == 0:
                return None
            spans.append((int(hits[0]), int(hits[-1]) + 1))
        return Box(_index(a for a, _ in spans), _index(b for _, b in spans))


@dataclass(frozen=True)
class AxisMap:
    """A reordering and flipping of the three array axes: voxels move, nothing is interpolated.

    Examples
    --------
    >>> swap = AxisMap((1, 0, 2), (False, False, True))
    >>> array = np.arange(6).reshape(1, 2, 3)
    >>> swap.apply(array).tolist()
    [[[2, 1, 0]], [[5, 4, 3]]]
    >>> bool(np.all(swap.undo(swap.apply(array)) == array))
    True
    """

    permutation: Index
    """New axis `a` is old axis ``permutation[a]``."""
    flips: tuple[bool, bool, bool]
    """Whether new axis `a` runs backwards along the old one."""

    def apply(self, array: Array) -> Array:
        """Return `array` (Z, Y, X) with its axes reordered, as a view."""
        moved = np.transpose(array, self.permutation)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def undo(self, array: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return `array` in the axis order before `apply`, as a view."""
        straight = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.transpose(straight, np.argsort(self.permutation))


def _three(
    name: str, value: Any, kind: Callable[[Any], Any] = lambda each: each
) -> tuple[Any, ...]:
    """Return three values as a tuple of plain ones.

    Raises
    ------
    InputError
        If they are not three.
    """
    try:
        first, second, third = value
        return kind(first), kind(second), kind(third)
    except (TypeError, ValueError) as error:
        legal = "three rows of three numbers" if name == "direction" else "three numbers"
        action = "Give a value for each array axis, z, y and x."
        if name == "origin_mm":
            action = "Give x, y and z of the first voxel, in LPS."
        raise InputError(name, repr(value), legal, action) from error


@dataclass(frozen=True)
class Geometry:
    """A regular voxel grid in patient space.

    A voxel's centre is ``origin_mm + sum(index[a] * spacing_mm[a] * direction[a])``.

    Examples
    --------
    >>> grid = Geometry((10, 100, 80), (5.0, 0.8, 0.8), (-32.0, -40.0, 700.0))
    >>> grid.voxel_to_lps((2, 0, 10)).tolist()  # two slices up, ten voxels to the left
    [-24.0, -40.0, 710.0]
    """

    shape: Index
    """Voxels along z, y, x."""
    spacing_mm: Triple
    """Distance of neighbouring voxel centres along z, y, x, mm."""
    origin_mm: Triple = (0.0, 0.0, 0.0)
    """LPS (x, y, z) of the centre of voxel (0, 0, 0), mm."""
    direction: Matrix = CANONICAL
    """LPS unit vectors of the array axes z, y, x."""

    def __post_init__(self) -> None:
        """Keep lists and arrays as tuples, so that grids can be compared; refuse other counts."""
        for name, kind in (("shape", int), ("spacing_mm", float), ("origin_mm", float)):
            value = getattr(self, name)
            if type(value) is not tuple or len(value) != 3:
                object.__setattr__(self, name, _three(name, value, kind))
        rows = self.direction
        if type(rows) is not tuple or any(type(row) is not tuple or len(row) != 3 for row in rows):
            made = tuple(_three("direction", row, float) for row in _three("direction", rows))
            object.__setattr__(self, "direction", made)

    @property
    def extent_mm(self) -> Triple:
        """Edge-to-edge size along z, y, x, mm."""
        return _triple(n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, mL."""
        return math.prod(self.spacing_mm) / 1000.0

    @property
    def _steps(self) -> npt.NDArray[np.float64]:
        """Rows: the LPS vector from one voxel to the next along z, y, x, mm."""
        return np.asarray(self.direction, float) * np.asarray(self.spacing_mm, float)[:, None]

    def voxel_to_lps(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map voxel positions (..., 3) in (z, y, x) to LPS (x, y, z) mm."""
        return np.asarray(points, float) @ self._steps + np.asarray(self.origin_mm)

    def lps_to_voxel(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map LPS (x, y, z) mm points (..., 3) to voxel positions in (z, y, x)."""
        return (np.asarray(points, float) - np.asarray(self.origin_mm)) @ np.linalg.inv(self._steps)

    def crop(self, box: Box) -> Geometry:
        """Return the grid of the voxels inside `box` (which may also reach outside: padding)."""
        return replace(
            self, shape=box.shape, origin_mm=_triple(self.voxel_to_lps(np.asarray(box.start)))
        )

    def pad(self, before: Index, after: Index) -> Geometry:
        """Return the grid with `before` and `after` more voxels at the faces, along z, y, x."""
        stop = _index(n + b for n, b in zip(self.shape, after, strict=True))
        return self.crop(Box(_index(-b for b in before), stop))

    def with_shape(self, shape: Index) -> Geometry:
        """Return a grid with `shape` voxels over the same field of view, aligned at the edges."""
        spacing = _triple(e / n for e, n in zip(self.extent_mm, shape, strict=True))
        first = [(new / old - 1) / 2 for new, old in zip(spacing, self.spacing_mm, strict=True)]
        return replace(
            self, shape=shape, spacing_mm=spacing, origin_mm=_triple(self.voxel_to_lps(first))
        )

    def with_spacing(self, spacing_mm: Triple) -> Geometry:
        """Return a grid over the same field of view with about this spacing.

        The number of voxels is rounded, so the spacing that results differs by up to half a voxel
        over the whole extent (nnU-Net's convention too).

        Examples
        --------
        >>> Geometry((10, 100, 100), (5.0, 0.8, 0.8)).with_spacing((2.5, 1.6, 1.6)).shape
        (20, 50, 50)
        """
        counts = (max(1, round(e / s)) for e, s in zip(self.extent_mm, spacing_mm, strict=True))
        return self.with_shape(_index(counts))

    def canonical_map(self) -> AxisMap:
        """Return the reordering that makes the array axes point to Superior, Posterior, Left."""
        towards = np.asarray(self.direction) @ np.asarray(CANONICAL).T
        best = max(
            permutations(range(3)), key=lambda p: sum(abs(towards[p[a], a]) for a in range(3))
        )
        flips = tuple(bool(towards[best[a], a] < 0) for a in range(3))
        return AxisMap(_index(best), (flips[0], flips[1], flips[2]))

    def permuted(self, axis_map: AxisMap) -> Geometry:
        """Return the grid of ``axis_map.apply(array)``: the same voxels at the same places."""
        order = axis_map.permutation
        first = [0.0, 0.0, 0.0]
        signs = []
        for new, old in enumerate(order):
            first[old] = float(self.shape[old] - 1) if axis_map.flips[new] else 0.0
            signs.append(-1.0 if axis_map.flips[new] else 1.0)
        rows = [
            _triple(sign * c for c in self.direction[old])
            for sign, old in zip(signs, order, strict=True)
        ]
        return Geometry(
            _index(self.shape[old] for old in order),
            _triple(self.spacing_mm[old] for old in order),
            _triple(self.voxel_to_lps(first)),
            (rows[0], rows[1], rows[2]),
        )

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and every corner voxel within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        away = self.voxel_to_lps(corners) - other.voxel_to_lps(corners)
        return bool(np.all(np.abs(away) <= tolerance_mm))


def box_of_world(box: Box, source: Geometry, target: Geometry) -> Box:
    """Return the smallest box of `target` voxels whose cells cover the cells of a `source` box.

    The grids may be turned against each other. Voxels outside `target` are left out, so the box is
    empty if the two do not meet.

    Examples
    --------
    >>> fine = Geometry((10, 10, 10), (1.0, 1.0, 1.0))
    >>> box_of_world(Box((1, 1, 1), (2, 3, 5)), fine.with_shape((5, 5, 5)), fine)
    Box(start=(2, 2, 2), stop=(4, 6, 10))
    """
    faces = np.array([box.start, box.stop], float) - 0.5
    corners = np.array(np.meshgrid(*faces.T)).reshape(3, -1).T  # (8, 3)
    moved = target.lps_to_voxel(source.voxel_to_lps(corners)) + 0.5
    low = np.floor(moved.min(axis=0) + NUDGE).astype(int)
    high = np.ceil(moved.max(axis=0) - NUDGE).astype(int)
    wide = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    return wide.intersect(Box.of_shape(target.shape))


def _index(values: Iterable[int]) -> Index:
    """Return three plain integers."""
    z, y, x = (int(v) for v in values)
    return z, y, x


def _triple(values: Iterable[float]) -> Triple:
    """Return three plain floats."""
    z, y, x = (float(v) for v in values)
    return z, y, x
