"""DICOM segmentations (SEG, DICOM PS3.3 A.51) as voxels of the scan they belong to.

Frames come in any order, those without a voxel are often left out, and the rows of a frame may run
along any axis of the scan, either way. Each is put where its own position says. Frames between
voxels are refused: resampling would change what somebody drew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.dicom.region import Drawn, DrawnRegion, PaintedRegions, count_covered
from flare_core.imaging.dicom.series import SIDEWAYS_TOLERANCE_MM
from flare_core.imaging.dicom.sources import Concept
from flare_core.imaging.geometry import Geometry
from flare_core.wording import many

if TYPE_CHECKING:
    from pydicom import Dataset

Pixels = npt.NDArray[Any]

OFF_VOXEL = 0.4
"""How far, in voxels, a frame's corners may lie from the middles of voxels; an orientation of two
decimals turns a frame by .3."""


STRAYING_MM = 0.05
"""Frames of slices that lie beside one another differ by more than this."""

Way = tuple[int, int]
"""An axis of the scan, and whether it is followed (1) or run against (-1)."""


@dataclass(frozen=True)
class FramePosition:
    """Where a frame's pixels lie in the scan."""

    axes: tuple[int, int, int]
    """Axes of the scan's array across the frame, along its rows' order, along its columns'."""
    level: int
    """Voxel along the axis across the frame."""
    rows: npt.NDArray[np.int64]
    """Voxel of each row of pixels."""
    columns: npt.NDArray[np.int64]
    """Voxel of each column of pixels."""


def segments_of(path: Path, dataset: Dataset) -> Drawn:
    """Return the segments of a segmentation."""
    regions = tuple(
        DrawnRegion(
            int(each.SegmentNumber),
            str(each.get("SegmentLabel", "")),
            _codes(each),
            str(each.get("SegmentAlgorithmType", "")) == "AUTOMATIC",
        )
        for each in dataset.get("SegmentSequence") or []
    )
    series = [str(each.SeriesInstanceUID) for each in dataset.get("ReferencedSeriesSequence") or []]
    study, patient = (str(dataset.get(name, "")) for name in ("StudyInstanceUID", "PatientID"))
    label = str(dataset.get("ContentLabel", "")) or path.name
    return Drawn(series[0] if series else "", study, patient, label, regions)


def paint_segments(
    path: Path, dataset: Dataset, geometry: Geometry, values: Sequence[tuple[int, int]]
) -> PaintedRegions:
    """Return segments as a label map on the grid of the scan.

    A series' slices may lie a little beside one another (`SIDEWAYS_TOLERANCE_MM`); its volume
    stacks them straight. Frames that are whole slices and stray likewise are taken as those slices.

    Raises
    ------
    InputError
        If a frame lies between the scan's voxels.
    """
    labels = np.zeros(geometry.shape, np.uint8)
    jobs = _jobs(dataset, values)
    outside, beside_mm = 0, _straying_mm(dataset, geometry)
    covered: Counter[tuple[int, int]] = Counter()
    frames = _frames(dataset, [frame for frame, _, _ in jobs])
    for (frame, wanted, value), pixels in zip(jobs, frames, strict=True):
        mask = _mask(dataset, pixels, wanted)
        if mask.any():
            place = _place(path, dataset, frame, geometry, as_slices=beside_mm > 0)
            outside += _put(labels, mask, place, value, covered)
    told = many(outside, "voxel lies outside of the scan", "voxels lie outside of the scan")
    notes: tuple[str, ...] = (told,) if outside else ()
    if beside_mm:
        notes += (f"Frames lie up to {beside_mm:.2f} mm beside the scan's grid, as its slices do; "
                  "each was taken as its slice.",)  # fmt: skip
    return PaintedRegions(labels, notes, dict(covered))


