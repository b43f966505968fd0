"""One CT series from a folder of DICOM files: which series, whole and regular, in HU.

1. read every header once, group by series (`dicom_scan`);
2. choose the only series that is a volume, or the one asked for (`_choose`);
3. sort its slices by position and refuse gaps, duplicates, tilts (`_ordered`);
4. read the pixels, slope and intercept of each slice applied (`dicom_pixels`).

What was mended or left out on the way stands in the volume's notes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.checks import check_grid, orthonormal
from flare_core.imaging.dicom.headers import (
    ENHANCED_CLASSES,
    SliceHeader,
    Vector,
    computed,
    first_number,
)
from flare_core.imaging.dicom.pixels import Coding, coding_of, hounsfield
from flare_core.imaging.dicom.scan import SeriesFiles, scan, volume_images
from flare_core.imaging.geometry import Geometry, Matrix
from flare_core.imaging.volume import Volume
from flare_core.wording import many

Array = npt.NDArray[Any]

GAP_TOLERANCE = 0.1
"""A gap may differ by this share of the usual one, or by `GAP_TOLERANCE_MM` (rounded positions)."""
GAP_TOLERANCE_MM = 0.15
SIDEWAYS_TOLERANCE_MM = 1.0
"""How far a slice may lie beside the line through the stack."""
SIDEWAYS_SHARE = 0.5
"""Share of a pixel from which that is worth a note."""
TURN_TOLERANCE = 1e-3
"""How far a slice's axes may differ from the first one's (direction cosines)."""
UNEVEN_SHARE, UNEVEN_MM = 0.02, 0.02
"""Gaps that differ by more than both from the mean are worth a note."""
CUT_TURN = 0.03
"""How far cut decimals of an orientation may turn its axes, radians: 1.7 degrees."""
ODD_HU = 200.0
"""Difference to the next slice that tissue does not explain over half of the image."""


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


MULTI_FRAME = "multi-frame (enhanced) DICOM: all slices in one file"
"""Their values and places lie in sequences for each frame, which this reader does not follow."""


def list_series(folder: str | Path) -> tuple[SeriesInfo, ...]:
    """Return the series in a folder and its sub-folders, in the order of their series number.

    Raises
    ------
    InputError
        If the folder holds no DICOM image.
    """
    place = Path(folder)
    return tuple(_info(series.slices) for series in scan(place))


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
    slices, geometry, found = _slices(folder, series)
    codings = [coding_of(header) for header in slices]
    check_grid(str(folder), geometry.shape, geometry.spacing_mm)
    array, mended = _read_slices(slices, codings, geometry)
    _check_odd_scales(slices, codings, array)
    if made := computed(slices):
        found += (f"The series was made of others ({made}, by its ImageType): its values are not"
                  " those of the tissue itself.",)  # fmt: skip
    notes = (*found, *_grid_notes(slices), *_value_notes(codings, mended))
    return Volume(array, geometry, notes)


def slice_files(folder: Path, series: str | None = None) -> tuple[tuple[Path, ...], Geometry]:
    """Return the files of a series' slices and the grid they make, as `read_series` orders them.

    Raises
    ------
    InputError
        As there; no pixel is read.
    """
    slices, geometry, _ = _slices(folder, series)
    return tuple(header.path for header in slices), geometry


def patient_id(folder: Path, series: str | None = None) -> str:
    """Return the patient ID of a series, "" if it has none.

    Raises
    ------
    InputError
        As `read_series`; no pixel is read.
    """
    slices, _, _ = _slices(folder, series)
    return next(filter(None, (header.tags["patient"].strip() for header in slices)), "")


def _slices(
    folder: Path, series: str | None
) -> tuple[list[SliceHeader], Geometry, tuple[str, ...]]:
    """Return a series' slices in order, their grid, and notes about what was left out."""
    chosen = _choose(folder, scan(folder), series)
    images, left_out = volume_images(chosen.slices)
    slices, geometry = _ordered(folder, images)
    return slices, geometry, (*chosen.notes, *left_out)


def _info(slices: Sequence[SliceHeader]) -> SeriesInfo:
    """Describe a series, and say why it is no CT volume if it is none."""
    images = volume_images(slices)[0]
    first = (images or slices)[0]
    placed = [s for s in images if s.placed]
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
        _problem(images, slices[0], len(depths)),
    )


