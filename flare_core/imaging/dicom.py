"""One CT series from a folder of DICOM files: which series, whole and regular, in HU.

1. read every header once, group by series (`scan`);
2. choose the only series that is a volume, or the one asked for (`_choose`);
3. sort its slices by position and refuse gaps, duplicates, tilts (`_ordered`);
4. read the pixels, slope and intercept of each slice applied (`_read_slices`).

Files are read one by one through GDCM (in SimpleITK): twice as fast here as ITK's series reader,
which also lets gaps pass with a warning. 110 slices of 512 x 512: headers .07 s, pixels .2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging.checks import check_grid, orthonormal
from flare_core.imaging.dicom_headers import SliceHeader, Vector, first_number, gdcm_reader, scan
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.itk import compact, quiet, reason
from flare_core.imaging.volume import Volume

Array = npt.NDArray[Any]

GAP_TOLERANCE = 0.1
"""A gap may differ by this share of the usual one, or by `GAP_TOLERANCE_MM` (rounded positions)."""
GAP_TOLERANCE_MM = 0.15
SIDEWAYS_TOLERANCE_MM = 1.0
"""How far a slice may lie beside the line through the stack."""
TURN_TOLERANCE = 1e-3
"""How far a slice's axes may differ from the first one's (direction cosines)."""


@dataclass(frozen=True)
class SeriesInfo:
    """One DICOM series in a folder."""

    uid: str
    """Series instance UID."""
    description: str
    """What the scanner called it."""
    modality: str
    """CT, MR, PT, ..."""
    count: int
    """Number of images."""
    spacing_mm: tuple[float, float, float] | None
    """Along z, y, x, mm; None if its images have no place in space."""
    problem: str
    """Why it cannot be segmented as a CT volume; empty if it may be one."""


def list_series(folder: str | Path) -> tuple[SeriesInfo, ...]:
    """Return the series in a folder and its sub-folders, in the order of their series number.

    Raises
    ------
    InputError
        If the folder holds no DICOM image.
    """
    place = Path(folder)
    return tuple(_info(slices) for slices in scan(place))


def read_series(folder: Path, series: str | None = None) -> Volume:
    """Read the one CT series in a folder, or the one that `series` names.

    Parameters
    ----------
    folder : Path
        Holds DICOM files at any depth.
    series : str, optional
        A series UID, the unique start of one, or its number in `list_series`, from 1.

    Returns
    -------
    Volume
        (Z, Y, X) HU: int16 if every value fits, else float32. z follows the slices' normal.

    Raises
    ------
    InputError
        If there is no CT volume, or several and none is named; if slices are missing, doubled,
        broken, tilted, or differ in orientation, size or spacing.
    """
    slices, geometry = _ordered(folder, _choose(folder, scan(folder), series))
    check_grid(str(folder), geometry.shape, geometry.spacing_mm)
    return Volume(_read_slices(slices, geometry), geometry)


def _info(slices: Sequence[SliceHeader]) -> SeriesInfo:
    """Describe a series, and say why it is no CT volume if it is none."""
    first = slices[0]
    placed = [s for s in slices if s.placed and not s.localiser]
    depths = np.unique(np.round([_depth(s, placed[0]) for s in placed], 2))
    spacing = None
    if len(depths) > 1:
        spacing = (float(np.median(np.diff(depths))), *placed[0].spacing)
    return SeriesInfo(
        first.tags["series"],
        first.tags["description"],
        first.tags["modality"],
        len(slices),
        spacing,
        _problem(slices, len(depths)),
    )


def _problem(slices: Sequence[SliceHeader], positions: int) -> str:
    """Return why a series cannot be a CT volume, "" if it can."""
    modality = slices[0].tags["modality"]
    if modality not in ("CT", ""):
        return f"modality {modality}, not CT"
    if all(s.localiser for s in slices):
        return "localiser (scout)"
    if any(first_number(s.tags["frames"], 1.0) > 1 for s in slices):
        return "multi-frame (enhanced) DICOM; convert it with dcm2niix"
    if positions == 0:
        return "images without a place in space (screenshots, dose report)"
    if positions == 1:
        return "a single position (one slice, or bolus tracking)"
    return ""


def _choose(folder: Path, groups: list[list[SliceHeader]], series: str | None) -> list[SliceHeader]:
    """Return the series asked for, or the only one that can be a CT volume."""
    infos = [_info(group) for group in groups]
    usable = [i for i, info in enumerate(infos) if not info.problem]
    if series is not None:
        index = _named(infos, series)
        if infos[index].problem:
            raise _choice_error("--series", f"{series}: {infos[index].problem}", infos)
        return groups[index]
    if len(usable) == 1:
        return groups[usable[0]]
    if usable:
        raise _choice_error(str(folder), f"{len(usable)} DICOM series that may be meant", infos)
    raise _choice_error(str(folder), "DICOM images, but no CT volume", infos)


def _named(infos: Sequence[SeriesInfo], series: str) -> int:
    """Return the place of the series that a number, a UID or the start of a UID names."""
    if series.isdigit() and 1 <= int(series) <= len(infos):
        return int(series) - 1
    same = [i for i, info in enumerate(infos) if info.uid == series]
    matches = same or [i for i, info in enumerate(infos) if series and info.uid.startswith(series)]
    if len(matches) != 1:
        came = f"{series!r}, which {'no' if not matches else 'more than one'} series matches"
        raise _choice_error("--series", came, infos)
    return matches[0]


def _choice_error(argument: str, came: str, infos: Sequence[SeriesInfo]) -> InputError:
    """Return an error that lists the series as a table."""
    rows = [f"{came}:"]
    for number, info in enumerate(infos, 1):
        spacing = "" if info.spacing_mm is None else f", {info.spacing_mm[0]:g} mm apart"
        problem = f" [{info.problem}]" if info.problem else ""
        rows.append(
            f"    {number}  {info.modality or '??'}  {info.count} images{spacing}  "
            f"{info.description or '(no description)'}  {info.uid}{problem}"
        )
    return InputError(
        argument,
        "\n".join(rows),
        "one CT series of at least two slices",
        "Choose with --series: its number, its UID or the start of its UID."
        if any(not info.problem for info in infos)
        else "Give the folder of the CT series.",
    )


def _ordered(folder: Path, slices: Sequence[SliceHeader]) -> tuple[list[SliceHeader], Geometry]:
    """Return the slices from first to last along their normal, and the grid they make."""
    images = [s for s in slices if not s.localiser]
    _check_alike(folder, images)
    first = images[0]
    images.sort(key=lambda s: _depth(s, first))
    depths = np.array([_depth(s, images[0]) for s in images])
    _check_gaps(folder, images, depths)
    _check_straight(folder, images, depths)
    axes, origin = images[0].axes, images[0].position
    assert axes is not None and origin is not None  # _check_alike saw to it
    rows = orthonormal(str(folder), [_normal(axes), *axes])
    step = float(depths[-1] / (len(depths) - 1))
    shape = (len(images), *images[0].shape)
    start = (float(origin[0]), float(origin[1]), float(origin[2]))
    return images, Geometry(shape, (step, *images[0].spacing), start, rows)


def _normal(axes: Vector) -> Vector:
    """Return the unit vector across a slice: x direction times y direction."""
    across = np.cross(axes[1], axes[0])
    length = float(np.linalg.norm(across))
    return across / length if length else across


def _depth(header: SliceHeader, first: SliceHeader) -> float:
    """Return how far a slice lies from `first` along the first one's normal, mm."""
    if header.position is None or first.position is None or first.axes is None:
        return float("nan")
    return float((header.position - first.position) @ _normal(first.axes))


