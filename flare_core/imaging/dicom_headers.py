"""The headers of DICOM files: which files are images, which series they belong to, where they lie.

GDCM (in SimpleITK) parses them, .6 ms each; a truncated file is noticed here, because GDCM walks
through all of its elements.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging.itk import quiet

Vector = npt.NDArray[np.float64]

CT_CLASS = b"1.2.840.10008.5.1.4.1.1.2"
"""SOP class of a CT slice; found in the head of a file that cannot be read, it was one."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What the header of one DICOM file says."""

    path: Path
    """The file."""
    tags: dict[str, str]
    """Value by name, see `TAGS`; absent ones are ""."""
    position: Vector | None
    """LPS (x, y, z) of the first pixel's centre, mm."""
    axes: Vector | None
    """Rows: LPS unit vectors of the columns' (y) and the rows' (x) direction."""
    spacing: tuple[float, float]
    """Along y, x, mm."""
    shape: tuple[int, int]
    """Pixels along y, x."""

    @property
    def placed(self) -> bool:
        """Whether the image has a place in space."""
        return self.position is not None and self.axes is not None

    @property
    def localiser(self) -> bool:
        """Whether the image is a scout view."""
        return "LOCALIZER" in self.tags["kind"].upper()


TAGS = {
    "series": "0020|000e",
    "study": "0020|000d",
    "instance": "0008|0018",
    "description": "0008|103e",
    "modality": "0008|0060",
    "kind": "0008|0008",
    "number": "0020|0011",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "spacing": "0028|0030",
    "rows": "0028|0010",
    "columns": "0028|0011",
    "frames": "0028|0008",
}


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    try:
        with open(path, "rb") as stream:
            return is_dicom_start(stream.read(132))
    except OSError:
        return False


def is_dicom_start(start: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM's preamble."""
    return start[128:132] == b"DICM"


def study_of(folder: Path) -> str:
    """Return the study UID of the first readable DICOM image at any depth, "" without one."""
    for path in dicom_files(folder):
        header = read_header(path)
        if header is not None:
            return header.tags["study"] or "unnamed"
    return ""


def scan(folder: Path) -> list[list[SliceHeader]]:
    """Read all headers and group them by series; copies of the same image count once."""
    groups: dict[str, dict[str, SliceHeader]] = {}
    for path in dicom_files(folder):
        header = read_header(path)
        if header is None:
            _refuse_broken_slice(path)
            continue
        group = groups.setdefault(header.tags["series"], {})
        group.setdefault(header.tags["instance"] or str(path), header)
    if not groups:
        raise InputError(
            str(folder),
            "a folder without DICOM images",
            "a folder with the files of one DICOM CT series",
            "Check the path; unpack archives first.",
        )
    return sorted(
        (list(group.values()) for group in groups.values()),
        key=lambda g: (first_number(g[0].tags["number"], np.inf), g[0].tags["series"]),
    )


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files below a folder, sorted, hidden ones and DICOMDIR left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and name != "DICOMDIR" and is_dicom(path):
                yield path


def read_header(path: Path) -> SliceHeader | None:
    """Read one file's header; None if it is no image (a report, a plan) or broken."""
    reader = gdcm_reader(path)
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    tags = {name: _text(reader, tag) for name, tag in TAGS.items()}
    position, cosines = numbers(tags["position"], 3), numbers(tags["orientation"], 6)
    spacing, shape = numbers(tags["spacing"], 2), numbers(f"{tags['rows']}\\{tags['columns']}", 2)
    return SliceHeader(
        path,
        tags,
        position,
        None if cosines is None else cosines.reshape(2, 3)[::-1],
        (0.0, 0.0) if spacing is None else (float(spacing[0]), float(spacing[1])),
        (0, 0) if shape is None else (int(shape[0]), int(shape[1])),
    )


def gdcm_reader(path: Path) -> sitk.ImageFileReader:
    """Return a GDCM reader for one file."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOff()
    reader.SetFileName(str(path))
    return reader


def _text(reader: sitk.ImageFileReader, tag: str) -> str:
    """Return a tag's text, "" if absent; letters of unknown encoding become question marks."""
    if not reader.HasMetaDataKey(tag):
        return ""
    return str(reader.GetMetaData(tag)).strip().encode("utf-8", "replace").decode()


def numbers(text: str, count: int) -> Vector | None:
    r"""Return `count` numbers separated by backslashes, None if they are not that.

    Examples
    --------
    >>> numbers("0.7\\0.8", 2).tolist(), numbers("", 2)
    ([0.7, 0.8], None)
    """
    try:
        values = np.array([float(v) for v in text.split("\\")])
    except ValueError:
        return None
    return values if values.size == count and np.isfinite(values).all() else None


def first_number(text: str, default: float) -> float:
    """Return the one number that `text` is, `default` if it is none."""
    value = numbers(text, 1)
    return default if value is None else float(value[0])


def _refuse_broken_slice(path: Path) -> None:
    """Raise for a CT slice that cannot be read; other DICOM objects have no image to read."""
    with open(path, "rb") as stream:
        start = stream.read(1024)
    if CT_CLASS in start:
        raise InputError(
            str(path),
            "a damaged or truncated CT slice",
            "complete DICOM files",
            "Copy or export the series again.",
        )
