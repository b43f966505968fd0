"""Label maps: how many voxels each value has, whether they lie on the scan, what two differ in.

Files are read in a second process, as they may be anybody's (`apart`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.apart import read_geometry, read_labels
from flare_core.imaging.geometry import GRID_TOLERANCE_MM, Box, Geometry
from flare_core.imaging.volume import Volume

HOST_SHARE = 0.3
"""A lesion is part of an organ that has this share of the voxels around it; one of an organ that
nobody labelled touches another here and there."""


def value_counts(labels: npt.NDArray[np.uint8]) -> list[int]:
    """Return how many voxels each value 0 to 255 of a label map (Z, Y, X) has.

    Examples
    --------
    >>> value_counts(np.array([[[0, 2, 2]]], np.uint8))[:4]
    [1, 0, 2, 0]
    """
    counts = np.zeros(256, np.int64)
    for plane in labels:  # plane by plane: bincount widens to 8 bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=256)
    return [int(n) for n in counts]


def absorbed(
    labels: npt.NDArray[np.uint8], value: int, least_share: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Return a label map whose pieces of one value have become the label that each touches most.

    Parameters
    ----------
    labels : uint8 (Z, Y, X)
        Unchanged.
    value : int
        Whose pieces (26 neighbours) go.
    least_share : float
        Of the voxels around a piece, how many that label must have; else the piece becomes 0.

    Examples
    --------
    >>> absorbed(np.array([[[0, 3, 14, 3, 14, 0]]], np.uint8), 14).tolist()
    [[[0, 3, 3, 3, 3, 0]]]
    """
    whole = labels.copy()
    numbers, boxes = _pieces(labels == value)
    for number, box in boxes.items():
        here = box.grow((1, 1, 1), labels.shape).slices
        mine = numbers[here] == number
        around = labels[here][_grown(mine) & ~mine]
        counts = np.bincount(around[around != value], minlength=1)
        counts[0] = 0
        most = int(counts.argmax())
        whole[here][mine] = most if counts[most] >= least_share * around.size else 0
    return whole


def part_of_host(labels: npt.NDArray[np.uint8], value: int) -> npt.NDArray[np.uint8]:
    """Return a label map for readers that do not know one value, as lesions: no organ has holes.

    Parameters
    ----------
    labels : uint8 (Z, Y, X)
        Unchanged.
    value : int
        Each of its pieces becomes part of its host (`HOST_SHARE`), or 0 where none is.

    Examples
    --------
    >>> part_of_host(np.array([[[1, 1, 14, 1, 0, 0, 14, 0]]], np.uint8), 14).tolist()
    [[[1, 1, 1, 1, 0, 0, 0, 0]]]
    """
    return absorbed(labels, value, HOST_SHARE)


def _pieces(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.generic], dict[int, Box]]:
    """Return the number of each voxel's piece (26 neighbours; Z, Y, X), and the boxes of pieces."""
    import SimpleITK as sitk

    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    boxes = {}
    for number in shapes.GetLabels():
        x, y, z, width, height, depth = shapes.GetBoundingBox(number)
        boxes[number] = Box((z, y, x), (z + depth, y + height, x + width))
    return sitk.GetArrayFromImage(image), boxes


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask with all 26 neighbours of its voxels."""
    grown = mask
    for axis in range(mask.ndim):
        before = np.moveaxis(grown, axis, 0)
        after = before.copy()
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
        grown = np.moveaxis(after, 0, axis)
    return grown


def label_counts(path: Path) -> list[int]:
    """Return how many voxels each value 0 to 255 of a label file has.

    Raises
    ------
    InputError
        If the file cannot be read or holds other than whole numbers from 0 to 255.
    """
    return value_counts(_uint8(read_labels(path)))


def counts_on_scan(path: Path, image: Path) -> list[int]:
    """Return `label_counts` of a label file that must lie on the grid of a scan.

    Raises
    ------
    InputError
        If it lies on another grid or cannot be read.
    """
    labels = read_labels(path)
    check_same_grid(path, labels, image)
    return value_counts(_uint8(labels))


def changed_ml(before: Path, after: Path) -> dict[int, float]:
    """Return the volume that each label value gained or lost between two maps of one grid, mL.

    Raises
    ------
    InputError
        If one cannot be read, or they have different shapes.
    """
    old, new = read_labels(before), read_labels(after)
    if old.geometry.shape != new.geometry.shape:
        raise InputError(
            str(after),
            f"{new.geometry.shape} voxels",
            f"the {old.geometry.shape} voxels of {before.name}",
            "Compare label maps of the same scan.",
        )
    counts = np.zeros(256, np.int64)
    for before_plane, after_plane in zip(_uint8(old), _uint8(new), strict=True):
        differ = before_plane != after_plane  # plane by plane: bincount widens to 8 bytes a voxel
        counts += np.bincount(before_plane[differ], minlength=256)
        counts += np.bincount(after_plane[differ], minlength=256)
    ml = counts * new.geometry.voxel_ml
    return {value: float(ml[value]) for value in range(1, 256) if counts[value]}


def check_same_grid(path: Path, labels: Volume, image: Path) -> None:
    """Refuse a label map whose voxels are not the scan's.

    Raises
    ------
    InputError
        If they are not.
    """
    scan = read_geometry(image)
    if not labels.geometry.same_grid(scan, tolerance_mm=GRID_TOLERANCE_MM):
        raise InputError(
            str(path),
            f"a label map on another grid than the scan: {grid_difference(labels, scan)}",
            "the scan's own voxels",
            "Resample the label map onto the scan, or correct the pair of files.",
        )


def grid_difference(labels: Volume, scan: Geometry) -> str:
    """Say in what two grids differ, the plainest difference first."""
    for name, unit in (("shape", "voxels"), ("spacing_mm", "mm"), ("origin_mm", "mm")):
        ours, theirs = getattr(labels.geometry, name), getattr(scan, name)
        if not np.allclose(ours, theirs, atol=1e-3):
            word = name.removesuffix("_mm")
            return f"{word} {_times(ours)} {unit} instead of {_times(theirs)} {unit}"
    return "its axes point elsewhere"


def _uint8(labels: Volume) -> npt.NDArray[np.uint8]:
    """Return the voxels, which `read_labels` made uint8 already."""
    return labels.array.astype(np.uint8, copy=False)


def _times(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
