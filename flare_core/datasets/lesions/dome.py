"""Partial volume at an organ's upper end, where the diaphragm moved or the slices are thick.

A smooth patch of the scan is averaged over neighbouring slices, so that lung or fat mixes into the
organ: a dark, round, blurred spot that is no tumour.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from flare_core.datasets.lesions.paint import Canvas, as_type
from flare_core.datasets.lesions.shape import Window

DOME_MM = (14.0, 40.0)
"""Diameter of the patch."""
MIX_MM = (3.0, 6.0)
"""Over which height slices mix."""


def paint_dome(
    canvas: Canvas, centre: tuple[int, int, int], random: np.random.Generator
) -> float | None:
    """Mix slices around a centre; the labels stay. Return the diameter, mm."""
    size, mix = random.uniform(*DOME_MM), random.uniform(*MIX_MM)
    step = canvas.spacing_mm[0]
    window = Window.around(centre, size / 2 + 2 * mix, canvas.image.shape, canvas.spacing_mm)
    if window.shape[0] < 2:
        return None
    image = canvas.image[window.slices].astype(np.float32)
    z, y, x = window.offsets_mm()
    away = np.sqrt(z * z + y * y + x * x) / np.float32(size / 2)
    share = np.clip(1.6 * (1 - away), 0, 1)
    mixed = gaussian_filter1d(image, mix / step, axis=0, mode="nearest", truncate=2.0)
    image += share * (mixed - image)
    canvas.image[window.slices] = as_type(image, canvas.image.dtype)
    return float(size)
