"""NIfTI-1 in bytes: header, voxels, writing; no SimpleITK here, and no geometry is derived.

Why not ITK for the voxels: it reads a truncated ``.nii`` or ``.nii.gz`` without a word and fills
the rest with zeros, and it writes to a full disk without a word (ITK 5.4, tested with both). Here
the count of bytes and gzip's CRC are checked. It costs nothing: a 512 x 512 x 109 scan is inflated
in .25 s (ITK .23 s), its label map deflated at level 1 in .05 s (ITK .03 s), of a run of seconds.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from flare_core.atomic import atomic_path
from flare_core.errors import InputError
from flare_core.imaging.checks import check_kind
from flare_core.imaging.geometry import Geometry, Index
from flare_core.imaging.plain_headers import NO_SIDES

Array = npt.NDArray[Any]

FIELDS = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("unused1", "V36"),
        ("dim", "<i2", 8),
        ("intent_p", "<f4", 3),
        ("intent_code", "<i2"),
        ("datatype", "<i2"),
        ("bitpix", "<i2"),
        ("slice_start", "<i2"),
        ("pixdim", "<f4", 8),
        ("vox_offset", "<f4"),
        ("scl_slope", "<f4"),
        ("scl_inter", "<f4"),
        ("unused2", "V3"),
        ("xyzt_units", "u1"),
        ("cal_max", "<f4"),
        ("cal_min", "<f4"),
        ("unused3", "V16"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        ("qform_code", "<i2"),
        ("sform_code", "<i2"),
        ("quatern", "<f4", 3),
        ("qoffset", "<f4", 3),
        ("srow", "<f4", (3, 4)),
        ("intent_name", "S16"),
        ("magic", "S4"),
    ]
)
"""The 348 bytes at the start of a file, little-endian."""
PLACE = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow")
"""The fields that say where the voxels are."""
VOXEL_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI's code of a voxel type -> numpy's."""
UNITS_MM = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""NIfTI's codes of metres, millimetres and micrometres; ITK converts them, too."""
MIRRORED = (
    "The file says twice where its voxels are (qform, sform), and the two are mirror images of "
    "each other: right and left may be exchanged. Compare the picture with the patient."
)
TURNED = (
    "The file says twice where its voxels are (qform, sform), and the two are turned against each "
    "other: right, front and head may be exchanged. Compare the picture with the patient."
)
TURNED_COSINE = 0.7
"""Of 45 degrees: from there on an axis is another one."""
MOST_BEHIND = 1 << 26
"""Bytes behind the voxels that are read past; a stream that goes on and on is no scan."""
MOST_BEFORE = 1 << 26
"""Bytes before the voxels: header and extensions."""
MOST_INFLATED = 1100
"""Deflate makes at most 1032 bytes of one."""
MANY_NUMBERS = {32: 2, 128: 3, 1792: 2, 2048: 2, 2304: 4}
"""Codes of complex and colour voxels -> numbers in a voxel."""
BLOCK = 1 << 18
INFLATED = 1 << 20
"""Bytes read and inflated at a time: the fastest of 64 KiB to 4 MiB on a 512 x 512 x 109 scan."""


