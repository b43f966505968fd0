"""Tissues without a label, told from HU on a coarse grid: lung, bone, inner fat, muscle.

For lesions of the whole body (FLARE24 task 1): nodules, bone metastases, lymph nodes, soft tissue.
Made for phantoms and whole scans; told less surely in a patch that shows no air around the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

AIR_HU = -300.0
"""Between the body and the air around it."""
TISSUE_HU: dict[str, tuple[float, float]] = {
    "lung": (-940.0, -650.0),
    "bone": (90.0, 900.0),
    "lymph_node": (-135.0, -70.0),
    "muscle": (30.0, 90.0),
}
"""Mean of a voxel and its neighbours in each tissue; lymph nodes lie in fat."""
LEAST_ML = {"lung": 60.0, "bone": 2.0, "lymph_node": 4.0, "muscle": 8.0}
"""A smaller piece is not trusted."""
LEAST_DEEP_MM = {"lung": 12.0, "bone": 8.0, "lymph_node": 26.0, "muscle": 8.0}
"""How far below the skin it is; fat nearer to it has few nodes."""
IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([0, 1, 0], bool)[:, None, None]
"""Neighbours within a slice."""
CORTEX_HU = 280.0
"""Bone is what this encloses in a slice; contrast in heart and vessels is not enclosed."""


def tissue_mask(
    key: str, hu: npt.NDArray[Any], labels: npt.NDArray[np.uint8], spacing_mm: Sequence[float]
) -> Mask:
    """Return where a tissue is on a coarse grid (Z, Y, X), away from organs with a label."""
    low, high = TISSUE_HU[key]
    smooth = ndimage.uniform_filter(hu.astype(np.float32), (1, 3, 3), mode="nearest")
    mask = (smooth > low) & (smooth < high) & (labels == 0)
    if key == "bone":
        cortex = ndimage.binary_closing(hu > CORTEX_HU, IN_PLANE)
        mask &= ndimage.binary_fill_holes(cortex, IN_PLANE)
    if mask.any():
        mask &= below_skin(hu, LEAST_DEEP_MM[key], spacing_mm)
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel()) * float(np.prod(spacing_mm)) / 1000
    sizes[0] = 0
    return np.asarray(sizes[pieces] > LEAST_ML[key])


def below_skin(hu: npt.NDArray[Any], depth_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """Return what lies that deep below the skin (Z, Y, X), slice by slice.

    Air that touches a side of a slice is outside, with the table it surrounds; lungs touch none.
    """
    pieces, count = ndimage.label(hu < AIR_HU, IN_PLANE)
    sides = np.concatenate([pieces[:, [0, -1]].ravel(), pieces[:, :, [0, -1]].ravel()])
    outer = np.zeros(count + 1, bool)
    outer[sides] = True
    outer[0] = False
    steps = max(1, round(depth_mm / min(spacing_mm[1:])))
    # What the scan's side cuts goes on there.
    body = ndimage.binary_opening(
        np.pad(~outer[pieces], ((0, 0), (2, 2), (2, 2)), mode="edge"), IN_PLANE, 2
    )
    return np.asarray(ndimage.binary_erosion(body[:, 2:-2, 2:-2], IN_PLANE, steps, border_value=1))
