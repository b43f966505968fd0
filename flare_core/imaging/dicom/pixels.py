"""From the stored values of one DICOM slice to HU.

What counts is the value: slope, intercept and the declared padding. How a picture is to be shown
(window, presentation and VOI tables, MONOCHROME1, overlays) never touches it.

Plain pixels are read here. Compressed ones go through GDCM (in SimpleITK), but not as they came:
it gets a file of a dozen elements made here, with the compressed stream and nothing else of the
stranger's, after the stream's own size was compared with the header's.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging.dicom.elements import BIG_ENDIAN, EXPLICIT, IMPLICIT, STORAGE
from flare_core.imaging.dicom.headers import SliceHeader, first_number
from flare_core.imaging.itk import compact, quiet, reason

Array = npt.NDArray[Any]

AIR_HU = -1024
NO_TISSUE_HU, METAL_HU = -900.0, 3071.0
"""Below the first, padding is air already. Above the second (12 bits less 1024) nothing measured
lies; between them a value may be padding or tissue, and only what reaches the edge is padding."""
SLOPES = (1e-3, 64.0)
LARGEST_INTERCEPT = 32768.0
"""What signed 16-bit values can have been shifted by."""
JPEG, JPEG_2000, RLE = "JPEG", "JPEG 2000", "RLE"
COMPRESSED = {
    **{f"1.2.840.10008.1.2.4.{n}": JPEG for n in (50, 51, 57, 70, 80, 81)},
    **{f"1.2.840.10008.1.2.4.{n}": JPEG_2000 for n in (90, 91)},
    "1.2.840.10008.1.2.5": RLE,
}
"""What GDCM decodes: JPEG and JPEG-LS, JPEG 2000, run lengths."""
PLAIN = ("", IMPLICIT, EXPLICIT, BIG_ENDIAN)
FRAME_MARKS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xF7))
"""JPEG and JPEG-LS segments that hold the image's size."""
MOST_TILES = 64
"""Tiles of a JPEG 2000 image along an axis; scanners use one."""


@dataclass(frozen=True)
class Coding:
    """How one slice's stored values are coded, checked."""

    allocated: int
    """Bits of one number in the file: 8, 16 or 32."""
    stored: int
    """Bits of it that count."""
    shift: int
    """Bits below those."""
    signed: bool
    """Whether they are two's complement."""
    padding: tuple[int, int] | None
    """Lowest and highest stored value that means "not measured"."""
    overlay: bool
    """Whether bits above the stored ones hold drawings."""
    slope: float
    """HU of a step of one."""
    intercept: float
    """HU of the stored value 0."""


def coding_of(header: SliceHeader) -> Coding:
    """Return how a slice is coded.

    Raises
    ------
    InputError
        If it is coloured, says what cannot be, has no usable slope and intercept, or its pixel
        data have not the size that its rows and columns need.
    """
    _check_photometric(header)
    allocated = _whole(header, "allocated", "BitsAllocated")
    stored = _whole(header, "stored", "BitsStored", allocated)
    high = _whole(header, "high", "HighBit", stored - 1)
    signed = _whole(header, "signed", "PixelRepresentation")
    swapped = allocated == 8 and header.pixels.big_endian  # bytes in turned words: nobody has them
    if (
        allocated not in (8, 16, 32)
        or swapped
        or not 1 <= stored <= high + 1 <= allocated
        or signed > 1
    ):
        raise _refused(
            header,
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}, "
            f"PixelRepresentation {signed}",
            "8, 16 or 32 bits allocated, of which as many are stored or fewer",
        )
    slope, intercept = _rescale(header)
    coding = Coding(
        allocated,
        stored,
        high + 1 - stored,
        signed == 1,
        _padding(header, signed=signed == 1, bits=min(allocated, 16)),
        header.tags["overlay_bit"] not in ("", "0"),
        slope,
        intercept,
    )
    _check_length(header, coding)
    return coding


def hounsfield(header: SliceHeader, coding: Coding) -> tuple[Array, int]:
    """Return one slice (Y, X) in HU, int16 or float32, and how many padded pixels became air."""
    if header.pixels.fragments is None:
        values, padded = _plain_values(header, coding)
    else:
        values = _decoded(header, coding)
        padded = _in_range(values, coding.padding)
    plane: Array = compact(values[None], coding.slope, coding.intercept)[0]
    if padded is None or not padded.any():
        return plane, 0
    plane = plane.copy()
    mended = _padding_as_air(plane, padded)
    return compact(plane[None])[0], mended


def _padding_as_air(plane: Array, padded: Array) -> int:
    """Set padding that would count as tissue or metal to air, in place; return its pixels."""
    low, high = float(plane[padded].min()), float(plane[padded].max())
    if high <= NO_TISSUE_HU:
        return 0
    if low <= METAL_HU:
        padded = _from_the_edge(padded)
    plane[padded] = AIR_HU
    return int(np.count_nonzero(padded))


