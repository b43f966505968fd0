"""The text in front of NRRD and MetaImage voxels, checked before ITK's readers see it.

They are written in C and trust what they read: a number of axes of -1 or of millions, or a value
of thousands of letters where a few are expected, ends the process or never ends. Here every line
has a bounded length, every number is one, sizes agree with one another and with the file, and a
name of a second file leads to a file beside the header, nowhere else.

Formats: https://teem.sourceforge.net/nrrd/format.html (NRRD) and
https://docs.itk.org/en/latest/learn/metaio.html (MetaImage).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from flare_core.errors import InputError

LONGEST_HEADER = 1 << 18
"""Bytes; headers of our time with all of Slicer's key/value pairs are a few thousand."""
MOST_LINES = 2000
LONGEST_VALUE = 500
"""Characters of a value that has a meaning."""
LONGEST_TEXT = 1 << 15
"""Characters of a comment or of a key/value pair of NRRD (Slicer writes long ones)."""
LONGEST_META_TEXT = 1000
"""Of any MetaImage value: its reader has room for 4096."""
LONGEST_KEY = 80
MOST_AXES = 10
"""More axes than MetaImage's reader has room for."""
MOST_VOXELS_ALONG = 2**31 - 1
MOST_INFLATED = 1100
"""Deflate makes at most 1032 bytes of one."""
NUMBERS = re.compile(r"[-+0-9.eE,() \tnaifNIF]*")
"""What lists of numbers and vectors are written with (nan, inf and none among them)."""

BYTES_OF_NRRD = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short"
    "|unsigned short int|uint16|uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t"
    "|ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
NRRD_TYPES = {name: size for size, names in BYTES_OF_NRRD.items() for name in names.split("|")}
NRRD_NUMBERS = (
    "spacings", "thicknesses", "axis mins", "axis maxs", "space directions", "space origin",
    "measurement frame", "min", "max", "old min", "old max", "line skip", "byte skip",
    "space dimension",
)  # fmt: skip
NRRD_SAME = {
    "axismins": "axis mins", "axismaxs": "axis maxs", "lineskip": "line skip",
    "byteskip": "byte skip", "datafile": "data file", "blocksize": "block size",
    "oldmin": "old min", "oldmax": "old max", "centers": "centerings",
    "sampleunits": "sample units",
}  # fmt: skip
NRRD_FIELDS = (
    "dimension", "type", "block size", "encoding", "endian", "content", "min", "max", "old min",
    "old max", "data file", "line skip", "byte skip", "number", "sample units", "sizes",
    "spacings", "thicknesses", "axis mins", "axis maxs", "centerings", "labels", "units", "kinds",
    "space", "space dimension", "space units", "space origin", "space directions",
    "measurement frame",
)  # fmt: skip
"""All that the format knows; what a program adds has ``:=``."""
META_TYPES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 8, "MET_ULONG": 8, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}  # fmt: skip
META_PER_AXIS = (
    "ElementSpacing",
    "ElementSize",
    "Offset",
    "Position",
    "Origin",
    "CenterOfRotation",
)
META_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
META_WHOLE = ("ElementNumberOfChannels", "HeaderSize", "CompressedDataSize", "ID", "ParentID")

UNITS_MM = {
    "m": 1000.0, "meter": 1000.0, "metre": 1000.0, "meters": 1000.0, "metres": 1000.0,
    "dm": 100.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "centimeters": 10.0,
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "millimeters": 1.0, "millimetres": 1.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "micrometre": 1e-3, "micrometers": 1e-3, "nm": 1e-6, "in": 25.4, "inch": 25.4, "inches": 25.4,
}  # fmt: skip
"""Lengths in mm, by the names that files use, in small letters."""
NO_UNIT = ("", "?", "???", "none", "unknown", "lps", "ras", "las")
PATIENT_SPACE = re.compile(
    r"(right|left|r|l)-?(anterior|posterior|a|p)-?(superior|s)(-?time|t)?", re.IGNORECASE
)
"""NRRD's spaces whose axes are a patient's; ``scanner-xyz`` and ``3D-right-handed`` are not."""
NO_SIDES = (
    "The file does not say which way right, front and head are: its axes were taken to point left, "
    "back and up. Compare the picture with the patient."
)
"""Said of NIfTI files without qform and sform, too."""
TWO_ORIENTATIONS = (
    "The file says twice where right, front and head are (TransformMatrix, AnatomicalOrientation), "
    "and the two differ: the matrix was followed. Compare the picture with the patient."
)
BEGINS_AT = {
    "R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "I": (0, 0, 1),
    "S": (0, 0, -1),
}  # fmt: skip
"""A letter of AnatomicalOrientation names where an axis begins -> where it points, LPS."""
TURNED_COSINE = 0.3
"""An axis that points over 70 degrees away from where its letter says; the nearest letter of a
tilted grid is 55 degrees away at most."""


