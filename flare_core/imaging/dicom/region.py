"""Regions drawn on a scan, as both kinds of DICOM object give them."""

from __future__ import annotations

from dataclasses import dataclass

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
