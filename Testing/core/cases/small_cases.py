"""Small scans and label maps for the tests of the case store, and a store in a new folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

GRID = Geometry((4, 6, 8), (5.0, 2.0, 1.0), (3.0, -4.0, 100.0))
"""192 voxels of 0.01 mL."""

LIVER, RIGHT_KIDNEY, SPLEEN, LESION = 1, 2, 3, 14


def scan(path: Path, seed: int = 0, grid: Geometry = GRID) -> Path:
    """Write a scan; each seed gives other voxels."""
    hu = np.random.default_rng(seed).integers(-200, 300, grid.shape).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(hu, grid))
    return path


def labels(path: Path, voxels: Mapping[int, int], grid: Geometry = GRID) -> Path:
    """Write a label map with runs of voxels, value -> number, one after the other."""
    flat = np.zeros(int(np.prod(grid.shape)), np.uint8)
    place = 0
    for value, count in voxels.items():
        flat[place : place + count] = value
        place += count
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = Volume(flat.reshape(grid.shape), grid)
    if path.name.endswith(".nii.gz"):
        write_labels(path, volume)
    else:
        write_volume(path, volume)
    return path