def _check_alike(folder: Path, slices: Sequence[SliceHeader]) -> None:
    """Refuse slices that differ in orientation, size or spacing, or have no place."""
    first = slices[0]
    for other in slices:
        if other.position is None or other.axes is None or first.axes is None:
            raise _irregular(folder, f"an image without position ({other.path.name})")
        if np.abs(other.axes - first.axes).max() > TURN_TOLERANCE:
            what = "mixed orientations"
        elif other.shape != first.shape:
            what = f"mixed sizes ({first.shape} and {other.shape} pixels)"
        elif not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            what = f"mixed pixel spacings ({first.spacing} and {other.spacing} mm)"
        else:
            continue
        raise _irregular(folder, f"{what}: {first.path.name} and {other.path.name} differ")


def _check_gaps(folder: Path, slices: Sequence[SliceHeader], depths: Vector) -> None:
    """Refuse doubled, missing and unevenly spaced slices, and name the first such place."""
    gaps = np.diff(depths)
    twice = np.flatnonzero(gaps < 0.01)
    if twice.size:
        a, b = slices[twice[0]], slices[twice[0] + 1]
        came = f"{twice.size} positions with two images (first: {a.path.name} and {b.path.name})"
        raise _irregular(folder, f"{came}, such as two phases in one series")
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(GAP_TOLERANCE * usual, GAP_TOLERANCE_MM))
    even = np.linspace(0.0, depths[-1], len(depths))
    if wrong.size:
        a, b = slices[wrong[0]], slices[wrong[0] + 1]
        place = f"between {a.path.name} ({_at(a)}) and {b.path.name} ({_at(b)})"
        raise _irregular(
            folder,
            f"{wrong.size} uneven gaps: {gaps[wrong[0]]:.2f} mm {place}, {usual:.2f} mm elsewhere"
            " (missing slices?)",
        )
    if np.abs(depths - even).max() > 0.5 * usual:
        raise _irregular(folder, f"slices from {gaps.min():.2f} to {gaps.max():.2f} mm apart")