@dataclass(frozen=True, eq=False)
class Header:
    """What a NIfTI-1 file says about its voxels."""

    fields: np.void
    """All fields, in the file's byte order."""
    shape: Index
    """Voxels along z, y, x."""
    dtype: np.dtype[np.generic]
    """Type and byte order of the stored voxels."""
    scale: tuple[float, float]
    """(slope, intercept): HU = stored * slope + intercept."""

    @property
    def unit_mm(self) -> float:
        """Length of the header's unit of space, mm; 1 where it names none."""
        return UNITS_MM.get(int(self.fields["xyzt_units"]) & 7, 1.0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about where the voxels are."""
        there = self.fields["qform_code"] > 0, self.fields["sform_code"] > 0
        if not all(there):
            return () if any(there) else (NO_SIDES,)
        sform, qform = self.fields["srow"][:, :3].astype(float), _qform_axes(self.fields)
        if np.linalg.det(sform) * np.linalg.det(qform) < 0:
            return (MIRRORED,)
        lengths = np.linalg.norm(sform, axis=0)
        cosines = (sform * qform).sum(axis=0) / np.where(lengths > 0, lengths, 1.0)
        return (TURNED,) if cosines.min() < TURNED_COSINE else ()

    @property
    def offset(self) -> int:
        """Bytes before the first voxel (352: the header and an empty extension)."""
        return max(352, int(self.fields["vox_offset"]))

    @property
    def pixdim_mm(self) -> tuple[float, float, float]:
        """Spacing along z, y, x as the header says it, in its own unit (nearly always mm)."""
        x, y, z = (float(p) for p in self.fields["pixdim"][1:4])
        return z, y, x


def read_header(path: Path) -> Header:
    """Read and check the header of a ``.nii`` or ``.nii.gz`` file.

    Raises
    ------
    InputError
        If the file is not NIfTI-1, ends early, or does not hold one 3D image of numbers.
    """
    with open(path, "rb") as stream:
        start = b""
        for block in _blocks(stream, path):
            start += block
            if len(start) >= FIELDS.itemsize:
                break
    if len(start) < FIELDS.itemsize:
        raise damaged(path, f"a file of {len(start)} bytes, shorter than a NIfTI header")
    fields = np.frombuffer(start, FIELDS, 1)[0]
    if fields["sizeof_hdr"] != 348:
        fields = np.frombuffer(start, FIELDS.newbyteorder(">"), 1)[0]
    if fields["sizeof_hdr"] != 348 or fields["magic"] != b"n+1":
        raise InputError(
            str(path),
            "a file whose content is not NIfTI-1",
            "a NIfTI-1 file (.nii or .nii.gz) with header and voxels in one file",
            "Convert the image again, for example with dcm2niix or 3D Slicer.",
        )
    return _understood(path, fields)


def read_planes(path: Path, header: Header) -> Iterator[Array]:
    """Yield the stored planes (Y, X) from z = 0 on; nothing else is kept in memory.

    Raises
    ------
    InputError
        If the file ends before the last voxel, its compressed stream is damaged, or it goes on far
        behind the last voxel.
    """
    _check_bytes(path, header)
    size = header.shape[1] * header.shape[2] * header.dtype.itemsize
    total = size * header.shape[0]
    plane, filled, left = bytearray(size), 0, total
    skip, behind = header.offset, 0
    with open(path, "rb") as stream:
        # Going on to the end, though all voxels are there, makes zlib compare the CRC.
        for block in _blocks(stream, path):
            data = memoryview(block)[min(skip, len(block)) :]
            skip -= min(skip, len(block))
            behind += max(0, len(data) - left)
            data = data[:left]
            left -= len(data)
            if behind > MOST_BEHIND:
                raise damaged(path, f"a file with over {MOST_BEHIND} bytes behind its voxels")
            while len(data):
                part = data[: size - filled]
                plane[filled : filled + len(part)] = part
                filled, data = filled + len(part), data[len(part) :]
                if filled == size:
                    yield np.frombuffer(plane, header.dtype).reshape(header.shape[1:])
                    plane, filled = bytearray(size), 0
    if left:
        came = f"a file that ends after {total - left} of the {total} bytes of its voxels"
        raise damaged(path, came)


def _check_bytes(path: Path, header: Header) -> None:
    """Refuse a file that is too short for its voxels, before memory is asked for them."""
    total = int(np.prod(header.shape, dtype=np.int64)) * header.dtype.itemsize
    there = path.stat().st_size
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    held = there * MOST_INFLATED if packed else there - header.offset
    if held < total:
        came = f"a file that ends after {max(0, held)} of the {total} bytes of its voxels"
        if packed:
            came = f"a truncated gzip file: {there} bytes for voxels of {total}"
        raise damaged(path, came)


def write(
    path: Path,
    array: Array,
    geometry: Geometry,
    *,
    place: Header | None = None,
    compression_level: int = 1,
) -> None:
    """Write voxels (Z, Y, X) as NIfTI-1, gzipped if `path` ends in ``.gz``; whole or not at all.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.
    array : (Z, Y, X)
        Any type of `VOXEL_TYPES`.
    geometry : Geometry
        Where the voxels are.
    place : Header, optional
        Another file's header on the same grid; its qform, sform and spacing are taken bit by bit.
    compression_level : int
        1 (fast) to 9. Measured on a 512 x 512 x 109 label map: level 1 takes .05 s for 313 KiB,
        level 6 .12 s for 135 KiB, level 9 .48 s for 110 KiB.

    Raises
    ------
    InputError
        If the folder cannot be written or the disk is full; nothing is left behind.
    """
    fields = _new_fields(array, geometry)
    if place is not None:
        for name in PLACE:
            fields[name] = place.fields[name]
    stored = array.astype(array.dtype.newbyteorder("<"), copy=False)
    parts = _parts(fields, stored)
    with atomic_path(path) as part, open(part, "wb") as stream:
        if path.name.endswith(".gz"):
            parts = _deflated(parts, compression_level)
        stream.writelines(parts)


def inflated(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what a stream of gzip members, or one of zlib, holds, block by block.

    Raises
    ------
    zlib.error
        If the stream is damaged; its check sum is compared at its end.
    EOFError
        If it ends early.
    """
    member = zlib.decompressobj(wbits=47)
    pending = stream.read(BLOCK)
    while pending:
        if member.eof:
            if pending[:1] != b"\x1f":  # padding behind the last member
                return
            member = zlib.decompressobj(wbits=47)
        yield member.decompress(pending, INFLATED)
        pending = member.unconsumed_tail or member.unused_data or stream.read(BLOCK)
    while not member.eof:
        rest = member.decompress(b"", INFLATED)
        if not rest:
            raise EOFError("the file ends early")
        yield rest


def damaged(path: Path, came: str) -> InputError:
    """Return the error for a file that is not whole."""
    return InputError(
        str(path),
        came,
        "a complete, undamaged image file",
        "Copy, download or export the file again.",
    )


def _understood(path: Path, fields: np.void) -> Header:
    """Return the header with its fields checked."""
    count = int(fields["dim"][0])
    size = [int(n) for n in fields["dim"][1 : 1 + max(0, count)]]
    code = int(fields["datatype"])
    if not 1 <= count <= 7 or min(size) < 1 or code not in {*VOXEL_TYPES, *MANY_NUMBERS}:
        raise damaged(path, f"a header with impossible sizes or types ({size}, type {code})")
    # NIfTI puts the parts of a vector into the fifth dimension.
    shape = check_kind(
        str(path), size[:4] + size[5:], MANY_NUMBERS.get(code, 1) * (size[4:5] or [1])[0]
    )
    order = fields.dtype["sizeof_hdr"].byteorder
    dtype: np.dtype[np.generic] = np.dtype(VOXEL_TYPES[code]).newbyteorder(order)
    if not 0 <= float(fields["vox_offset"]) <= MOST_BEFORE:  # NaN, too
        raise damaged(path, f"a header whose voxels begin at byte {fields['vox_offset']:g}")
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        slope, intercept = 1.0, 0.0  # the format's words for "not scaled"
    if not np.isfinite(intercept):
        intercept = 0.0
    return Header(fields, shape, dtype, (slope, intercept))


def _blocks(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield a file's content, inflated if it is gzip (whatever its name says)."""
    start = stream.read(2)
    stream.seek(0)
    if start != b"\x1f\x8b":
        yield from iter(lambda: stream.read(INFLATED), b"")
        return
    try:
        yield from inflated(stream)
    except (zlib.error, EOFError) as error:
        raise damaged(path, f"a damaged or truncated gzip file ({error})") from error


def _deflated(parts: Iterable[bytes], level: int) -> Iterator[bytes]:
    """Yield `parts` as one gzip member without a date, so that equal voxels make equal files."""
    member = zlib.compressobj(level, zlib.DEFLATED, 31)
    for part in parts:
        yield member.compress(part)
    yield member.flush()


def _parts(fields: np.void, array: Array) -> Iterator[bytes]:
    """Yield header, empty extension and planes; a plane at a time keeps the copy small."""
    yield fields.tobytes() + bytes(4)
    for plane in array:
        yield plane.tobytes()


def _new_fields(array: Array, geometry: Geometry) -> np.void:
    """Return a header whose qform and sform both say `geometry`, in RAS mm."""
    codes = {np.dtype(name): code for code, name in VOXEL_TYPES.items()}
    fields: np.void = np.zeros(1, FIELDS)[0]
    fields["sizeof_hdr"] = 348
    fields["dim"] = (3, *geometry.shape[::-1], 1, 1, 1, 1)
    fields["datatype"] = codes[array.dtype.newbyteorder("=")]
    fields["bitpix"] = array.dtype.itemsize * 8
    fields["vox_offset"] = 352
    fields["scl_slope"] = 1
    fields["xyzt_units"] = 10  # mm and seconds
    fields["qform_code"] = fields["sform_code"] = 1  # scanner coordinates
    fields["magic"] = b"n+1"
    to_ras = np.diag([-1.0, -1.0, 1.0])
    axes = to_ras @ np.asarray(geometry.direction)[::-1].T  # columns: x, y, z axis in RAS
    origin = to_ras @ np.asarray(geometry.origin_mm)
    spacing = geometry.spacing_mm[::-1]
    handedness = 1.0 if np.linalg.det(axes) > 0 else -1.0
    fields["pixdim"] = (handedness, *spacing, 1, 0, 0, 0)
    fields["quatern"] = _quaternion(axes * (1, 1, handedness))
    fields["qoffset"] = origin
    fields["srow"] = np.column_stack([axes * spacing, origin])
    return fields


def _qform_axes(fields: np.void) -> npt.NDArray[np.float64]:
    """Return the unit vectors (columns: x, y, z axis, in RAS) that a header's qform says."""
    vector = fields["quatern"].astype(float)
    rest = 1.0 - float(vector @ vector)
    a = np.sqrt(max(0.0, rest))
    b, c, d = vector / (1.0 if rest > 0 else np.linalg.norm(vector))
    axes = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    axes[:, 2] *= -1.0 if fields["pixdim"][0] < 0 else 1.0
    return axes


def _quaternion(rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return b, c, d of the unit quaternion (a >= 0) of a rotation matrix.

    The quaternion is the eigenvector of a symmetric matrix made from the rotation (Bar-Itzhack
    2000, doi 10.2514/2.4654), which is stable for every angle, half turns included.

    Examples
    --------
    >>> np.abs(_quaternion(np.diag([-1.0, -1.0, 1.0])))
    array([0., 0., 1.])
    """
    r = rotation
    scatter = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    b, c, d, a = np.linalg.eigh(scatter)[1][:, -1]
    return np.array([b, c, d]) * (1.0 if a >= 0 else -1.0)
