"""The headers of DICOM files: which files are images, which series they belong to, where they lie.

`dicom_elements` walks through them with bounds, .3 ms each; no other reader sees an untrusted
header. What a file is follows from its SOP class, never from its name or from letters found in it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.dicom.elements import STORAGE, Elements, PixelSpan, no_image, read_elements

Vector = npt.NDArray[np.float64]

CT_CLASS = f"{STORAGE}.2"
"""SOP class of a CT slice."""
ENHANCED_CLASSES = (f"{STORAGE}.2.1", f"{STORAGE}.2.2")
"""SOP classes of whole CT volumes in one file."""
SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW")
"""What scanners write into ImageType of an overview image."""
COMPUTED = (
    "MIP", "MAX_IP", "MINIP", "MIN_IP", "MEAN_IP", "MAXIP", "SUB", "SUBTRACTION", "IODINE",
    "IODINE_MAP", "EFF_Z", "ZEFF", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "PERFUSION", "CBF", "CBV",
    "MTT", "TTP", "TMAX",
)  # fmt: skip
"""What ImageType calls images made of others, whose values are not a tissue's HU: projections of
thick slabs, differences, maps of materials and of blood flow."""
BARE_START = re.compile(
    rb"(?s)(?:\x02\x00[\x00\x01]\x00|\x08\x00[\x00\x01\x05\x06\x08\x12\x13\x14\x16\x18]\x00)(.{4})"
)
"""The first element of a file without preamble."""
BARE_VR = (b"UL", b"OB", b"CS", b"UI", b"DA", b"TM", b"SH")
UNIT_TOLERANCE = 1e-4
"""How far an orientation's length may be from 1 before its decimals count as cut."""
CUT_LENGTHS = (0.85, 1.15)
"""Lengths that cut decimals explain."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What the header of one DICOM file says."""

    path: Path
    """The file."""
    tags: dict[str, str]
    """Value by name, see `dicom_elements.TAGS`; absent ones are ""."""
    position: Vector | None
    """LPS (x, y, z) of the first pixel's centre, mm."""
    axes: Vector | None
    """Rows: LPS unit vectors of the columns' (y) and the rows' (x) direction."""
    spacing: tuple[float, float]
    """Along y, x, mm."""
    shape: tuple[int, int]
    """Pixels along y, x."""
    pixels: PixelSpan
    """Where its pixel data lie in the file."""
    sop_class: str
    """What kind of object it is, "" if it does not say."""
    cut: bool
    """Whether its orientation had too few decimals to be of unit length."""

    @property
    def placed(self) -> bool:
        """Whether the image has a place in space."""
        return self.position is not None and self.axes is not None

    @property
    def localiser(self) -> bool:
        """Whether the image says that it is a scout view."""
        return any(word in self.tags["kind"].upper().split("\\") for word in SCOUTS)


def computed(slices: Sequence[SliceHeader]) -> str:
    """Return by which words of ImageType images were made of others; "" if by none."""
    words = {word.strip() for each in slices for word in each.tags["kind"].upper().split("\\")}
    return ", ".join(sorted(words.intersection(COMPUTED)))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes; pipes and devices are never opened."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as stream:
            start = stream.read(132)
        if start[128:] == b"DICM":
            return True
        # Without a preamble a few bytes prove little: the file must name a class of DICOM's.
        return is_dicom_start(start) and read_elements(path).sop_class.startswith("1.2.840.10008.")
    except (OSError, ValueError):
        return False


def is_dicom_start(start: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM's preamble, or its first element without one."""
    if start[128:132] == b"DICM":
        return True
    bare = BARE_START.match(start)
    if bare is None:
        return False
    return bare[1][:2] in BARE_VR or 0 < struct.unpack("<I", bare[1])[0] <= 1024


def study_of(folder: Path) -> str:
    """Return the study UID of the first readable DICOM image at any depth, "" without one."""
    for path in regular_files(folder):
        if is_dicom(path):
            header = read_header(path)
            if header is not None:
                return header.tags["study"] or "unnamed"
    return ""


def regular_files(folder: Path, closed: list[Path] | None = None) -> Iterator[Path]:
    """Yield the files below a folder, sorted; not hidden ones, pipes, devices, linked folders.

    Folders that may not be looked into are added to `closed`.
    """

    def refused(error: OSError) -> None:
        if closed is not None:
            closed.append(Path(error.filename or folder))

    for parent, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path


def read_header(path: Path) -> SliceHeader | None:
    """Read one file's header; None if it is no image (a report, a plan) or broken."""
    try:
        return image_header(path, read_elements(path))
    except OSError:
        return None


def image_header(path: Path, elements: Elements) -> SliceHeader | None:
    """Return what a file's elements say about its image, None if it has none."""
    if elements.pixels is None or no_image(elements.sop_class):
        return None
    tags = elements.tags
    axes, cut = _axes(tags["orientation"])
    spacing, shape = numbers(tags["spacing"], 2), numbers(f"{tags['rows']}\\{tags['columns']}", 2)
    return SliceHeader(
        path,
        tags,
        numbers(tags["position"], 3),
        axes,
        (0.0, 0.0) if spacing is None else (float(spacing[0]), float(spacing[1])),
        (0, 0) if shape is None else (int(shape[0]), int(shape[1])),
        elements.pixels,
        elements.sop_class,
        cut,
    )


def _axes(text: str) -> tuple[Vector | None, bool]:
    """Return the directions of y and x, of unit length, and whether their decimals were cut."""
    cosines = numbers(text, 6)
    if cosines is None:
        return None, False
    axes = cosines.reshape(2, 3)[::-1]
    lengths = np.linalg.norm(axes, axis=1)
    cut = bool(np.abs(lengths - 1.0).max() > UNIT_TOLERANCE)
    if not cut or not all(CUT_LENGTHS[0] < n < CUT_LENGTHS[1] for n in lengths):
        return axes, False  # right as they are, or no directions at all: refused later
    return axes / lengths[:, None], True


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


def refuse_broken_slice(path: Path, elements: Elements) -> None:
    """Raise for a CT slice that cannot be read; other DICOM objects have no image to read."""
    ct = elements.sop_class in (CT_CLASS, *ENHANCED_CLASSES) or (
        elements.tags["modality"] == "CT" and not no_image(elements.sop_class)
    )
    if ct:
        raise InputError(
            str(path),
            "a damaged or truncated CT slice: " + (elements.damage or "it has no pixel data"),
            "complete DICOM files",
            "Copy or export the series again.",
        )