def _problem(images: Sequence[SliceHeader], first: SliceHeader, positions: int) -> str:
    """Return why a series cannot be a CT volume, "" if it can."""
    modality = (images[0] if images else first).tags["modality"]
    if modality not in ("CT", ""):
        return f"modality {modality}, not CT"
    if not images:
        return "localiser (scout)"
    if any(
        s.sop_class in ENHANCED_CLASSES or first_number(s.tags["frames"], 1.0) > 1 for s in images
    ):
        return MULTI_FRAME
    if positions == 0:
        return "images without a place in space (screenshots, dose report)"
    if positions == 1:
        return "a single position (one slice, or bolus tracking)"
    return ""


def _choose(folder: Path, groups: list[SeriesFiles], series: str | None) -> SeriesFiles:
    """Return the series asked for, or the only one that can be a CT volume."""
    infos = [_info(group.slices) for group in groups]
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
            f"    {number}  {info.modality or '??'}  {many(info.count, 'image')}{spacing}  "
            f"{info.description or '(no description)'}  {info.uid}{problem}"
        )
    legal = "one CT series of at least two slices, each slice a file of its own"
    action = "Give the folder of the CT series."
    if any(not info.problem for info in infos):
        action = "Choose with --series: its number, its UID or the start of its UID."
    elif any(info.problem == MULTI_FRAME for info in infos):
        action = (
            "Multi-frame files are not read: make a NIfTI of them (dcm2niix -z y -o OUT FOLDER) and"
            " give that, or export the scan as ordinary CT slices."
        )
    return InputError(argument, "\n".join(rows), legal, action)


def _ordered(folder: Path, slices: Sequence[SliceHeader]) -> tuple[list[SliceHeader], Geometry]:
    """Return the slices from first to last along their normal, and the grid they make."""
    images = list(slices)
    _check_alike(folder, images)
    first = images[0]
    images.sort(key=lambda s: _depth(s, first))
    depths = np.array([_depth(s, images[0]) for s in images])
    _check_gaps(folder, images, depths)
    axes, origin = images[0].axes, images[0].position
    assert axes is not None and origin is not None  # _check_alike saw to it
    rows = _righted(images)
    if rows is None:
        _check_straight(folder, images, depths)
        rows = orthonormal(str(folder), [_normal(axes), *axes])
    step = float(depths[-1] / (len(depths) - 1))
    shape = (len(images), *images[0].shape)
    start = (float(origin[0]), float(origin[1]), float(origin[2]))
    return images, Geometry(shape, (step, *images[0].spacing), start, rows)


def _righted(slices: Sequence[SliceHeader]) -> Matrix | None:
    """Return the axes of a stack whose orientation lost its decimals, None if it did not.

    The positions kept theirs: the line through the slices is the normal, if that turns the axes by
    no more than the decimals explain; the other two are the nearest at right angles to it.
    """
    first, last = slices[0], slices[-1]
    if not first.cut or first.axes is None or first.position is None or last.position is None:
        return None
    line = last.position - first.position
    line = line / np.linalg.norm(line)
    places = np.array([s.position for s in slices]) - first.position
    sideways = np.linalg.norm(places - np.outer(places @ line, line), axis=1).max()
    digits = [len(m) for m in re.findall(r"\.(\d+)", first.tags["orientation"])]
    explained = min(CUT_TURN, 10.0 ** -max(digits, default=0))
    turned = max(float(np.abs(first.axes @ line).max()), abs(float(first.axes[0] @ first.axes[1])))
    if turned > explained or sideways > SIDEWAYS_TOLERANCE_MM:
        return None
    flat = first.axes - np.outer(first.axes @ line, line)
    left, _, right = np.linalg.svd(np.vstack([line, flat]))
    return orthonormal(first.tags["orientation"], left @ right)


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
    """Refuse slices that differ in patient, orientation, size or spacing, or have no place."""
    first = next((s for s in slices if s.tags["patient"]), slices[0])
    for other in slices:
        if other.position is None or other.axes is None or first.axes is None:
            raise _irregular(folder, f"an image without position ({other.path.name})")
        if np.abs(other.axes - first.axes).max() > TURN_TOLERANCE:
            what = "mixed orientations"
        elif other.tags["patient"] not in ("", first.tags["patient"]):
            what = "mixed patients"
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
    sideways = _sideways(slices, depths)
    if sideways.max() > SIDEWAYS_TOLERANCE_MM:
        tilt = float(np.degrees(np.arctan2(sideways[-1], depths[-1])))
        raise InputError(
            str(folder),
            f"slices shifted sideways by up to {sideways.max():.1f} mm (gantry tilted by about "
            f"{tilt:.1f} degrees)",
            "slices that lie straight one above the other",
            "Convert the series with dcm2niix, which corrects the tilt, and give its file.",
        )


