"""Scans brought to a network's voxel size once, kept on disk, read in milliseconds afterwards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.label_schemes import scheme
from flare_core.anatomy.organs import organ
from flare_core.cases.checks import check_values
from flare_core.datasets.cache_file import map_arrays, tidy, write_arrays
from flare_core.datasets.case import Case
from flare_core.datasets.flare.cases import FlareCase
from flare_core.datasets.flare.labels import convert
from flare_core.errors import InputError
from flare_core.imaging.apart import read_labels, read_volume
from flare_core.imaging.checks import NotHU, check_ct
from flare_core.imaging.file_facts import file_facts
from flare_core.imaging.geometry import GRID_TOLERANCE_MM, Box, Geometry, Index, Triple
from flare_core.imaging.resample import resample_intensity, resample_labels
from flare_core.imaging.volume import Volume, body_box

FORMAT = 2
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
    volumes_ml: dict[int, float]
    """Organ id -> volume, mL, of each organ that there is."""
    edited: npt.NDArray[np.bool_] | None = None
    """Where a person corrected a label map (Z, Y, X); None if none was corrected."""
    soft: npt.NDArray[np.int16] | None = None
    """What else each voxel may be (Z, Y, X), see `soft_map`; None without soft labels."""


def load_sample(
    case: Case,
    spacing_mm: Triple,
    folder: Path,
    *,
    whole: Index | None = None,
    assume_hu: bool = False,
) -> Sample:
    """Return the case at about `spacing_mm`, from `folder` if it was there already.

    With `whole` the body has so many voxels z, y, x, whatever its size, and voxels of its own size.
    `assume_hu` takes for HU what does not look like it.

    Its arrays are mapped from the file: what is not looked at is not read.

    The name in the cache holds a hash of the files' paths, sizes and times, so a changed scan or
    label map is never confused with the old one.

    Raises
    ------
    InputError
        If a file cannot be read, the scan is no CT in HU, or the labels are no label map on its
        grid, or hold numbers that are none of ours.
    """
    name = re.sub(r"[^\w.-]", "_", case.name)
    fingerprint = _fingerprint(case, spacing_mm, whole, assume_hu=assume_hu)
    path = folder / f"{name}-{fingerprint}.npz"
    tidy(folder)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(path, _prepare(case, spacing_mm, whole, assume_hu=assume_hu))
    stored = map_arrays(path)
    z, y, x = stored["spacing"].tolist()
    places = {int(k): part[:, 1:] for k, part in _by_organ(stored["places"])}
    volumes = dict(zip(stored["organs"].tolist(), stored["volumes"].tolist(), strict=True))
    if case.labels is not None:  # also of what an earlier version cached
        check_values(case.labels, list(volumes))
    image, labels = stored["image"], stored["labels"]
    edited, soft = stored.get("edited"), stored.get("soft")
    return Sample(case, image, labels, (z, y, x), places, volumes, edited, soft)


def _by_organ(rows: npt.NDArray[np.int16]) -> list[tuple[int, npt.NDArray[np.int16]]]:
    """Return rows (organ id, z, y, x), which are sorted by organ, as one block for each organ."""
    ids, starts = np.unique(rows[:, 0], return_index=True)
    return list(zip(ids.tolist(), np.split(rows, starts[1:]), strict=True)) if len(ids) else []


def _prepare(
    case: Case, spacing_mm: Triple, whole: Index | None, *, assume_hu: bool = False
) -> dict[str, npt.NDArray[np.generic]]:
    """Read, turn, cut and resample one case; return what is cached, all on the same grid."""
    scan = _scan(case, assume_hu=assume_hu).canonical()[0]
    image = scan.crop(box := body_box(scan) or Box.of_shape(scan.geometry.shape))
    body = image.geometry
    target = body.with_shape(whole) if whole else body.with_spacing(spacing_mm)
    small = resample_intensity(image, target)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "image": np.rint(small.array).astype(np.int16),
        "labels": np.zeros(target.shape, np.uint8),
        "spacing": np.asarray(target.spacing_mm),
    }
    for name in ("labels", "before", "soft"):
        path = getattr(case, name)
        if path is not None:
            labels = _labels_on(path, _read_map(case, name, path), scan.geometry).crop(box)
            arrays[name] = resample_labels(Volume(labels.array, body), target).array
    return _finished(case, arrays)


def _scan(case: Case, *, assume_hu: bool) -> Volume:
    """Return a case's scan if it is a CT in HU: of another, a network learns what is not there."""
    scan = read_volume(case.image)
    try:
        check_ct(scan, argument=str(case.image), assume_hu=assume_hu)
    except NotHU as error:
        argument, came, legal, action = error.parts
        say = ' If they are HU all the same, say so: "assume_hu": true in the configuration.'
        raise InputError(argument, came, legal, action + say) from error
    return scan


