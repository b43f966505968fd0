"""Scans brought to a network's voxel size once, kept on disk, read in milliseconds afterwards."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.datasets.case import Case
from flare_core.errors import InputError
from flare_core.imaging.crop import body_box
from flare_core.imaging.files import read_labels, read_volume
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.resample import resample_intensity, resample_labels
from flare_core.imaging.volume import Volume

FORMAT = 1
"""Changes when what is cached changes."""

PLACES_PER_ORGAN = 4000
"""Voxels of every organ that are remembered as patch centres."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A case at one voxel size, canonical axes, cut to the body."""

    case: Case
    """Where it comes from."""
    image: npt.NDArray[np.int16]
    """HU (Z, Y, X)."""
    labels: npt.NDArray[np.uint8]
    """Organ ids (Z, Y, X); all 0 if unlabelled."""
    spacing_mm: tuple[float, float, float]
    """Voxel size z, y, x, mm."""
    places: dict[int, npt.NDArray[np.int16]]
    """Organ id -> some of its voxels (n, 3) in (z, y, x)."""


def load_sample(case: Case, spacing_mm: tuple[float, float, float], folder: Path) -> Sample:
    """Return the case at about `spacing_mm`, from `folder` if it was there already.

    The name in the cache holds a hash of the files' paths, sizes and times, so a changed scan or
    label map is never confused with the old one.

    Raises
    ------
    InputError
        If a file cannot be read, or the labels are no label map on the scan's grid.
    """
    name = re.sub(r"[^\w.-]", "_", case.name)
    path = folder / f"{name}-{_fingerprint(case, spacing_mm)}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        image, labels = _prepare(case, spacing_mm)
        with atomic.atomic_path(path) as part, part.open("wb") as stream:
            np.savez(
                stream,
                image=image.array,
                labels=labels,
                spacing=np.asarray(image.geometry.spacing_mm),
            )
    with np.load(path, allow_pickle=False) as stored:
        z, y, x = stored["spacing"].tolist()
        return sample_of_arrays(case, stored["image"], stored["labels"], (z, y, x))


def sample_of_arrays(
    case: Case,
    image: npt.NDArray[np.int16],
    labels: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
) -> Sample:
    """Return a sample with its patch centres looked up."""
    return Sample(case, image, labels, spacing_mm, _places(labels))


def _prepare(
    case: Case, spacing_mm: tuple[float, float, float]
) -> tuple[Volume, npt.NDArray[np.generic]]:
    """Read, turn, cut and resample one case; return int16 HU and uint8 labels on the same grid."""
    whole = read_volume(case.image).canonical()[0]
    box = body_box(whole) or Box.of_shape(whole.geometry.shape)
    image = whole.crop(box)
    target = image.geometry.with_spacing(spacing_mm)
    small = resample_intensity(image, target)
    rounded = small.with_array(np.rint(small.array).astype(np.int16))
    if case.labels is None:
        return rounded, np.zeros(target.shape, np.uint8)
    labels = _labels_on(case.labels, whole.geometry).crop(box)
    return rounded, resample_labels(Volume(labels.array, image.geometry), target).array


def _labels_on(path: Path, grid: Geometry) -> Volume:
    """Read a label map with canonical axes and check that it has the scan's grid."""
    labels = read_labels(path).canonical()[0]
    if not labels.geometry.same_grid(grid, tolerance_mm=0.5):
        raise InputError(
            str(path),
            str(labels.geometry),
            f"the grid of the scan, {grid}",
            "Resample the label map onto the scan, or correct the pair of files.",
        )
    return labels


def _places(labels: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.int16]]:
    """Return up to PLACES_PER_ORGAN voxels of every organ, spread evenly over it."""
    flat = np.flatnonzero(labels)
    values = labels.ravel()[flat]
    places = {}
    for organ_id in np.unique(values):
        mine = flat[values == organ_id]
        mine = mine[:: -(-len(mine) // PLACES_PER_ORGAN)]
        places[int(organ_id)] = np.stack(np.unravel_index(mine, labels.shape), 1).astype(np.int16)
    return places


def _fingerprint(case: Case, spacing_mm: tuple[float, float, float]) -> str:
    """Return a short hash of what the cached arrays depend on."""
    parts: list[object] = [FORMAT, spacing_mm]
    for path in (case.image, case.labels):
        if path is not None:
            stat = path.stat()
            parts += [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