def _sideways(slices: Sequence[SliceHeader], depths: Vector) -> Vector:
    """Return how far each slice lies beside the line through the first one's middle, mm."""
    first = slices[0]
    assert first.position is not None and first.axes is not None  # _check_alike saw to it
    places = np.array([s.position for s in slices]) - first.position
    return np.linalg.norm(places - np.outer(depths, _normal(first.axes)), axis=1)


def _irregular(folder: Path, came: str) -> InputError:
    """Return the error for slices that do not make a regular grid."""
    return InputError(
        str(folder),
        came,
        "slices of one patient, size and orientation, evenly spaced, each position once",
        "Export the whole series again, and nothing but this series.",
    )


def _at(header: SliceHeader) -> str:
    """Return a slice's place for people."""
    return "?" if header.position is None else f"z = {header.position[2]:.2f} mm"


def _read_slices(
    slices: Sequence[SliceHeader], codings: Sequence[Coding], geometry: Geometry
) -> tuple[Array, int]:
    """Return all pixels (Z, Y, X) in HU by each slice's own slope, and how many became air."""
    volume: Array = np.empty(geometry.shape, np.int16)
    mended = 0
    for z, (header, coding) in enumerate(zip(slices, codings, strict=True)):
        plane, padded = hounsfield(header, coding)
        mended += padded
        if plane.dtype != np.int16 and volume.dtype == np.int16:
            volume = volume.astype(np.float32)
        volume[z] = plane
    return volume, mended


def _check_odd_scales(
    slices: Sequence[SliceHeader], codings: Sequence[Coding], volume: Array
) -> None:
    """Refuse a slice whose own scale takes it away from its neighbour, the usual one to it."""
    scales = [(c.slope, c.intercept) for c in codings]
    usual = Counter(scales).most_common(1)[0][0]
    sound = np.array([z for z, scale in enumerate(scales) if scale == usual])
    for z, (slope, intercept) in enumerate(scales):
        if (slope, intercept) == usual:
            continue
        other = volume[sound[np.abs(sound - z).argmin()]].astype(np.float32)
        plane = volume[z].astype(np.float32)
        own = float(np.median(np.abs(plane - other)))
        by_usual = (plane - intercept) / slope * usual[0] + usual[1]
        if own > ODD_HU and np.median(np.abs(by_usual - other)) < own / 2:
            raise InputError(
                str(slices[z].path),
                f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} where most slices "
                f"have {usual[0]:g} and {usual[1]:g}: its values lie {own:.0f} HU "
                "beside its neighbour's, with theirs they would not",
                "slices whose slope and intercept turn their values into HU",
                "Export the series again from the scanner or the archive.",
            )


def _grid_notes(slices: Sequence[SliceHeader]) -> tuple[str, ...]:
    """Return what is odd about where the slices lie."""
    notes: tuple[str, ...] = ()
    if slices[0].cut:
        notes += ("The orientation had too few decimals; its axes were made right-angled.",)
    frames = {s.tags["frame"] for s in slices} - {""}
    if len(frames) > 1:
        notes += (f"Slices name {len(frames)} frames of reference; their places were taken as of"
                  " one.",)  # fmt: skip
    depths = np.array([_depth(s, slices[0]) for s in slices])
    beside = float(_sideways(slices, depths).max())
    if beside > SIDEWAYS_SHARE * min(slices[0].spacing) and not slices[0].cut:
        notes += (f"Slices lie up to {beside:.2f} mm beside one another; they were taken as"
                  " straight.",)  # fmt: skip
    gaps = np.diff(depths)
    mean = float(gaps.mean())
    if np.abs(gaps - mean).max() > max(UNEVEN_SHARE * mean, UNEVEN_MM):
        notes += (
            f"Slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart; they were taken as evenly "
            f"{mean:.3g} mm apart.",
        )
    return notes


def _value_notes(codings: Sequence[Coding], mended: int) -> tuple[str, ...]:
    """Return what is odd about the slices' values."""
    notes: tuple[str, ...] = ()
    if mended:
        padding = f"Declared padding in {many(mended, 'voxel')}"
        notes += (f"{padding}, not air by its value, was set to air.",)
    if len({(c.slope, c.intercept) for c in codings}) > 1:
        notes += ("Slices differ in rescale slope or intercept; each was read by its own.",)
    return notes
