"""The two masks of one organ, and what several metrics need of them, computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.evaluate.metrics.lesion import LEAST_IOU, LesionMatch, match_lesions
from flare_core.evaluate.metrics.surface import SurfaceDistances, surface_distances
from flare_core.imaging.geometry import Box, Triple

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class OrganPair:
    """Prediction and reference of one organ in one case.

    Voxels outside the arrays are background: the arrays may be cut to the organ, and an organ at
    the scan's edge has a surface there, as in the organisers' scripts.

    Raises
    ------
    InputError
        If the two masks have different shapes.
    """

    prediction: Mask
    """(Z, Y, X)."""
    reference: Mask
    """(Z, Y, X), same shape."""
    spacing_mm: Triple
    """Voxel spacing along z, y, x."""
    tolerance_mm: float = 2.0
    """Distance up to which two surfaces count as the same, for NSD."""
    nsd_gate_dsc: float = 0.0
    """Where DSC is below this, NSD is 0 (the scripts save the time; FLARE: 0.2)."""
    lesion_iou: float = LEAST_IOU
    """A predicted lesion finds a true one if their intersection over union is above this."""

    def __post_init__(self) -> None:
        """Refuse masks of two grids."""
        if self.prediction.shape != self.reference.shape:
            raise InputError(
                "prediction",
                f"a mask of shape {self.prediction.shape}",
                f"the reference's shape {self.reference.shape}",
                "Bring both to one grid first.",
            )

    def cropped(self) -> OrganPair:
        """Return the same pair cut to the box around both masks."""
        box = Box.of_mask(self.prediction | self.reference)
        cut = (slice(0, 0),) * 3 if box is None else box.slices
        return OrganPair(
            prediction=self.prediction[cut],
            reference=self.reference[cut],
            spacing_mm=self.spacing_mm,
            tolerance_mm=self.tolerance_mm,
            nsd_gate_dsc=self.nsd_gate_dsc,
            lesion_iou=self.lesion_iou,
        )

    @cached_property
    def predicted_voxels(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def true_voxels(self) -> int:
        """Voxels of the reference."""
        return int(np.count_nonzero(self.reference))

    @cached_property
    def shared_voxels(self) -> int:
        """Voxels in both."""
        return int(np.count_nonzero(self.prediction & self.reference))

    @property
    def both_empty(self) -> bool:
        """Whether neither has the organ."""
        return self.predicted_voxels == 0 and self.true_voxels == 0

    @property
    def one_empty(self) -> bool:
        """Whether exactly one has the organ."""
        return (self.predicted_voxels == 0) != (self.true_voxels == 0)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return math.prod(self.spacing_mm) / 1000.0

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        """Distances between the two surfaces."""
        return surface_distances(self.prediction, self.reference, self.spacing_mm)

    @cached_property
    def lesions(self) -> LesionMatch:
        """Which lesions were found."""
        return match_lesions(self.prediction, self.reference, self.lesion_iou)
