"""Arrays in one file that are read when they are looked at: a mapped, uncompressed ``.npz``.

A cohort of thousands of scans is larger than the memory; mapped, the system keeps what is used and
lets go of the rest, and opening a scan costs a millisecond.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from flare_core import atomic
from flare_core.alive import held_file, sweep

Array = npt.NDArray[Any]
"""Of any type of number: the file says which."""

NAMES_AT, CONTENT_AT = 26, 30
"""Where a zip member's header says how long its name and extras are, and where these begin."""

SMALL = 2**16
"""Bytes up to which an array is read at once."""


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays, whole or not at all; the file is held while it is written (`alive`)."""
    named: Mapping[str, Any] = arrays  # by their type, numpy's own options could be among them
    with atomic.atomic_path(path) as part, held_file(part) as stream:
        np.savez(stream, **named)
        stream.close()  # before it is renamed: Windows moves no open file


@lru_cache(maxsize=256)
def tidy(folder: Path) -> None:
    """Remove what killed writers left in a folder of such files; once a process."""
    sweep(folder, ".????????.part.*.npz", files_s=None)


def map_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays that `write_arrays` wrote; they cannot be written to."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        whole = np.memmap(path, np.uint8, "r")  # one mapping: systems allow some ten thousands
        return {
            member.filename.removesuffix(".npy"): _array(whole, stream, member.header_offset)
            for member in archive.infolist()
        }


def _array(whole: npt.NDArray[np.uint8], stream: BinaryIO, start: int) -> Array:
    """Return the array of the member whose header begins at `start`."""
    stream.seek(start + NAMES_AT)
    name, extra = np.frombuffer(stream.read(4), "<u2").tolist()
    stream.seek(start + CONTENT_AT + name + extra)
    np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    mapped: Array = np.ndarray(shape, dtype, whole, stream.tell(), order="F" if fortran else "C")
    if mapped.nbytes > SMALL:
        return mapped
    read = mapped.copy()
    read.flags.writeable = False
    return read
