"""Exact statistics of whole numbers from counts: no voxel is kept, however many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

LOWEST_HU = -(2**15)
"""HU of the first bin."""
BINS = 2**16
"""One bin for every int16 value; HU beyond are counted in the first or last one."""


@dataclass(frozen=True)
class HuStatistics:
    """The seeds' row of numbers about the voxels of an organ, HU."""

    voxels: int
    """How many voxels."""
    minimum: float
    """Smallest value."""
    low: float
    """0.5th percentile."""
    median: float
    """50th percentile."""
    mean: float
    """Arithmetic mean."""
    sd: float
    """Standard deviation of the voxels (divided by their number)."""
    high: float
    """99.5th percentile."""
    maximum: float
    """Largest value."""


@dataclass(frozen=True)
class Spread:
    """Where the values of many cases lie."""

    minimum: float
    """Smallest."""
    median: float
    """Middle one."""
    mean: float
    """Arithmetic mean."""
    maximum: float
    """Largest."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values; NaN of none.

        Examples
        --------
        >>> Spread.of([3.0, 1.0, 8.0])
        Spread(minimum=1.0, median=3.0, mean=4.0, maximum=8.0)
        """
        if not len(values):
            return cls(math.nan, math.nan, math.nan, math.nan)
        found = (np.min(values), np.median(values), np.mean(values), np.max(values))
        return cls(*(float(value) for value in found))


def hu_statistics(counts: Counts, lowest: int = LOWEST_HU) -> HuStatistics | None:
    """Return the statistics of voxels counted by value; None if there are none.

    Parameters
    ----------
    counts : int64 (n,)
        Voxels of each HU, the first bin's being `lowest`.

    Examples
    --------
    >>> hu_statistics(np.array([1, 0, 3]), 40)
    HuStatistics(voxels=4, minimum=40.0, low=40.03, median=42.0, mean=41.5, sd=0.866025403784\
4386, high=42.0, maximum=42.0)
    """
    there = np.flatnonzero(counts)
    if not there.size:
        return None
    values, weights = there + lowest, counts[there].astype(float)
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values - mean) ** 2, weights=weights))
    low, median, high = (percentile(counts, q, lowest) for q in (0.5, 50.0, 99.5))
    return HuStatistics(
        int(counts.sum()), float(values[0]), low, median, mean, math.sqrt(variance), high,
        float(values[-1]),
    )  # fmt: skip


def percentile(counts: Counts, q: float, lowest: int = LOWEST_HU) -> float:
    """Return what `numpy.percentile` would of the voxels themselves (linear interpolation).

    Examples
    --------
    >>> percentile(np.array([2, 0, 0, 0, 1]), 75.0, 0), float(np.percentile([0, 0, 4], 75))
    (2.0, 2.0)
    """
    reached = np.cumsum(counts)
    place = (int(reached[-1]) - 1) * q / 100
    below, above = np.searchsorted(reached, [math.floor(place), math.ceil(place)], side="right")
    return float(lowest + below + (above - below) * (place - math.floor(place)))


def coarse(counts: Counts, lowest: int, start: float, width: float, bars: int) -> list[int]:
    """Return the voxels in each of some equal bars from `start`; those outside are left out.

    Examples
    --------
    >>> coarse(np.array([5, 1, 1, 1, 9]), 0, 1, 1.5, 2)
    [2, 1]
    """
    there = np.flatnonzero(counts)
    bar = np.floor((there + lowest - start) / width).astype(int)
    inside = (bar >= 0) & (bar < bars)
    found = np.bincount(bar[inside], weights=counts[there[inside]], minlength=bars)
    return [int(n) for n in found]
