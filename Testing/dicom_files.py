"""DICOM series made in code, so that tests can break them at will; explicit VR, little endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = "1.2.826.0.1.3680043.10.999"
"""A UID root for examples."""
CT, MR, SECONDARY = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "7"))
IMPLICIT, EXPLICIT, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))
LONG_LENGTH = ("OB", "OW", "UN", "SQ")
Tag = tuple[int, int, str, object]
"""Group, element, value representation, value."""


@dataclass(frozen=True)
class Undefined:
    """A value of undefined length."""

    data: bytes
    """Its items, with the mark that ends them."""


@dataclass(frozen=True)
class Series:
    """What the slices of one series share."""

    number: int = 1
    """Its number; also makes its UID."""
    study: int = 1
    """Makes the study UID."""
    modality: str = "CT"
    """CT, MR, ..."""
    description: str = "ABDOMEN"
    """What the scanner calls it."""
    kind: str = "ORIGINAL\\PRIMARY\\AXIAL"
    """ImageType."""
    spacing: tuple[float, float] = (0.8, 0.7)
    """Along y, x, mm."""
    axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    """Directions of x, then of y, LPS."""
    slope: float | None = 1.0
    """RescaleSlope; None leaves both rescale tags out."""
    intercept: float = -1024.0
    """RescaleIntercept, HU."""
    frames: int = 1
    """NumberOfFrames; more than one makes an enhanced file."""
    changes: tuple[Tag, ...] = ()
    """Elements instead of or beside the usual ones; a value of None leaves an element out."""
    syntax: str = EXPLICIT
    """Transfer syntax; implicit and big endian ones are written as such."""
    preamble: bool = True
    """Whether the file begins as DICOM files do; without, it has no meta group either."""

    @property
    def uid(self) -> str:
        """Series instance UID."""
        return f"{ROOT}.{self.study}.{self.number}"


def write_slice(
    path: Path,
    pixels: npt.NDArray[np.uint16],
    position: tuple[float, float, float] | None,
    series: Series,
    *,
    instance: str | None = None,
) -> None:
    """Write one slice (Y, X) of stored values; no position makes it a screenshot."""
    uid = f"{series.uid}.{instance or path.name.encode().hex()[:20].lstrip('0')}"[:64]
    sop = {"CT": CT, "MR": MR}.get(series.modality, SECONDARY)
    tags: dict[tuple[int, int], Tag] = {
        (tag[0], tag[1]): tag
        for tag in (
            (0x0008, 0x0016, "UI", sop),
            (0x0008, 0x0018, "UI", uid),
            *_series_tags(series),
            *_image_tags(pixels, position, series),
            *series.changes,
        )
    }
    tags = {key: tag for key, tag in sorted(tags.items()) if tag[3] is not None}
    body = b"".join(_element(*tag, syntax=series.syntax) for tag in tags.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((_start(tags, series.syntax) if series.preamble else b"") + body)


def _start(tags: dict[tuple[int, int], Tag], syntax: str) -> bytes:
    """Return preamble and file meta group."""
    values = ((0x0002, (8, 0x16)), (0x0003, (8, 0x18)))
    known = [(element, tags[key][3]) for element, key in values if key in tags]
    meta = b"".join(_element(2, element, "UI", v) for element, v in (*known, (0x0010, syntax)))
    return bytes(128) + b"DICM" + _element(2, 0, "UL", len(meta)) + meta


def _series_tags(series: Series) -> list[Tag]:
    """Return what all slices of a series say."""
    rescale: list[Tag] = [
        (0x0028, 0x1052, "DS", f"{series.intercept:g}"),
        (0x0028, 0x1053, "DS", f"{series.slope}"),
    ]
    return [
        (0x0008, 0x0008, "CS", series.kind),
        (0x0008, 0x0060, "CS", series.modality),
        (0x0008, 0x103E, "LO", series.description),
        (0x0010, 0x0020, "LO", "phantom"),
        (0x0020, 0x000D, "UI", f"{ROOT}.{series.study}"),
        (0x0020, 0x000E, "UI", series.uid),
        (0x0020, 0x0011, "IS", series.number),
        (0x0028, 0x0030, "DS", _join(series.spacing)),
        *(rescale if series.slope is not None else []),
        *([(0x0028, 0x0008, "IS", series.frames)] if series.frames > 1 else []),
    ]


def _image_tags(
    pixels: npt.NDArray[np.uint16], position: tuple[float, float, float] | None, series: Series
) -> list[Tag]:
    """Return one slice's place and pixels."""
    rows, columns = pixels.shape
    where: list[Tag] = []
    if position is not None:
        where = [
            (0x0020, 0x0032, "DS", _join(position)),
            (0x0020, 0x0037, "DS", _join(series.axes)),
        ]
    return [
        *where,
        (0x0028, 0x0002, "US", 1),
        (0x0028, 0x0004, "CS", "MONOCHROME2"),
        (0x0028, 0x0010, "US", rows),
        (0x0028, 0x0011, "US", columns),
        (0x0028, 0x0100, "US", 16),
        (0x0028, 0x0101, "US", 16),
        (0x0028, 0x0102, "US", 15),
        (0x0028, 0x0103, "US", 0),
        (0x7FE0, 0x0010, "OW", pixels.astype("<u2").tobytes() * series.frames),
    ]