def _from_the_edge(mask: Array) -> Array:
    """Return the parts of a mask (Y, X) that reach the image's edge."""
    seeds = mask.copy()
    seeds[1:-1, 1:-1] = False
    marker, limit = (sitk.GetImageFromArray(m.astype(np.uint8)) for m in (seeds, mask))
    grown = sitk.BinaryReconstructionByDilation(
        marker, limit, backgroundValue=0.0, foregroundValue=1.0
    )
    found: Array = sitk.GetArrayFromImage(grown) > 0
    return found


def _plain_values(header: SliceHeader, coding: Coding) -> tuple[Array, Array | None]:
    """Return uncompressed stored values (Y, X) and which of them are padding."""
    size = coding.allocated // 8
    kind = f"{'>' if header.pixels.big_endian else '<'}u{size}"
    (raw,) = _bytes_at(header, ((header.pixels.start, size * math.prod(header.shape)),))
    words = np.frombuffer(raw, kind).reshape(header.shape)  # (Y, X)
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if coding.stored == coding.allocated:
        values = words.view(f"i{size}") if coding.signed else words
        return values, _in_range(values, coding.padding)
    return _narrow_values(header, coding, words)


def _narrow_values(header: SliceHeader, coding: Coding, words: Array) -> tuple[Array, Array | None]:
    """Return the stored bits of wider words as numbers, and which are padding."""
    padded = _padded_words(coding, words)
    if not coding.signed and not coding.shift and not (words >> coding.stored).any():
        return words, padded  # the usual 12 of 16 bits
    wide: Array = words.astype(np.int32 if coding.allocated < 32 else np.int64)
    values: Array = wide >> coding.shift & (1 << coding.stored) - 1
    sign = 1 << coding.stored - 1
    if not coding.overlay:
        _check_upper_bits(header, coding, wide, padded)
    if coding.signed:
        values = (values ^ sign) - sign
    more = _in_range(values, coding.padding)
    return values, more if padded is None or more is None else padded | more


def _padded_words(coding: Coding, words: Array) -> Array | None:
    """Return which whole words are padding, declared in all of the allocated bits."""
    if coding.signed:
        words = words.view(f"i{words.dtype.itemsize}")
    return _in_range(words, coding.padding)


def _check_upper_bits(
    header: SliceHeader, coding: Coding, wide: Array, padded: Array | None
) -> None:
    """Refuse words that do not fit into the bits stored; those would become other values.

    Above a negative number may stand its sign, or nothing. If some numbers of a slice carry their
    sign upwards, one that does not is a positive one too large for its bits.
    """
    above = wide >> coding.shift + coding.stored
    odd = above != 0
    if coding.signed and odd.any():
        ones = (1 << coding.allocated - coding.shift - coding.stored) - 1
        negative = (wide >> coding.shift + coding.stored - 1 & 1) != 0
        extended = (above == ones) & negative
        odd = ~extended & (odd | (negative if extended.any() else False))
    if padded is not None:
        odd = odd & ~padded
    if odd.any():
        raise _refused(
            header,
            f"{int(odd.sum())} values that do not fit into the {coding.stored} bits stored "
            "(BitsStored)",
            "values within BitsStored",
        )


def _in_range(values: Array, limits: tuple[int, int] | None) -> Array | None:
    """Return which values lie between the limits, both included."""
    if limits is None:
        return None
    found: Array = (values >= limits[0]) & (values <= limits[1])
    return found


