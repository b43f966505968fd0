"""Scans brought to a network's voxel size once, kept on disk, read in milliseconds afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.datasets.case import Case
from flare_core.errors import InputError
from flare_core.imaging.crop import body_box
from flare_core.imaging.files import read_volume
from flare_core.imaging.geometry import Box
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
    """
    path = folder / f"{case.name}-{_fingerprint(case, spacing_mm)}.npz"
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


def _prepare(case: Case, spacing_mm: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """Read, turn, cut and resample one case."""
    whole = read_volume(case.image).canonical()[0]
    box = body_box(whole) or Box.of_shape(whole.geometry.shape)
    image = whole.crop(box)
    target = image.geometry.with_spacing(spacing_mm)
    small = resample_intensity(image, target)
    rounded = small.with_array(np.rint(small.array).astype(np.int16))
    if case.labels is None:
        return rounded, np.zeros(target.shape, np.uint8)
    labels = read_volume(case.labels).canonical()[0]
    if not labels.geometry.same_grid(whole.geometry, tolerance_mm=0.5):
        raise InputError(
            str(case.labels),
            f"{labels.geometry}",
            f"the grid of the scan, {whole.geometry}",
            "Resample the label map onto the scan, or correct the pair of files.",
        )
    cut = labels.with_array(labels.array.astype(np.uint8)).crop(box)
    return rounded, resample_labels(Volume(cut.array, image.geometry), target).array


def _places(labels: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.int16]]:
    """Return up to PLACES_PER_ORGAN voxels of every organ, spread evenly over it."""
    flat = np.flatnonzero(labels)
    values = labels.ravel()[flat]
    places = {}
    for organ_id in np.unique(values):
        mine = flat[values == organ_id]
        mine = mine[:: max(1, len(mine) // PLACES_PER_ORGAN)]
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