@dataclass(frozen=True)
class PlainHeader:
    """What ITK does not tell, or must not be asked."""

    bytes_per_number: int
    """Of one stored number."""
    unit_mm: float = 1.0
    """Length of the file's unit of spacing and place, mm."""
    scale: tuple[float, float] = (1.0, 0.0)
    """(slope, intercept) of the stored numbers, which ITK leaves out."""
    fields: dict[str, str] = field(default_factory=dict)
    """Names in the file's own writing (NRRD: small letters) -> values."""
    odd_sides: str = ""
    """What is doubtful about where right and left are, a sentence."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell a person: units and scales that were followed, sides that are unsure."""
        told: tuple[str, ...] = (self.odd_sides,) if self.odd_sides else ()
        if self.unit_mm != 1.0:
            told += (f"The file's unit of length is {self.unit_mm:g} mm, by its header; sizes were"
                     " converted.",)  # fmt: skip
        if self.scale != (1.0, 0.0):
            told += ("The file's header scales its values (times {:g}, plus {:g}); that was done."
                     .format(*self.scale),)  # fmt: skip
        return told


def check_nrrd(path: Path) -> PlainHeader:
    """Check the header of a ``.nrrd`` or ``.nhdr`` file.

    Raises
    ------
    InputError
        If it is none, or says what cannot be.
    """
    start, whole = _start(path)
    end = re.search(rb"\r?\n\r?\n", start)
    text = start[: end.start()] if end else start
    lines = _lines(path, text, LONGEST_TEXT)
    if not re.fullmatch(r"NRRD000[1-6] *", lines[0]):
        raise _bad(path, "a first line other than NRRD0001 to NRRD0006")
    fields, files = _nrrd_fields(path, lines[1:])
    sizes = _whole_numbers(path, "sizes", fields.get("sizes", ""))
    _check_axes(path, "dimension", fields.get("dimension", ""), sizes)
    size = NRRD_TYPES.get(fields.get("type", "").lower())
    if size is None:
        raise _bad(path, f"type {_short(fields.get('type', ''))}")
    there = whole - (end.end() if end else len(start))
    if files:
        there = _data_sizes(path, "data file", files)
    elif end is None and not fields.get("data file"):
        raise _bad(path, "neither voxels nor a name of their file")
    packed = fields.get("encoding", "").lower() in ("gzip", "gz", "bzip2", "bz2")
    _check_bytes(path, math.prod(sizes) * size, there, packed=packed)
    _check_nrrd_spacing(path, fields, sizes)
    named = PATIENT_SPACE.fullmatch(fields.get("space", "")) is not None
    unit_mm = _nrrd_unit(path, fields, sizes)
    return PlainHeader(size, unit_mm, fields=fields, odd_sides="" if named else NO_SIDES)


