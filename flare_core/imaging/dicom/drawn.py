"""What people and programs have drawn on a scan and keep as DICOM: structure sets, segmentations.

1. `is_drawn`: which files are such, by our own bounded reader.
2. `read_drawn`: which regions a file has, and on which series they are.
3. `paint`: chosen regions as a label map on the scan's grid.

2 and 3 use pydicom: call them through `apart`, as the files are anybody's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.errors import InputError
from flare_core.imaging.dicom.elements import STORAGE, read_elements
from flare_core.imaging.dicom.extra import quiet, require
from flare_core.imaging.dicom.headers import is_dicom
from flare_core.imaging.dicom.region import Drawn, PaintedRegions
from flare_core.imaging.dicom.segmentation import paint_segments, segments_of
from flare_core.imaging.dicom.structures import contoured, paint_structures
from flare_core.imaging.geometry import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

STRUCTURES = f"{STORAGE}.481.3"
SEGMENTATIONS = (f"{STORAGE}.66.4", f"{STORAGE}.66.7")
"""Segments one by one, and all in one label map."""

MOST_BYTES = 2 << 30
"""Larger files are refused: a structure set has megabytes, a whole body's segmentation hundreds."""


def is_drawn(path: Path) -> bool:
    """Whether a file is a structure set or a segmentation, by its SOP class; needs no pydicom."""
    try:
        return is_dicom(path) and read_elements(path).sop_class in (STRUCTURES, *SEGMENTATIONS)
    except OSError:
        return False


def read_drawn(path: Path) -> Drawn:
    """Return what a structure set or a segmentation holds.

    Raises
    ------
    InputError
        If pydicom is missing, or the file cannot be read or is neither.
    """
    with quiet():
        return _read(path)


def _read(path: Path) -> Drawn:
    dataset = _dataset(path)
    try:
        read = contoured if _is_structures(dataset) else segments_of
        return read(path, dataset)
    except _UNUSABLE as error:
        raise _damaged(path, error) from error


def paint(path: Path, geometry: Geometry, values: Sequence[tuple[int, int]]) -> PaintedRegions:
    """Return regions of a file as a label map.

    Parameters
    ----------
    geometry : Geometry
        Of the scan that they were drawn on.
    values : sequence of pairs
        Number of a region, and its value (1 to 255) in the label map; what comes later is painted
        over what comes earlier.

    Raises
    ------
    InputError
        If the file cannot be read, or the regions lie on another grid than the scan.
    """
    with quiet():
        return _paint(path, geometry, values)


def _paint(path: Path, geometry: Geometry, values: Sequence[tuple[int, int]]) -> PaintedRegions:
    dataset = _dataset(path)
    try:
        draw = paint_structures if _is_structures(dataset) else paint_segments
        return draw(path, dataset, geometry, values)
    except _UNUSABLE as error:
        raise _damaged(path, error) from error


_UNUSABLE = (
    *(AttributeError, KeyError, TypeError, IndexError, NotImplementedError, ValueError),
    *(struct.error, zlib.error, EOFError, OSError, RecursionError, MemoryError),
)
"""What pydicom and we meet in a file that lacks what it should have."""


def _dataset(path: Path) -> Dataset:
    require("pydicom", str(path))
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    size = path.stat().st_size
    if size > MOST_BYTES:
        came = f"a file of {size / 2**30:.1f} GiB"
        raise InputError(
            str(path), came, f"at most {MOST_BYTES >> 30} GiB", "Export fewer regions."
        )
    damage = read_elements(path).damage
    if damage:  # pydicom would return what comes before, as if it were all
        raise _damaged(path, ValueError(damage))
    try:
        dataset = dcmread(path, force=True)
    except (InvalidDicomError, *_UNUSABLE) as error:
        raise _damaged(path, error) from error
    if str(dataset.get("SOPClassUID", "")) not in (STRUCTURES, *SEGMENTATIONS):
        raise InputError(
            str(path),
            f"a DICOM object of class {dataset.get('SOPClassUID', '(none)')}",
            "an RT structure set or a segmentation",
            "Give the RTSTRUCT or SEG file.",
        )
    return dataset


def _is_structures(dataset: Dataset) -> bool:
    return str(dataset.SOPClassUID) == STRUCTURES


def _damaged(path: Path, error: Exception) -> Exception:
    """Return the error for a file that lacks something; ours as they are."""
    if isinstance(error, InputError):
        return error
    return InputError(
        str(path),
        f"a DICOM object that cannot be used: {error}",
        "a whole RT structure set or segmentation",
        "Export or copy it again.",
    )
