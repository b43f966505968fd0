"""Regions drawn on a scan, as both kinds of DICOM object give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flare_core.imaging.dicom.sources import Concept


@dataclass(frozen=True)
class DrawnRegion:
    """One thing that was drawn."""

    number: int
    """In its file."""
    name: str
    """What it is called there."""
    codes: tuple[Concept | None, Concept | None, Concept | None] = (None, None, None)
    """Category, type and side, where the file says them in codes."""
    automatic: bool = False
    """Whether the file says that a program drew it alone."""


@dataclass(frozen=True)
class Drawn:
    """What a structure set or a segmentation holds."""

    series: str
    """UID of the series it was drawn on, "" if it does not say."""
    study: str
    """UID of the study."""
    patient: str
    """Who was scanned, "" if it does not say."""
    label: str
    """What the file calls itself."""
    regions: tuple[DrawnRegion, ...]
    """In the file's order."""


@dataclass(frozen=True, eq=False)
class PaintedRegions:
    """Regions on a scan's grid."""

    labels: npt.NDArray[np.uint8]
    """Their values (Z, Y, X), 0 elsewhere."""
    notes: tuple[str, ...]
    """What was left out, and what is odd."""
    covered: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Voxels of one value (first) that another (second) was painted over."""


def count_covered(
    covered: Counter[tuple[int, int]], before: npt.NDArray[np.uint8], value: int
) -> None:
    """Count the voxels (N,) of other values that a value is about to be painted over.

    Examples
    --------
    >>> covered = Counter()
    >>> count_covered(covered, np.array([0, 1, 1, 2], np.uint8), 2)
    >>> covered
    Counter({(1, 2): 2})
    """
    for number, voxels in enumerate(np.bincount(before)):
        if voxels and number not in (0, value):
            covered[number, value] += int(voxels)