def write_series(
    folder: Path,
    stack: npt.NDArray[np.uint16],
    series: Series | None = None,
    *,
    step: tuple[float, float, float] = (0.0, 0.0, 2.5),
) -> list[Path]:
    """Write a stack (Z, Y, X) of stored values, `step` mm apart; file names hide the order."""
    series = series or Series()
    names = np.random.default_rng(series.number).permutation(len(stack))
    paths = []
    for z, pixels in enumerate(stack):
        path = folder / f"IM{names[z]:04d}"
        write_slice(path, pixels, place(z, step), series)
        paths.append(path)
    return paths


def place(
    z: float, step: tuple[float, float, float] = (0.0, 0.0, 2.5)
) -> tuple[float, float, float]:
    """Where slice `z` of `write_series` lies, LPS mm."""
    return -17.0 + z * step[0], 23.0 + z * step[1], -300.0 + z * step[2]


def _element(group: int, element: int, vr: str, value: object, *, syntax: str = EXPLICIT) -> bytes:
    """Return one data element."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    if isinstance(value, Undefined):
        data, size = value.data, 0xFFFFFFFF
    else:
        data = _bytes_of(vr, value, order)
        size = len(data)
    if order == ">" and vr == "OW":
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    start = struct.pack(f"{order}HH", group, element)
    if syntax == IMPLICIT:
        return start + struct.pack("<I", size) + data
    if vr in LONG_LENGTH:
        return start + vr.encode() + struct.pack(f"{order}HI", 0, size) + data
    return start + vr.encode() + struct.pack(f"{order}H", size) + data


def _bytes_of(vr: str, value: object, order: str) -> bytes:
    """Return a value, padded to an even length."""
    if isinstance(value, bytes):
        data = value
    elif vr in ("US", "SS", "UL"):
        data = struct.pack(order + {"US": "H", "SS": "h", "UL": "I"}[vr], value)
    else:
        data = str(value).encode("latin-1")
    return data + (b"\0" if vr in ("UI", "OB") else b" ") * (len(data) % 2)


def fragments(*pieces: bytes) -> Undefined:
    """Return compressed pixel data: an empty offset table and the pieces."""
    items = (b"", *(piece + b"\0" * (len(piece) % 2) for piece in pieces))
    body = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return Undefined(body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def _join(values: tuple[float, ...]) -> str:
    """Return numbers as DICOM lists them."""
    return "\\".join(f"{v:.10g}" for v in values)
