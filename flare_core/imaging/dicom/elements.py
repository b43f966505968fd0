"""The few elements of a DICOM file that matter here, read with bounds and without recursion.

A file from a stranger may nest 20 000 sequences, or claim four gigabytes in three kilobytes;
readers in C++ crash or fill the memory. So the header is walked here: a value is read only if it
is wanted, no further than `MAX_VALUE`, and nothing behind the pixel data is looked at at all.

1. preamble and file meta group, where there are any (`_Walk.meta`);
2. element by element to the pixel data; what lies inside sequences is passed over (`_Walk.run`);
3. the place of the pixel data in the file, checked against the file's length (`_Walk.pixels`).

Byte layout: DICOM PS3.5, sections 7 and A.4. 110 slices of a scanner: .05 s.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_VALUE = 4096
"""Bytes of one value that are read; no value wanted here is nearly as long."""
MAX_ELEMENTS = 200_000
"""Elements walked in one file; a CT slice has one or two hundred."""
MAX_DEPTH = 64
"""Sequences and items open at once; the standard's own objects reach about 16."""
MAX_FRAGMENTS = 4096
"""Pieces of compressed pixel data in one slice; usual are one to a few."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010

TAGS = {
    "meta_class": 0x00020002,
    "syntax": 0x00020010,
    "charset": 0x00080005,
    "kind": 0x00080008,
    "class": 0x00080016,
    "instance": 0x00080018,
    "modality": 0x00080060,
    "description": 0x0008103E,
    "patient": 0x00100020,
    "study": 0x0020000D,
    "series": 0x0020000E,
    "number": 0x00200011,
    "position": 0x00200032,
    "orientation": 0x00200037,
    "frame": 0x00200052,
    "samples": 0x00280002,
    "photometric": 0x00280004,
    "frames": 0x00280008,
    "rows": 0x00280010,
    "columns": 0x00280011,
    "spacing": 0x00280030,
    "allocated": 0x00280100,
    "stored": 0x00280101,
    "high": 0x00280102,
    "signed": 0x00280103,
    "padding": 0x00280120,
    "padding_limit": 0x00280121,
    "intercept": 0x00281052,
    "slope": 0x00281053,
    "unit": 0x00281054,
    "value_table": 0x00283000,
    "overlay_bit": 0x60000102,
}
"""Element by our name for it."""
NAMES = {tag: name for name, tag in TAGS.items()}
SHORTS = frozenset(
    ("samples", "rows", "columns", "allocated", "stored", "high", "signed")
    + ("padding", "padding_limit", "overlay_bit")
)
"""16-bit numbers; they become text in decimal digits, signed ones by their bit pattern."""
LONG_VR = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length has four bytes."""
CODECS = {"ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1", "GB18030": "gb18030"}

IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (
    f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99")
)
"""Transfer syntaxes of plain pixels."""

STORAGE = "1.2.840.10008.5.1.4.1.1"
NO_IMAGES = (
    "1.2.840.10008.1.3.10",  # DICOMDIR, whatever the file is called
    *(f"{STORAGE}.{n}" for n in ("9", "11", "66", "88", "104", "480", "481.3", "481.5", "481.8")),
)
"""SOP classes, or their first numbers, of objects beside the images: directories, waveforms,
presentation states, registrations, reports and key objects, documents, structures and plans."""
IMAGES = (f"{STORAGE}.66.4", f"{STORAGE}.66.7")
"""Segmentations lie among the raw data; they are images, if not of CT values."""


class _Damaged(ValueError):
    """What is wrong with the file, said for people."""


@dataclass(frozen=True)
class PixelSpan:
    """Where a file's pixel data lie."""

    start: int
    """First byte of the value."""
    length: int
    """Bytes; of fragments, with their headers and without the end mark."""
    fragments: tuple[tuple[int, int], ...] | None
    """Start and length of each piece of compressed data, the offset table first; None if plain."""
    big_endian: bool = False
    """Whether plain numbers have their high byte first."""


@dataclass(frozen=True)
class Elements:
    """What `read_elements` found."""

    tags: dict[str, str]
    """Value by the names of `TAGS`; absent ones are ""."""
    pixels: PixelSpan | None
    """The pixel data, None without any."""
    damage: str
    """Why the file could not be walked to its pixel data or its end; "" if it could."""

    @property
    def sop_class(self) -> str:
        """What kind of object the file is, "" if it does not say."""
        return self.tags["class"] or self.tags["meta_class"]


def read_elements(path: Path) -> Elements:
    """Return what a file says up to its pixel data.

    Raises
    ------
    OSError
        If the file cannot be read; what is in it never raises.
    """
    tags = dict.fromkeys(TAGS, "")
    with open(path, "rb") as stream:
        walk = _Walk(stream, os.fstat(stream.fileno()).st_size, tags)
        try:
            walk.meta()
            return Elements(tags, walk.run(), "")
        except _Damaged as error:
            return Elements(tags, None, str(error))


def no_image(sop_class: str) -> bool:
    """Whether objects of this class are passed over beside a CT.

    Examples
    --------
    >>> no_image("1.2.840.10008.5.1.4.1.1.11.1"), no_image("1.2.840.10008.5.1.4.1.1.2")
    (True, False)
    """
    if sop_class in IMAGES:
        return False
    return any(sop_class == stem or sop_class.startswith(f"{stem}.") for stem in NO_IMAGES)