def _jobs(dataset: Dataset, values: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return frame, segment and value of everything to paint, in order."""
    if str(dataset.SegmentationType) == "LABELMAP":
        frames = range(int(dataset.get("NumberOfFrames", 1)))
        return [(frame, number, value) for number, value in values for frame in frames]
    of: dict[int, list[int]] = {}
    for frame in range(int(dataset.get("NumberOfFrames", 1))):
        item = _group(dataset, frame, "SegmentIdentificationSequence")
        of.setdefault(int(item.ReferencedSegmentNumber), []).append(frame)
    return [(frame, number, value) for number, value in values for frame in of.get(number, [])]


def _frames(dataset: Dataset, wanted: Sequence[int]) -> Iterator[Pixels]:
    """Yield frames (Y, X), one at a time: a whole body's segments together fill the memory.

    Single bits run on from frame to frame without regard for bytes.
    """
    from pydicom.pixels import iter_pixels

    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if int(dataset.BitsAllocated) != 1 or (syntax is not None and syntax.is_compressed):
        yield from iter_pixels(dataset, indices=list(wanted)) if wanted else ()
        return
    shape = (int(dataset.Rows), int(dataset.Columns))
    size = shape[0] * shape[1]
    data = np.frombuffer(dataset.PixelData, np.uint8)
    for frame in wanted:
        start, rest = divmod(frame * size, 8)
        bits = np.unpackbits(data[start : start + (rest + size + 7) // 8], bitorder="little")
        yield bits[rest : rest + size].reshape(shape)


def _mask(dataset: Dataset, pixels: Pixels, wanted: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a frame are the segment's."""
    kind = str(dataset.SegmentationType)
    if kind == "LABELMAP":
        found = pixels == wanted
    elif kind == "FRACTIONAL":
        found = pixels >= float(dataset.get("MaximumFractionalValue", 255)) / 2
    else:
        found = pixels > 0
    return np.asarray(found, np.bool_)


def _group(dataset: Dataset, frame: int, name: str) -> Any:
    """Return the item of a functional group: the frame's own, or what all frames share."""
    for groups in (dataset.PerFrameFunctionalGroupsSequence[frame], *_shared(dataset)):
        if name in groups:
            return groups[name].value[0]
    raise KeyError(f"frame {frame + 1} has no {name}")


def _shared(dataset: Dataset) -> Any:
    return dataset.get("SharedFunctionalGroupsSequence") or []


def _place(
    path: Path, dataset: Dataset, frame: int, geometry: Geometry, *, as_slices: bool = False
) -> FramePosition:
    """Return where a frame lies in the scan; `as_slices`: as the whole slice at its depth.

    Raises
    ------
    InputError
        If its pixels are not voxels of the scan.
    """
    found, rows, columns = _corners(dataset, frame, geometry)
    if as_slices:
        found = found - _beside(found[0], rows, columns, geometry)
    first = found[0]
    count = (int(dataset.Rows), int(dataset.Columns))
    across = ({0, 1, 2} - {rows[0], columns[0]}).pop() if rows[0] != columns[0] else 0
    expected = np.array([first, first, first])
    expected[1, rows[0]] += rows[1] * (count[0] - 1)
    expected[2, columns[0]] += columns[1] * (count[1] - 1)
    off = np.abs(found - np.rint(expected)).max()
    if rows[0] == columns[0] or not off <= OFF_VOXEL:
        raise InputError(
            str(path),
            f"a segmentation on another grid than the scan ({off:.2f} voxels beside it)",
            "the scan's own voxels",
            "Give the scan that was segmented, or export the segmentation on its grid.",
        )
    origin = np.rint(first).astype(np.int64)
    return FramePosition(
        (across, rows[0], columns[0]),
        int(origin[across]),
        origin[rows[0]] + rows[1] * np.arange(count[0]),
        origin[columns[0]] + columns[1] * np.arange(count[1]),
    )


def _corners(
    dataset: Dataset, frame: int, geometry: Geometry
) -> tuple[npt.NDArray[np.float64], Way, Way]:
    """Return the voxels of a frame's first pixel, of the last in its column and in its row.

    And which way its rows and its columns run in the scan.
    """
    position = _group(dataset, frame, "PlanePositionSequence").ImagePositionPatient
    cosines = _group(dataset, frame, "PlaneOrientationSequence").ImageOrientationPatient
    sizes = _group(dataset, frame, "PixelMeasuresSequence").PixelSpacing
    start = np.array(position, np.float64)
    along_row, along_column = np.array(cosines, np.float64).reshape(2, 3)
    down = along_column * float(sizes[0]) * (int(dataset.Rows) - 1)
    aside = along_row * float(sizes[1]) * (int(dataset.Columns) - 1)
    found = geometry.lps_to_voxel(np.array([start, start + down, start + aside]))
    return found, _axis_of(along_column, geometry), _axis_of(along_row, geometry)


def _beside(
    first: npt.NDArray[np.float64], rows: Way, columns: Way, geometry: Geometry
) -> npt.NDArray[np.float64]:
    """Return how far a frame begins beside a whole slice of the scan, in its plane, voxels."""
    beside = np.zeros(3)
    for axis, way in (rows, columns):
        beside[axis] = first[axis] - (0 if way == 1 else geometry.shape[axis] - 1)
    return beside


def _straying_mm(dataset: Dataset, geometry: Geometry) -> float:
    """Return how far frames lie beside the scan as its slices may; 0 where they lie on its grid.

    They are whole slices, and lie beside one another by no more than a series may
    (`SIDEWAYS_TOLERANCE_MM`): what lies beside it all the same way is on another grid.
    """
    beside = []
    for frame in range(int(dataset.get("NumberOfFrames", 1))):
        found, rows, columns = _corners(dataset, frame, geometry)
        size = geometry.shape[rows[0]], geometry.shape[columns[0]]
        if rows[0] == columns[0] or size != (int(dataset.Rows), int(dataset.Columns)):
            return 0.0
        beside.append(_beside(found[0], rows, columns, geometry))
    voxels = np.array(beside)
    mm = voxels * np.asarray(geometry.spacing_mm)
    most_mm = float(np.linalg.norm(mm, axis=1).max())
    strays = np.abs(voxels).max() > OFF_VOXEL and np.ptp(mm, axis=0).max() > STRAYING_MM
    return most_mm if strays and most_mm <= SIDEWAYS_TOLERANCE_MM + STRAYING_MM else 0.0


def _axis_of(direction: npt.NDArray[np.float64], geometry: Geometry) -> Way:
    """Return the axis of the scan that a direction follows most, and whether it runs along (1)."""
    cosines = np.asarray(geometry.direction) @ direction
    axis = int(np.abs(cosines).argmax())
    return axis, 1 if cosines[axis] >= 0 else -1


def _put(
    labels: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    place: FramePosition,
    value: int,
    covered: Counter[tuple[int, int]],
) -> int:
    """Paint a frame; return how many of its voxels lie outside of the scan."""
    view = np.transpose(labels, place.axes)
    depth, height, width = view.shape
    rows, columns = np.nonzero(mask)
    if not 0 <= place.level < depth:
        return len(rows)
    y, x = place.rows[rows], place.columns[columns]
    kept = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    there = place.level, y[kept], x[kept]
    count_covered(covered, view[there], value)
    view[there] = value
    return len(rows) - int(np.count_nonzero(kept))


def _codes(segment: Dataset) -> tuple[Concept | None, Concept | None, Concept | None]:
    """Return category, type and side of a segment."""
    kinds = segment.get("SegmentedPropertyTypeCodeSequence") or []
    sides = kinds[0].get("SegmentedPropertyTypeModifierCodeSequence") if kinds else None
    categories = segment.get("SegmentedPropertyCategoryCodeSequence") or []
    return _concept(categories), _concept(kinds), _concept(sides or [])


def _concept(items: Sequence[Dataset]) -> Concept | None:
    if not items:
        return None
    names = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    scheme, value, meaning = (str(items[0].get(name, "")) for name in names)
    return scheme, value, meaning
