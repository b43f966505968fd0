"""A small scan with round organs, made in code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import organ

FAT_HU = -100
SPACING = (2.5, 1.5, 1.5)
PORTAL_HU = {"liver": 105, "spleen": 120, "pancreas": 92, "right_kidney": 185, "aorta": 150}
"""HU in the portal phase."""


def made_scan(
    organs: dict[str, tuple[tuple[float, float, float], float]] | None = None,
    *,
    shape: tuple[int, int, int] = (40, 72, 72),
    spacing: tuple[float, float, float] = SPACING,
    noise: float = 8.0,
    hu: dict[str, float] | None = None,
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return HU and organ ids: balls of (centre mm, radius mm) in fat; one liver by default."""
    organs = organs or {"liver": ((50.0, 54.0, 54.0), 44.0)}
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    image = np.full(shape, float(FAT_HU))
    labels = np.zeros(shape, np.uint8)
    for key, (centre, radius) in organs.items():
        away = np.sqrt(((grid - np.array(centre)[:, None, None, None]) ** 2).sum(axis=0))
        inside = away < radius
        labels[inside] = organ(key).id
        image[inside] = {**PORTAL_HU, **(hu or {})}.get(key, 80)
    image += np.random.default_rng(1).normal(0, noise, shape)
    return np.rint(image).astype(np.int16), labels
