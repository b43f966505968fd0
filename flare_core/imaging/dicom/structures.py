"""Contours of radiotherapy (RTSTRUCT, DICOM PS3.3 A.19) as voxels.

A voxel belongs to a region if its centre lies within an odd number of the region's contours of its
slice: so an inner contour is a hole, whether drawn for itself or joined to the outer one by a
channel (DICOM PS3.3 C.8.8.6.3). Contours that cross, or are there twice but for rounding, are none
in another: whoever draws them means both, and their union counts as one. Where the file says
CLOSEDPLANAR_XOR, it is an odd number whatever they do. Contours are filled by scan lines,
half-open, so that neighbouring regions share no voxel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.dicom.region import Drawn, DrawnRegion, PaintedRegions, count_covered
from flare_core.imaging.geometry import Geometry
from flare_core.wording import many

if TYPE_CHECKING:
    from pydicom import Dataset

Floats = npt.NDArray[np.float64]

ODD = "CLOSEDPLANAR_XOR"
CLOSED = ("CLOSED_PLANAR", ODD)
"""Kinds of contours that enclose something."""
REACHES_OUT = 0.1
"""Share of the smaller of two contours that may lie outside of the larger: a hole drawn by hand up
to the edge. With more of it outside they cross."""
THINNEST_WALL = 0.25
"""Pixels between two contours, below which one is no hole of the other but the same once more."""
OFF_SLICE = 0.3
"""How far (of a slice's distance) a contour may lie from the middle of its slice."""
MOST_MISSING = 0.25
"""A region that lacks more of the slices between its first and last was drawn on some of them only:
what lies between is not background."""


def contoured(path: Path, dataset: Dataset) -> Drawn:
    """Return the regions of a structure set that have a name."""
    rois = dataset.get("StructureSetROISequence") or []
    regions = tuple(
        DrawnRegion(
            int(roi.ROINumber),
            str(roi.get("ROIName", "")),
            automatic=str(roi.get("ROIGenerationAlgorithm", "")) == "AUTOMATIC",
        )
        for roi in rois
    )
    study, patient = (str(dataset.get(name, "")) for name in ("StudyInstanceUID", "PatientID"))
    label = str(dataset.get("StructureSetLabel", "")) or path.name
    return Drawn(_series(dataset), study, patient, label, regions)


def paint_structures(
    path: Path, dataset: Dataset, geometry: Geometry, values: Sequence[tuple[int, int]]
) -> PaintedRegions:
    """Return regions of a structure set as a label map on the grid of the scan.

    Raises
    ------
    InputError
        If contours do not lie in the scan's slices.
    """
    labels = np.zeros(geometry.shape, np.uint8)
    notes: list[str] = []
    covered: Counter[tuple[int, int]] = Counter()
    contours = {
        int(roi.ReferencedROINumber): roi.get("ContourSequence") or []
        for roi in dataset.get("ROIContourSequence") or []
    }
    names = {region.number: region.name for region in contoured(path, dataset).regions}
    for number, value in values:
        name = names.get(number, str(number))
        slices, told = _by_slice(path, name, contours.get(number, []), geometry)
        missing = _missing(slices)
        if missing > MOST_MISSING:
            told.append(f"{name}: left out, as it is contoured on some of its slices only")
            slices = {}
        elif missing:
            told.append(f"{name}: slices without a contour lie between others; they stay empty")
        odd = any(_kind(each) == ODD for each in contours.get(number, []))
        united = 0
        for z, polygons in slices.items():
            if 0 <= z < geometry.shape[0]:
                mask, more = region_of(polygons, geometry.shape[1:], odd=odd)
                united += more
                count_covered(covered, labels[z][mask], value)
                labels[z][mask] = value
        if united:
            told.append(f"{name}: contours cross or repeat others in {many(united, 'slice')}; "
                        "there their union was taken")  # fmt: skip
        notes += told
    return PaintedRegions(labels, tuple(notes), dict(covered))


def region_of(
    polygons: Sequence[Floats], shape: Sequence[int], *, odd: bool = False
) -> tuple[npt.NDArray[np.bool_], bool]:
    """Return the pixels (Y, X) of a region's contours in a slice, and whether some were united.

    Parameters
    ----------
    polygons : sequence of (N, 2)
        Corners as y, x in pixels.
    odd : bool
        Whether contours that cross are not united.

    Examples
    --------
    >>> square = np.array([[-0.5, -0.5], [-0.5, 1.5], [1.5, 1.5], [1.5, -0.5]])
    >>> region_of([square, square + [0, 1]], (2, 3))
    (array([[ True,  True,  True],
           [ True,  True,  True]]), True)
    """
    parts = [] if odd or len(polygons) < 2 else [_Part.of(each, shape) for each in polygons]
    pairs = [(a, b) for b, two in enumerate(parts) for a, one in enumerate(parts[:b])
             if one.crosses(two)]  # fmt: skip
    if not pairs:
        return filled(polygons, shape), False
    group = list(range(len(parts)))
    for a, b in pairs:
        group = [group[a] if each == group[b] else each for each in group]
    crossing = {group[a] for a, _ in pairs}
    region = filled([each for each, mine in zip(polygons, group, strict=True)
                     if mine not in crossing], shape)  # fmt: skip
    for number in crossing:
        union = np.zeros(shape, np.bool_)
        for part in (part for part, mine in zip(parts, group, strict=True) if mine == number):
            union[part.place] |= part.mask
        region ^= union
    return region, True


@dataclass(frozen=True, eq=False)
class _Part:
    """What one contour encloses of a slice."""

    start: npt.NDArray[np.int64]
    """First pixel y, x of a box around it."""
    mask: npt.NDArray[np.bool_]
    """Pixels within that box."""
    length: float
    """Of the contour, pixels."""

    @classmethod
    def of(cls, polygon: Floats, shape: Sequence[int]) -> _Part:
        low, high = np.floor(polygon.min(axis=0)), np.ceil(polygon.max(axis=0)) + 1
        start, stop = (np.clip(each, 0, shape).astype(np.int64) for each in (low, high))
        edges = np.linalg.norm(polygon - np.roll(polygon, -1, axis=0), axis=1)
        return cls(start, filled([polygon - start], stop - start), float(edges.sum()))

    @property
    def place(self) -> tuple[slice, slice]:
        """The box in the slice."""
        (y, x), (height, width) = self.start, self.mask.shape
        return slice(y, y + height), slice(x, x + width)

    def crosses(self, other: _Part) -> bool:
        """Whether neither lies in the other, nor both apart; or both are one but for rounding."""
        low = np.maximum(self.start, other.start)
        high = np.minimum(self.start + self.mask.shape, other.start + other.mask.shape)
        if (low >= high).any():
            return False
        mine, theirs = (
            each.mask[tuple(slice(*ends) for ends in zip(low - each.start, high - each.start,
                                                         strict=True))]
            for each in (self, other)
        )  # fmt: skip
        both = np.count_nonzero(mine & theirs)
        small, large = sorted(int(np.count_nonzero(each.mask)) for each in (self, other))
        apart = small + large - 2 * both
        same = apart < THINNEST_WALL * min(self.length, other.length)
        return bool(both > 0 and (same or small - both > REACHES_OUT * small))


def filled(polygons: Sequence[Floats], shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return the pixels (Y, X) whose centre lies within an odd number of polygons.

    Parameters
    ----------
    polygons : sequence of (N, 2)
        Corners as y, x in pixels; the last is joined to the first.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]])
    >>> filled([square], (3, 4)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    height, width = shape
    crossings = np.zeros((height, width + 1), np.int32)
    for polygon in polygons:
        y, x = polygon.T
        next_y, next_x = np.roll(y, -1), np.roll(x, -1)
        first = np.ceil(np.clip(np.minimum(y, next_y), 0, height)).astype(np.int64)
        end = np.ceil(np.clip(np.maximum(y, next_y), 0, height)).astype(np.int64)
        counts = end - first
        edge = np.repeat(np.arange(len(y)), counts)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        share = (row - y[edge]) / (next_y - y)[edge]
        at = x[edge] + share * (next_x - x)[edge]
        np.add.at(crossings, (row, np.ceil(np.clip(at, 0, width)).astype(np.int64)), 1)
    inside: npt.NDArray[np.bool_] = np.cumsum(crossings[:, :width], axis=1) % 2 == 1
    return inside


def _by_slice(
    path: Path, name: str, contours: Sequence[Dataset], geometry: Geometry
) -> tuple[dict[int, list[Floats]], list[str]]:
    """Return a region's polygons (y, x in voxels) by slice, each once; and what was passed over."""
    slices: dict[int, list[Floats]] = {}
    others = copies = 0
    for contour in contours:
        if _kind(contour) not in CLOSED:
            others += 1
            continue
        z, polygon = _in_slice(path, name, contour, geometry)
        there = slices.setdefault(z, [])
        if any(np.array_equal(polygon, other) for other in there):
            copies += 1
        else:
            there.append(polygon)
    outside = sum(len(each) for z, each in slices.items() if not 0 <= z < geometry.shape[0])
    counted = (
        (others, "points or open lines, which enclose nothing, were passed over"),
        (copies, "contours that are there twice counted once"),
        (outside, "contours lie above or below the scan"),
    )
    return slices, [f"{name}: {count} {what}" for count, what in counted if count]


def _kind(contour: Dataset) -> str:
    return str(contour.get("ContourGeometricType", ""))


def _in_slice(path: Path, name: str, contour: Dataset, geometry: Geometry) -> tuple[int, Floats]:
    """Return the slice that a contour lies in, and its corners there.

    Raises
    ------
    InputError
        If it lies in no slice, or its points are no numbers.
    """
    points = np.array(contour.ContourData, np.float64)
    if points.size < 3 or points.size % 3 or not np.isfinite(points).all():
        raise _refused(path, f"{name}: a contour whose points are no numbers")
    voxels = geometry.lps_to_voxel(points.reshape(-1, 3))
    depths = voxels[:, 0]
    z = int(np.clip(np.rint(depths.mean()), -(10**6), 10**6))
    if np.abs(depths - z).max() > OFF_SLICE:
        where = "across its slices" if np.ptp(depths) > OFF_SLICE else "between its slices"
        raise _refused(path, f"{name}: contours that lie {where}, not in them")
    return z, voxels[:, 1:]


def _missing(slices: dict[int, list[Floats]]) -> float:
    """Return which share of the slices from the first to the last has no contour."""
    if not slices:
        return 0.0
    return 1.0 - len(slices) / (max(slices) - min(slices) + 1)


def _series(dataset: Dataset) -> str:
    """Return the UID of the series that was contoured, "" if the structure set does not say."""
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.SeriesInstanceUID)
    return ""


def _refused(path: Path, came: str) -> InputError:
    return InputError(
        str(path),
        came,
        "closed contours in the slices of the scan they come with",
        "Give the scan that was contoured, or export contours on its slices.",
    )