def check_meta(path: Path) -> PlainHeader:
    """Check the header of a ``.mha`` or ``.mhd`` file.

    Raises
    ------
    InputError
        If it is none, or says what cannot be.
    """
    start, whole = _start(path)
    end = re.search(rb"(?m)^[ \t]*ElementDataFile[ \t]*[=:][^\n]*(\n|\Z)", start)
    if end is None:
        raise _bad(path, "no line ElementDataFile")
    lines = _lines(path, start[: end.end()].rstrip(b"\r\n"), LONGEST_META_TEXT)
    fields = _meta_fields(path, lines)
    sizes = _whole_numbers(path, "DimSize", fields.get("DimSize", ""))
    axes = _check_axes(path, "NDims", fields.get("NDims", ""), sizes)
    _check_meta_numbers(path, fields, axes)
    size = META_TYPES.get(fields.get("ElementType", ""))
    if size is None:
        raise _bad(path, f"ElementType {_short(fields.get('ElementType', ''))}")
    files = _named_files(path, fields["ElementDataFile"], start[end.end() :])
    there = _data_sizes(path, "ElementDataFile", files) if files else whole - end.end()
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    packed = fields.get("CompressedData", "").lower() in ("true", "t", "1")
    binary = fields.get("BinaryData", "true").lower() in ("true", "t", "1")
    if binary:
        _check_bytes(path, math.prod(sizes) * size * channels, there, packed=packed)
    if "ElementSpacing" not in fields and "ElementSize" not in fields:
        raise _no_spacing(path, "no line ElementSpacing")
    return PlainHeader(
        size,
        _unit(path, "DistanceUnits", fields.get("DistanceUnits", "")),
        _meta_scale(path, fields),
        fields,
        TWO_ORIENTATIONS if _turned_away(fields, axes) else "",
    )


