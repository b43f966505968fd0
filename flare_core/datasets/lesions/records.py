"""What comes back: the scan with lesions, and a record of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import LESION

Index = tuple[int, int, int]


@dataclass(frozen=True)
class LesionRecord:
    """One synthetic lesion."""

    id: int
    """Its value in `LesionScan.instances`, from 1."""
    organ: str
    """Its host: a key of `kinds.LARGEST_MM`."""
    kind: str
    """Key of `kinds.KINDS`."""
    asked_mm: float
    """Diameter that was drawn, before an organ's surface cut it, mm."""
    diameter_mm: float
    """Diameter of the ball that has its volume, mm."""
    volume_ml: float
    """Volume of its mask."""
    centre: Index
    """The mask's centre of mass, voxel z, y, x."""
    hu: float
    """Mean under its mask, noise and partial volume included."""
    organ_hu: float
    """Median of the healthy organ before."""
    features: tuple[str, ...] = ()
    """Of rim, capsule, necrosis, calcification, lipiodol, infiltration, push, bulge."""


@dataclass(frozen=True)
class DecoyRecord:
    """One thing that is no lesion."""

    organ: str
    """Key of the organ it is in."""
    kind: str
    """One of `kinds.DECOYS`."""
    diameter_mm: float
    """Diameter that was drawn, mm."""
    centre: Index
    """Where, voxel z, y, x."""


@dataclass(frozen=True, eq=False)
class LesionScan:
    """A scan with synthetic lesions."""

    image: npt.NDArray[Any]
    """HU (Z, Y, X), of the type that came."""
    labels: npt.NDArray[np.uint8]
    """Organ ids (Z, Y, X); a lesion is part of its organ, and pushed organs moved."""
    instances: npt.NDArray[np.uint16]
    """Lesion ids (Z, Y, X), 0 where there is none."""
    records: tuple[LesionRecord, ...]
    """The lesions, in the order of their ids."""
    decoys: tuple[DecoyRecord, ...]
    """What was added and is no lesion."""
    phase: str
    """Contrast phase that was used."""

    def with_lesion_label(self) -> npt.NDArray[np.uint8]:
        """Return the labels with FLARE23's 14 over the organs."""
        return np.where(self.instances > 0, np.uint8(LESION.id), self.labels)