def _check_straight(folder: Path, slices: Sequence[SliceHeader], depths: Vector) -> None:
    """Refuse a stack whose slices do not lie one above the other (gantry tilt)."""
    first = slices[0]
    if first.position is None or first.axes is None:
        return
    places = np.array([s.position for s in slices]) - first.position
    sideways = np.linalg.norm(places - np.outer(depths, _normal(first.axes)), axis=1)
    if sideways.max() > SIDEWAYS_TOLERANCE_MM:
        tilt = float(np.degrees(np.arctan2(sideways[-1], depths[-1])))
        raise InputError(
            str(folder),
            f"slices shifted sideways by up to {sideways.max():.1f} mm (gantry tilted by about "
            f"{tilt:.1f} degrees)",
            "slices that lie straight one above the other",
            "Convert the series with dcm2niix, which corrects the tilt, and give its file.",
        )


def _irregular(folder: Path, came: str) -> InputError:
    """Return the error for slices that do not make a regular grid."""
    return InputError(
        str(folder),
        came,
        "slices of one size and orientation, evenly spaced, each position once",
        "Export the whole series again, and nothing but this series.",
    )


def _at(header: SliceHeader) -> str:
    """Return a slice's place for people."""
    return "?" if header.position is None else f"z = {header.position[2]:.2f} mm"


def _read_slices(slices: Sequence[SliceHeader], geometry: Geometry) -> Array:
    """Return all pixels (Z, Y, X) in HU; GDCM applies each slice's own slope and intercept."""
    volume: Array = np.empty(geometry.shape, np.int16)
    for z, header in enumerate(slices):
        try:
            with quiet():
                image = gdcm_reader(header.path).Execute()
        except RuntimeError as error:
            raise InputError(
                str(header.path),
                f"pixels that cannot be read: {reason(error)}",
                "complete DICOM slices, compressed by a method of the DICOM standard or not at all",
                "Export the series again, uncompressed.",
            ) from error
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise _irregular(header.path.parent, f"a colour image ({header.path.name})")
        plane = compact(sitk.GetArrayViewFromImage(image).reshape(1, *geometry.shape[1:]))
        if plane.dtype != np.int16 and volume.dtype == np.int16:
            volume = volume.astype(np.float32)
        volume[z] = plane[0]
    return volume
