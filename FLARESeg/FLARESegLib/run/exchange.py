"""Volumes as uncompressed NRRD files, written and read in a thread with nothing but numpy.

ITK would do as well, but its first import holds Python's lock for a good part of a second, and
with it Slicer's window. The worker reads and writes these files through ITK.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_core.errors import Cancelled, InputError
from flare_core.imaging.geometry import Geometry

Array = npt.NDArray[np.generic]

TYPES = {
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "float32": "float",
    "float64": "double",
}
"""numpy's names of number types to NRRD's; 64-bit integers are written as double."""


def header_text(geometry: Geometry, dtype: np.dtype) -> str:
    """Return the header of an attached, raw, little-endian NRRD of this grid, in LPS.

    Examples
    --------
    >>> print(header_text(Geometry((4, 5, 6), (2.0, 1.0, 0.5)), np.dtype(np.int16)).splitlines()[5])
    space directions: (0.5,0.0,0.0) (0.0,1.0,0.0) (0.0,0.0,2.0)
    """
    z, y, x = geometry.shape
    steps = [
        tuple(float(spacing * cosine) for cosine in axis)
        for spacing, axis in zip(geometry.spacing_mm, geometry.direction, strict=True)
    ]
    lines = (
        "NRRD0004",
        f"type: {TYPES[dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {x} {y} {z}",
        f"space directions: {' '.join(_vector(step) for step in reversed(steps))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {_vector(tuple(float(o) for o in geometry.origin_mm))}",
    )
    return "\n".join(lines) + "\n\n"


def write_raw(path: Path, array: Array, geometry: Geometry, stop: threading.Event) -> None:
    """Write an image (Z, Y, X) slice by slice.

    Raises
    ------
    Cancelled
        If `stop` is set meanwhile; the file is then incomplete.
    InputError
        If it cannot be written, because the disk is full for example.
    """
    stored = np.dtype(np.float64) if array.dtype.name not in TYPES else array.dtype
    stored = stored.newbyteorder("<")
    try:
        with open(path, "wb") as stream:
            stream.write(header_text(geometry, stored).encode("ascii"))
            for plane in array:
                if stop.is_set():
                    raise Cancelled("stopped on request")
                np.ascontiguousarray(plane, dtype=stored).tofile(stream)
    except OSError as error:
        raise InputError(
            "temporary folder",
            f"{path.parent}: {error.strerror or error}",
            f"{array.nbytes / 2**20:.0f} MiB of free space that may be written",
            "Free space, or choose another temporary folder in Slicer's settings.",
        ) from error


def read_raw_labels(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Read the label map (Z, Y, X) that the worker wrote.

    Raises
    ------
    InputError
        If the file is not what the worker writes for a volume of this shape.
    """
    with open(path, "rb") as stream:
        data = np.fromfile(stream, dtype=np.uint8)
    end = data[:65536].tobytes().find(b"\n\n") + 2
    fields = dict(
        line.split(": ", 1)
        for line in data[:end].tobytes().decode("ascii", "replace").splitlines()
        if ": " in line
    )
    sizes = " ".join(str(n) for n in reversed(shape))
    found = (fields.get("sizes"), fields.get("type"), fields.get("encoding"), data.size - end)
    if found != (sizes, "unsigned char", "raw", int(np.prod(shape))):
        raise InputError(
            "labels", f"a file with {found}", f"a raw uint8 map of {sizes} voxels",
            "Install the extension FLARESeg again, so that its parts have the same version.",
        )  # fmt: skip
    return data[end:].reshape(shape)


def _vector(numbers: tuple[float, ...]) -> str:
    return "(" + ",".join(repr(number) for number in numbers) + ")"
