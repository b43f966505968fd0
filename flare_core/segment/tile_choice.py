"""Which tiles of a stage need not be run: those far from what was found, or beside an empty one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from flare_core.imaging.geometry import Box, Index
from flare_core.models.stage_card import Skipping

Wanted = Callable[[Box], bool]
"""Whether the part of an image that only one tile is there for has something to find."""


def with_a_middle(starts: Sequence[int]) -> list[int]:
    """Return where tiles begin along an axis, one more if they have no middle one.

    Examples
    --------
    >>> with_a_middle([0, 40]), with_a_middle([0]), with_a_middle([0, 20, 40])
    ([0, 20, 40], [0], [0, 20, 40])
    """
    count = len(starts) + (len(starts) + 1) % 2
    even = (round(i * starts[-1] / max(1, count - 1)) for i in range(count))
    return list(dict.fromkeys(even))  # between neighbouring voxels there is no room for another


def own_parts(starts: Sequence[int], patch: int, size: int) -> dict[int, tuple[int, int]]:
    """Return by a tile's start what is nearer to its middle than to another's, along one axis.

    Examples
    --------
    >>> own_parts([0, 4, 8], patch=8, size=16)
    {0: (0, 6), 4: (6, 10), 8: (10, 16)}
    """
    edges = [0, *((a + b + patch) // 2 for a, b in pairwise(starts)), size]
    return dict(zip(starts, pairwise(edges), strict=True))


@dataclass(frozen=True)
class TileChoice:
    """The tiles of one image, and which of them are looked at when."""

    tiles: Sequence[Index]
    """First voxel z, y, x of each, in the order in which they are run."""
    starts: tuple[Sequence[int], Sequence[int], Sequence[int]]
    """Where tiles may begin along z, y, x; one axis after the other."""
    patch: Index
    """Voxels z, y, x."""
    shape: Index
    """Of the image, z, y, x."""
    skipping: Skipping | None = None
    """Rules for tiles beside one another."""

    def near(self, wanted: Wanted | None) -> TileChoice:
        """Return the tiles whose own part is wanted; all if nobody says what is."""
        if wanted is None:
            return self
        axes = zip(self.starts, self.patch, self.shape, strict=True)
        parts = [own_parts(starts, n, size) for starts, n, size in axes]
        return replace(self, tiles=[t for t in self.tiles if wanted(_box(t, parts))])

    def waves(self, tiles: Sequence[Index]) -> tuple[list[Index], list[Index]]:
        """Return the tiles that are run first, and those that wait for what the first ones find.

        A middle tile decides on those beside it, at the same place along z. Where it is not to be
        run itself, nobody decides on them, and they are run.
        """
        if self.skipping is None or not self.skipping.centre_first:
            return list(tiles), []
        middle = tuple(starts[len(starts) // 2] for starts in self.starts[1:])
        deciding = {tile[0] for tile in tiles if tile[1:] == middle}
        waiting = [tile for tile in tiles if tile[1:] != middle and tile[0] in deciding]
        return [tile for tile in tiles if tile not in set(waiting)], waiting

    def worth_going_on(self, classes: Tensor) -> bool:
        """Whether the tiles beside a middle one are run.

        Parameters
        ----------
        classes : uint8 or bool (Z, Y, X)
            Of the middle tile; not 0 where something was found.
        """
        assert self.skipping is not None
        found = classes != 0
        if self.skipping.centre_first == "edge":
            edge = found.clone()
            y, x = (0 if len(starts) == 1 else 1 for starts in self.starts[1:])
            edge[:, y : found.shape[1] - y, x : found.shape[2] - x] = False
            found = edge
        return int(found.sum()) >= self.skipping.least_voxels


def _box(tile: Index, parts: Sequence[dict[int, tuple[int, int]]]) -> Box:
    (z0, z1), (y0, y1), (x0, x1) = (each[a] for each, a in zip(parts, tile, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))