def _finished(case: Case, arrays: dict[str, Any]) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays with what would otherwise be worked out at every start of a run."""
    labels = arrays["labels"]
    if "before" in arrays:
        arrays["edited"] = _edited(case, arrays.pop("before"), labels)
    if "soft" in arrays:
        arrays["soft"] = arrays["soft"].astype(np.int16)
    places = [np.insert(where, 0, k, axis=1) for k, where in _places(labels).items()]
    volumes = _volumes_ml(labels, arrays["spacing"])
    return arrays | {
        "places": np.concatenate([np.empty((0, 4), np.int16), *places]),
        "organs": np.array(list(volumes), np.int64),
        "volumes": np.array(list(volumes.values()), np.float64),
    }


def _edited(
    case: Case, before: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return where the labels differ from those before, in the organs that were reviewed."""
    known = np.zeros(256, np.uint8)
    ids = [organ(key).id for key in case.reviewed or case.annotated]
    known[ids] = ids
    return known[before] != known[labels]


def _volumes_ml(labels: npt.NDArray[np.uint8], spacing_mm: Sequence[float]) -> dict[int, float]:
    """Return organ id -> mL of each organ that there is."""
    sizes = np.bincount(labels.ravel(), minlength=256)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    return {int(k): float(sizes[k]) * voxel_ml for k in np.flatnonzero(sizes) if k}


def _read_map(case: Case, name: str, path: Path) -> Volume:
    """Read one of a case's maps; labels in the numbers of another edition become ours."""
    if name == "soft":
        return read_volume(path)
    labels, numbers = read_labels(path), _foreign_numbers(case)
    return convert(labels, scheme(numbers), case.image) if numbers else labels


def _foreign_numbers(case: Case) -> str:
    """Return which numbers a case's label map uses if they are not ours, else nothing."""
    if not isinstance(case, FlareCase) or case.labels is None:
        return ""
    return "" if scheme(case.scheme).has_our_ids else case.scheme


def _labels_on(path: Path, labels: Volume, grid: Geometry) -> Volume:
    """Return a label map with canonical axes after checking that it has the scan's grid."""
    labels = labels.canonical()[0]
    if not labels.geometry.same_grid(grid, tolerance_mm=GRID_TOLERANCE_MM):
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


def _fingerprint(
    case: Case, spacing_mm: Triple, whole: Index | None, *, assume_hu: bool = False
) -> str:
    """Return a short hash of what the cached arrays depend on, and whether there may be any."""
    parts: list[object] = [FORMAT, ("whole", whole) if whole else spacing_mm]
    if assume_hu:  # a run without it refuses what one with it cached
        parts.append("assumed to be HU")
    if case.before is not None:
        parts.append(case.reviewed or case.annotated)
    if numbers := _foreign_numbers(case):
        parts.append(numbers)
    for path in (case.image, case.labels, case.before, case.soft):
        if path is not None:
            parts += file_facts(path)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