class _Walk:
    """A position in a file, and how its elements are coded there."""

    def __init__(self, stream: BinaryIO, size: int, tags: dict[str, str]) -> None:
        self._stream, self._size, self._tags = stream, size, tags
        self._at, self._order, self._explicit = 0, "<", True
        self._open: list[bool] = []  # for each sequence and item entered: explicit outside of it?

    def meta(self) -> None:
        """Pass preamble and file meta group; learn how the elements behind them are coded."""
        if self._stream.read(132)[128:] == b"DICM":
            self._at = 132
        self._move(self._at)
        while self._peek(2) == b"\x02\x00":
            tag, vr, length = self._header()
            if length == UNDEFINED:
                raise _Damaged("a file meta element without length")
            self._value(tag, vr, length)
        syntax = self._tags["syntax"]
        if syntax == DEFLATED:
            raise _Damaged("its elements are deflated, which is not read here; export it plain")
        self._order = ">" if syntax == BIG_ENDIAN else "<"
        # Files that say implicit and are explicit exist, and the other way round: look.
        start = self._peek(6)
        self._explicit = start[4:6].isalpha() and start[4:6].isupper()

    def run(self) -> PixelSpan | None:
        """Walk to the pixel data, or to the end of a file that has none."""
        if no_image(self._tags["meta_class"]):
            return None
        for _ in range(MAX_ELEMENTS):
            if self._at == self._size and not self._open:
                return None
            tag, vr, length = self._header()
            if tag == PIXELS and not self._open:
                return self._pixels(length)
            self._step(tag, vr, length)
            if tag == TAGS["class"] and no_image(self._tags["class"]):
                return None
        raise _Damaged(f"more than {MAX_ELEMENTS} elements")

    def _step(self, tag: int, vr: bytes, length: int) -> None:
        """Enter, leave or pass over one element."""
        if tag in (ITEM_END, SEQUENCE_END):
            if self._open:
                self._explicit = self._open.pop()
            return
        if tag == TAGS["value_table"] and not self._open:
            self._tags["value_table"] = "present"
        if length != UNDEFINED:
            self._value(tag, vr, length)
            return
        if len(self._open) >= MAX_DEPTH:
            raise _Damaged(f"sequences nested more than {MAX_DEPTH // 2} deep")
        self._open.append(self._explicit)
        if vr == b"UN":  # its inside is implicit whatever surrounds it (PS3.5, 6.2.2)
            self._explicit = False

    def _header(self) -> tuple[int, bytes, int]:
        """Read an element's tag, value representation (b"" if not said) and length."""
        raw = self._bytes(8)
        group, element = struct.unpack(f"{self._order}HH", raw[:4])
        tag, vr = group << 16 | element, raw[4:6]
        if group == 0xFFFE or not self._explicit or not (vr.isalpha() and vr.isupper()):
            return tag, b"", struct.unpack(f"{self._order}I", raw[4:])[0]
        if vr in LONG_VR:
            return tag, vr, struct.unpack(f"{self._order}I", self._bytes(4))[0]
        return tag, vr, struct.unpack(f"{self._order}H", raw[6:])[0]

    def _value(self, tag: int, vr: bytes, length: int) -> None:
        """Keep a value that is wanted, once; pass over all others."""
        end = self._at + length
        if end > self._size:
            raise _Damaged("a truncated file: an element reaches beyond its end")
        name = NAMES.get(tag, "")
        if name and not self._open and vr != b"SQ" and name != "value_table":
            value = self._decoded(name, vr, self._bytes(min(length, MAX_VALUE)))
            if self._tags[name] not in ("", value):
                raise _Damaged(f"two different values of ({tag >> 16:04x},{tag & 0xFFFF:04x})")
            self._tags[name] = value
        self._move(end)

    def _decoded(self, name: str, vr: bytes, raw: bytes) -> str:
        """Return a value as text that may be shown."""
        if vr in (b"US", b"SS") or (vr in (b"", b"UN") and name in SHORTS):
            count = len(raw) // 2
            return "\\".join(map(str, struct.unpack(f"{self._order}{count}H", raw[: 2 * count])))
        codec = CODECS.get(self._tags["charset"].split("\\")[-1], "ascii")
        text = raw.decode(codec, "replace").strip(" \0\t\r\n").replace("\ufffd", "?")
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else "?" for c in text)

    def _pixels(self, length: int) -> PixelSpan:
        """Return where the pixel data are; refuse those that are not all there."""
        start = self._at
        if length != UNDEFINED:
            if start + length > self._size:
                raise _Damaged(
                    f"a truncated file: {self._size - start} of {length} bytes of pixel data"
                )
            return PixelSpan(start, length, None, self._order == ">")
        fragments: list[tuple[int, int]] = []
        while self._at < self._size:  # some writers leave out the end mark
            tag, _, size = self._header()
            if tag == SEQUENCE_END:
                break
            if tag != ITEM or self._at + size > self._size or len(fragments) == MAX_FRAGMENTS:
                raise _Damaged("a truncated or broken chain of compressed pixel data")
            fragments.append((self._at, size))
            self._move(self._at + size)
        end = fragments[-1][0] + fragments[-1][1] if fragments else start
        return PixelSpan(start, end - start, tuple(fragments))

    def _move(self, place: int) -> None:
        """Go to a byte of the file."""
        self._at = place
        self._stream.seek(place)

    def _peek(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end, and stay."""
        data = self._stream.read(count)
        self._stream.seek(self._at)
        return data

    def _bytes(self, count: int) -> bytes:
        """Return the next bytes and pass them."""
        data = self._stream.read(count)
        if len(data) != count:
            raise _Damaged("a truncated file: it ends inside an element")
        self._at += count
        return data