def _start(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a file, and how many it has."""
    with open(path, "rb") as stream:
        return stream.read(LONGEST_HEADER), path.stat().st_size


def _lines(path: Path, text: bytes, longest: int) -> list[str]:
    """Return a header's lines; refuse what no header has."""
    if b"\0" in text or len(text) >= LONGEST_HEADER:
        raise _bad(path, f"binary bytes or more than {LONGEST_HEADER - 1} characters of text")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")
    lines = [line.rstrip("\r") for line in decoded.split("\n")]  # as C does, not splitlines
    if len(lines) > MOST_LINES:
        raise _bad(path, f"{len(lines)} lines")
    too_long = next((line for line in lines if len(line) > longest), None)
    if too_long is not None:
        raise _bad(path, f"a line of {len(too_long)} characters, {_short(too_long)}")
    return lines


def _nrrd_fields(path: Path, lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the fields by name, and the names of detached data files."""
    fields: dict[str, str] = {}
    files: list[str] = []
    for number, line in enumerate(lines):
        if line.startswith("#") or ":=" in line or not line:
            continue
        name, _, value = line.partition(":")
        name, value = NRRD_SAME.get(name.lower(), name.lower()), value.strip()
        if name not in NRRD_FIELDS or name in fields:
            raise _bad(path, f"the line {_short(line)}")
        if len(line) > LONGEST_VALUE:
            raise _bad(path, f"{name} with {len(line)} characters, {_short(value)}")
        if name in NRRD_NUMBERS and not NUMBERS.fullmatch(
            value.replace("none", "").replace("o", "")
        ):
            raise _bad(path, f"{name} {_short(value)}")
        fields[name] = value
        if name == "data file":
            rest = "\n".join(lines[number + 1 :]).encode()
            files = _named_files(path, value, rest)
            break
    return fields, files


def _meta_fields(path: Path, lines: list[str]) -> dict[str, str]:
    """Return the fields of a MetaImage header by name."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line.strip():
            continue
        name, sign, value = re.match(r"([^=:]*)([=:]?)(.*)", line).groups()  # type: ignore[union-attr]
        name = name.strip()
        if not sign or len(name) > LONGEST_KEY or (name in fields and name != "Comment"):
            raise _bad(path, f"the line {_short(line)}")
        fields[name] = value.strip()
    return fields


def _check_meta_numbers(path: Path, fields: dict[str, str], axes: int) -> None:
    """Refuse lists of numbers that are not as long as they must be."""
    counts = {**dict.fromkeys(META_PER_AXIS, axes), **dict.fromkeys(META_MATRIX, axes * axes)}
    for name, count in counts.items():
        if name not in fields:
            continue
        try:
            numbers = [float(word) for word in fields[name].split()]
        except ValueError:
            numbers = []
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise _bad(path, f"{name} {_short(fields[name])} for {axes} axes")
    for name in META_WHOLE:
        if name in fields and not re.fullmatch(r"-?\d{1,15}", fields[name]):
            raise _bad(path, f"{name} {_short(fields[name])}")
    if not 1 <= int(fields.get("ElementNumberOfChannels", "1")) <= 1000:
        raise _bad(path, f"ElementNumberOfChannels {fields['ElementNumberOfChannels']}")


def _whole_numbers(path: Path, name: str, value: str) -> list[int]:
    """Return numbers of voxels, each at least 1."""
    words = value.split()
    fine = len(value) <= LONGEST_VALUE and all(re.fullmatch(r"\d{1,10}", word) for word in words)
    numbers = [int(word) for word in words] if fine else []
    if not numbers or not all(1 <= number <= MOST_VOXELS_ALONG for number in numbers):
        raise _bad(path, f"{name} {_short(value)}")
    return numbers


def _check_axes(path: Path, name: str, value: str, sizes: list[int]) -> int:
    """Return the number of axes, which the number of sizes must be."""
    axes = int(value) if re.fullmatch(r"\d{1,2}", value) else 0
    if not 1 <= axes <= MOST_AXES or axes != len(sizes):
        raise _bad(path, f"{name} {_short(value)} with {len(sizes)} sizes")
    return axes


def _check_bytes(path: Path, needed: int, there: int, *, packed: bool) -> None:
    """Refuse a file that cannot hold what its header promises."""
    most = there * MOST_INFLATED if packed else there
    if needed > most:
        raise InputError(
            str(path),
            f"a file that ends after {there} bytes of {'compressed ' * packed}voxels; its header "
            f"promises {needed}",
            "a complete, undamaged image file",
            "Copy, download or export the file again.",
        )


def _named_files(path: Path, value: str, rest: bytes) -> list[str]:
    """Return the names of the files with voxels, none if they are in the header's own file."""
    if value.upper() == "LOCAL":
        return []
    words = value.split()
    if words[:1] == ["LIST"]:
        lines = rest[:LONGEST_HEADER].decode("utf-8", "replace").splitlines()
        return [line.strip() for line in lines if line.strip()][:MOST_LINES] or ["LIST"]
    if "%" in value:
        return _numbered(path, words)
    return [value]


def _numbered(path: Path, words: list[str]) -> list[str]:
    """Return the names that a pattern such as ``a%03d.raw 1 20 1`` stands for."""
    whole = all(re.fullmatch(r"-?\d{1,6}", word) for word in words[1:])
    match = re.fullmatch(r"([^%]*)%(0?\d{0,2})d([^%]*)", words[0])
    if match is None or not whole or not 3 <= len(words) <= 5:
        raise _bad(path, f"a pattern of file names {_short(' '.join(words))}")
    first, last, *more = (int(word) for word in words[1:])
    step = more[0] if more else 1
    if step == 0 or abs(last - first) > MOST_LINES:
        raise _bad(path, f"a pattern of file names {_short(' '.join(words))}")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [f"{match[1]}{number:{match[2]}d}{match[3]}" for number in numbers] or ["%"]


def _data_sizes(path: Path, name: str, files: list[str]) -> int:
    """Return the bytes of the data files, which must be plain files beside the header."""
    total = 0
    for file in files:
        place = path.parent / file
        away = Path(file).is_absolute() or ".." in Path(file).parts or "\\" in file or ":" in file
        if away or len(file) > LONGEST_VALUE or place.resolve() == path.resolve():
            raise InputError(
                str(path),
                f"a header whose voxels are in {_short(file)}, by its line {name}",
                "voxels in a file beside the header or below it",
                "Copy both files into one folder and correct the name in the header.",
            )
        try:
            fine, size = place.is_file(), place.stat().st_size
        except OSError:
            fine, size = False, 0
        if not fine:
            raise InputError(
                str(path),
                f"a file whose voxels cannot be read: {_short(file)} is no file beside it",
                "a header with its file of voxels",
                "Copy or export both files again.",
            )
        total += size
    return total


def _nrrd_unit(path: Path, fields: dict[str, str], sizes: list[int]) -> float:
    """Return the unit of NRRD's spacing (one word an axis, in quotes), mm.

    Directions in a space have ``space units``, plain spacings have ``units`` for each axis.
    """
    name = "space units" if "space directions" in fields else "units"
    value = fields.get(name, "")
    words = re.findall(r'"([^"]*)"', value) or value.split()
    if name == "units" and len(words) == len(sizes):  # an axis of one voxel has any unit
        words = [word for word, size in zip(words, sizes, strict=True) if size > 1]
    found = {_unit(path, name, word) for word in words} or {1.0}
    if len(found) > 1:
        raise _bad(path, f"{name} that differ: {_short(value)}")
    return found.pop()


def _check_nrrd_spacing(path: Path, fields: dict[str, str], sizes: list[int]) -> None:
    """Refuse voxels whose distance is not said; ITK would take 1 mm."""
    if "space directions" in fields:
        return
    words = fields.get("spacings", "").split()
    known = len(words) == len(sizes) and all(
        size == 1 or re.match(r"[-+]?\.?\d", word) for word, size in zip(words, sizes, strict=True)
    )
    if not known:
        raise _no_spacing(path, f"spacings {_short(fields.get('spacings', ''))}")


def _no_spacing(path: Path, came: str) -> InputError:
    """Return the error for voxels of a size that nobody knows."""
    return InputError(
        str(path),
        f"a header that does not say how far voxels are apart: {came}",
        "a spacing in mm for each axis",
        "Add it to the header, or convert the original DICOM again.",
    )


def _meta_scale(path: Path, fields: dict[str, str]) -> tuple[float, float]:
    """Return slope and intercept of MetaImage's stored numbers."""
    try:
        slope, intercept = (
            float(fields.get(f"ElementToIntensityFunction{name}", usual))
            for name, usual in (("Slope", "1"), ("Offset", "0"))
        )
    except ValueError:
        slope, intercept = math.nan, math.nan
    if not math.isfinite(slope) or not math.isfinite(intercept) or slope == 0:
        raise _bad(path, "an ElementToIntensityFunction that is none")
    return slope, intercept


def _turned_away(fields: dict[str, str], axes: int) -> bool:
    """Whether AnatomicalOrientation says other directions than the matrix."""
    letters = fields.get("AnatomicalOrientation", "").upper()
    if axes < 3 or len(letters) < 3 or not set(letters[:3]) <= set(BEGINS_AT):
        return False
    matrix = next((fields[name] for name in META_MATRIX if name in fields), "")
    numbers = [float(word) for word in matrix.split()]
    for axis, letter in enumerate(letters[:3]):
        row = numbers[axis * axes :][:3] if numbers else [float(axis == k) for k in range(3)]
        length = math.hypot(*row) or 1.0
        if sum(a * b for a, b in zip(row, BEGINS_AT[letter], strict=True)) < TURNED_COSINE * length:
            return True
    return False


def _unit(path: Path, name: str, word: str) -> float:
    """Return a unit of length in mm; unnamed ones are mm, as all programs take them."""
    plain = word.strip().lower()
    if plain in NO_UNIT:
        return 1.0
    if plain not in UNITS_MM:
        raise InputError(
            str(path),
            f"{name} {_short(word)}",
            f"a unit of length: {', '.join(('mm', 'cm', 'm', 'um', 'in'))}",
            "Correct the unit in the header, or convert the original DICOM again.",
        )
    return UNITS_MM[plain]


def _bad(path: Path, came: str) -> InputError:
    """Return the error for a header that cannot be."""
    return InputError(
        str(path),
        f"a file whose header cannot be read: {came}",
        "a complete, undamaged image file",
        "Copy, download or export the file again.",
    )


def _short(text: str) -> str:
    """Return a text from a file as it may be shown: printable and not long."""
    shown = ascii(text[:60])
    return shown if len(text) <= 60 else f"{shown} ..."