def _check_photometric(header: SliceHeader) -> None:
    """Refuse colours and palettes; MONOCHROME1 is a way to show values, which stay."""
    photometric = header.tags["photometric"].upper()
    if header.tags["samples"] not in ("", "1") or photometric not in (
        "",
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise _refused(
            header, f"a colour image ({photometric or 'several samples'})", "one value per pixel"
        )


def _whole(header: SliceHeader, name: str, keyword: str, default: int | None = None) -> int:
    """Return a whole number of the header."""
    text = header.tags[name]
    if text.isdecimal():
        return int(text)
    if default is not None and not text:
        return default
    raise _refused(header, f"{keyword} {text!r}", f"a CT slice with a {keyword}")


def _rescale(header: SliceHeader) -> tuple[float, float]:
    """Return slope and intercept, which every CT slice must have."""
    slope, intercept = (first_number(header.tags[n], math.nan) for n in ("slope", "intercept"))
    if math.isnan(slope) or math.isnan(intercept):
        table = " (but a modality lookup table)" if header.tags["value_table"] else ""
        raise _refused(
            header,
            f"RescaleSlope {header.tags['slope']!r}, RescaleIntercept "
            f"{header.tags['intercept']!r}{table}: the values cannot be turned into HU",
            "CT slices with a number in both",
        )
    if not SLOPES[0] <= slope <= SLOPES[1] or abs(intercept) > LARGEST_INTERCEPT:
        raise _refused(
            header,
            f"RescaleSlope {slope:g}, RescaleIntercept {intercept:g}",
            f"a slope from {SLOPES[0]:g} to {SLOPES[1]:g}, an intercept within "
            f"{LARGEST_INTERCEPT:.0f}",
        )
    unit = header.tags["unit"].upper()
    if unit not in ("", "HU", "US"):  # US: unspecified
        raise _refused(header, f"values in {unit} (RescaleType)", "a CT in HU")
    return slope, intercept


def _padding(header: SliceHeader, *, signed: bool, bits: int) -> tuple[int, int] | None:
    """Return the range of stored values that are padding; its sign is the pixels' sign."""
    texts = header.tags["padding"], header.tags["padding_limit"] or header.tags["padding"]
    if not texts[0]:
        return None
    ends = [_whole(header, "padding", "PixelPaddingValue") for _ in texts[:1]]
    if texts[1].isdecimal():
        ends.append(int(texts[1]))
    half, full = 1 << bits - 1, 1 << bits
    ends = [n % full - full * (signed and n % full >= half) for n in ends]
    return min(ends), max(ends)


def _check_length(header: SliceHeader, coding: Coding) -> None:
    """Refuse pixel data that are not what rows, columns and bits make."""
    rows, columns = header.shape
    if rows < 1 or columns < 1:
        raise _refused(header, f"{rows} rows and {columns} columns", "an image with pixels")
    syntax = header.tags["syntax"]
    if header.pixels.fragments is not None:
        if syntax not in COMPRESSED:
            raise _uncompress(header, f"a transfer syntax that is not read here ({syntax})")
        return
    if syntax in COMPRESSED:
        raise _uncompress(header, "pixel data that are not compressed as the header says")
    if syntax not in PLAIN:
        raise _uncompress(header, f"a transfer syntax that is not read here ({syntax})")
    need = rows * columns * coding.allocated // 8
    if header.pixels.length not in (need, need + need % 2):
        raise _refused(
            header,
            f"{header.pixels.length} bytes of pixel data, where Rows {rows}, Columns {columns} and "
            f"BitsAllocated {coding.allocated} make {need}",
            "pixel data of the size that the header gives",
        )


def _decoded(header: SliceHeader, coding: Coding) -> Array:
    """Return the stored values (Y, X) of a compressed slice."""
    fragments = header.pixels.fragments or ()
    pieces = _bytes_at(header, fragments[1:])  # the first is a table of offsets
    _check_stream(header, coding, pieces[0] if pieces else b"")
    try:
        with _passing_file(_bare_file(header, coding, pieces)) as path:
            image = _read_by_gdcm(path)
    except RuntimeError as error:
        raise _uncompress(header, f"pixels that cannot be read: {reason(error)}") from error
    except OSError as error:
        raise InputError(
            tempfile.gettempdir(),
            f"a place where compressed slices cannot be unpacked: {error.strerror or error}",
            "a folder for temporary files that can be written, with a few megabytes free",
            "Free space there, or set TMPDIR to another folder.",
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise _refused(header, "a colour image", "one value per pixel")
    array = sitk.GetArrayFromImage(image)
    if array.size != math.prod(header.shape) or array.dtype.kind not in "iu":
        raise _uncompress(header, f"a compressed image of {array.size} {array.dtype} pixels")
    plane: Array = array.reshape(header.shape)
    return plane


@contextmanager
def _passing_file(data: bytes) -> Iterator[Path]:
    """Give a file with these bytes for a moment.

    On Linux it lies in memory and has no name, so that a decoder's crash leaves nothing behind.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("slice"), "wb", closefd=True) as stream:
            stream.write(data)
            stream.flush()
            yield Path(f"/proc/self/fd/{stream.fileno()}")
        return
    with tempfile.TemporaryDirectory(prefix="flare-slice-") as folder:
        path = Path(folder) / "slice.dcm"
        path.write_bytes(data)
        yield path


def _read_by_gdcm(path: Path) -> sitk.Image:
    """Return the image of a file that was made here."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOff()
    reader.SetFileName(str(path))
    with quiet():
        return reader.Execute()


def _bytes_at(header: SliceHeader, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return parts of a slice's file, which may have changed since its header was read."""
    try:
        with open(header.path, "rb") as stream:
            parts = []
            for start, length in spans:
                stream.seek(start)
                parts.append(stream.read(length))
    except OSError as error:
        raise _uncompress(header, f"a file that cannot be read: {error.strerror}") from error
    if [len(part) for part in parts] != [length for _, length in spans]:
        raise _uncompress(header, "a file that became shorter while it was read")
    return parts


def _check_stream(header: SliceHeader, coding: Coding, stream: bytes) -> None:
    """Refuse a compressed image whose own header is another than the slice's, before decoding.

    Decoders trust it: a size of 60 000 takes their memory, 33 bits crash them.
    """
    kind = COMPRESSED[header.tags["syntax"]]
    if kind == RLE:  # has no size of its own
        return
    size = _jpeg_2000_size(stream) if kind == JPEG_2000 else _jpeg_size(stream)
    if size is None or size[:3] != (*header.shape, 1) or not 2 <= size[3] <= coding.allocated:
        came = (
            "no image" if size is None else "{} x {} pixels of {} numbers of {} bits".format(*size)
        )
        raise _refused(
            header,
            f"a compressed stream of {came}, where the header has {header.shape[0]} x "
            f"{header.shape[1]} pixels of {coding.allocated} bits",
            "a stream of the header's size",
        )


def _jpeg_2000_size(stream: bytes) -> tuple[int, int, int, int] | None:
    """Return rows, columns, numbers in a pixel and bits of a JPEG 2000 stream."""
    at = stream[:1024].find(b"\xff\x4f\xff\x51")
    if at < 0 or len(stream) < at + 45:
        return None
    right, bottom, left, top, tile_x, tile_y = struct.unpack_from(">6I", stream, at + 8)
    values, bits, step_x, step_y = struct.unpack_from(">HBBB", stream, at + 40)
    rows, columns = bottom - top, right - left
    if (step_x, step_y) != (1, 1) or rows > tile_y * MOST_TILES or columns > tile_x * MOST_TILES:
        return None
    return rows, columns, values, (bits & 0x7F) + 1


def _jpeg_size(stream: bytes) -> tuple[int, int, int, int] | None:
    """Return rows, columns, numbers in a pixel and bits of a JPEG or JPEG-LS stream."""
    at = 2
    while at + 12 <= len(stream) and stream[at] == 0xFF:
        mark, length = stream[at + 1], struct.unpack_from(">H", stream, at + 2)[0]
        if mark in FRAME_MARKS:
            bits, rows, columns, values, _, sampling = struct.unpack_from(">BHHBBB", stream, at + 4)
            return (rows, columns, values, bits) if sampling == 0x11 else None
        at += 1 if mark == 0xFF else 2 + length
    return None


def _bare_file(header: SliceHeader, coding: Coding, pieces: Sequence[bytes]) -> bytes:
    """Return a DICOM file with a compressed image and as little else as a decoder needs."""
    secondary = f"{STORAGE}.7"  # a class without rescale: the decoder gives stored values
    uid = "1.2.826.0.1.3680043.10.999.1"
    syntax = header.tags["syntax"]
    meta = _text(2, 2, "UI", secondary) + _text(2, 3, "UI", uid) + _text(2, 16, "UI", syntax)
    shorts = (
        (0x10, header.shape[0]),
        (0x11, header.shape[1]),
        (0x100, coding.allocated),
        (0x101, coding.stored),
        (0x102, coding.stored + coding.shift - 1),
        (0x103, int(coding.signed)),
    )
    body = [
        _text(8, 0x16, "UI", secondary),
        _text(8, 0x18, "UI", uid),
        struct.pack("<HH2sHH", 0x28, 2, b"US", 2, 1),
        _text(0x28, 4, "CS", "MONOCHROME2"),
        *(struct.pack("<HH2sHH", 0x28, element, b"US", 2, n) for element, n in shorts),
        struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF),
        struct.pack("<HHI", 0xFFFE, 0xE000, 0),
    ]
    for piece in pieces:
        piece += b"\0" * (len(piece) % 2)
        body += [struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)), piece]
    body.append(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    start = bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    return start + meta + b"".join(body)


def _text(group: int, element: int, vr: str, value: str) -> bytes:
    """Return one element with text."""
    data = value.encode("ascii") + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr.encode(), len(data)) + data


def _uncompress(header: SliceHeader, came: str) -> InputError:
    """Return the error for pixels in a form that is not read."""
    return InputError(
        str(header.path),
        came,
        "complete DICOM slices, plain or compressed by JPEG, JPEG-LS, JPEG 2000 or RLE",
        "Export the series again, uncompressed.",
    )


def _refused(header: SliceHeader, came: str, legal: str) -> InputError:
    """Return the error for one slice."""
    return InputError(
        str(header.path),
        came,
        legal,
        "Export the series again from the scanner or the archive; what is lost in a header cannot "
        "be guessed.",
    )
