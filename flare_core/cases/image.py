"""Which scans are one image: the same voxels on the same grid, whatever the file's type or name.

A scan as it came and a copy of it that another program wrote have other bytes. Were they two
cases, one of them could be held out while the other is learnt from.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flare_core.alive import scratch
from flare_core.atomic import sha256_of
from flare_core.cases.checks import grid_of, scan_file
from flare_core.cases.files import PENDING, SCRATCH
from flare_core.errors import FlareError

SPACING_TOLERANCE = 1e-3
"""Relative; formats keep 4 or 8 bytes of a number, and the catalogue 6 digits."""


@dataclass(frozen=True)
class Image:
    """What a scan is known by."""

    sha256: str
    """Of the file, 64 hex digits."""
    voxels: str
    """Of the voxels, 64 hex digits; empty if they were not looked at."""
    grid: str
    """Shape and spacing (z, y, x; mm)."""


def voxels_of(image: Path) -> str:
    """Return the SHA-256 of a scan's HU on canonical axes, with its shape; not of its type.

    Raises
    ------
    InputError
        If it cannot be read whole.
    """
    from flare_core.imaging.apart import call

    digest: str = call("flare_core.cases.image:_hash_of", image)
    return digest


def _hash_of(image: Path) -> str:
    """Do so in this process."""
    from flare_core.imaging.files import read_volume
    from flare_core.imaging.itk import compact

    array = read_volume(image).canonical()[0].array  # (Z, Y, X)
    array = compact(array)
    digest = hashlib.sha256(f"{array.dtype.kind} {array.shape}".encode("ascii"))
    for plane in array:
        plain = plane + plane.dtype.type(0)  # no -0.0
        digest.update(plain.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def image_of(store: Path, path: Path) -> Image:
    """Return what a scan, file or DICOM folder, is known by.

    Raises
    ------
    InputError
        If it is no scan that can be read.
    """
    if not os.path.isdir(path):
        return Image(sha256_of(path), voxels_of(path), grid_of(path))
    with (
        scratch(store / PENDING, SCRATCH) as place,
        scan_file(path, place) as (file, _, grid),
    ):
        return Image(sha256_of(file), voxels_of(file), grid)


def same_grid(one: str, other: str) -> bool:
    """Whether two grids are one, whatever the order of their axes.

    Examples
    --------
    >>> same_grid("4 6 8 5 2 1", "8 6 4 1 2 5.00001"), same_grid("4 6 8 5 2 1", "4 6 8 5 2 2")
    (True, False)
    """
    first, second = ([float(n) for n in text.split()] for text in (one, other))
    pairs = zip(sorted(first[3:]), sorted(second[3:]), strict=True)
    close = all(math.isclose(a, b, rel_tol=SPACING_TOLERANCE) for a, b in pairs)
    return sorted(first[:3]) == sorted(second[:3]) and close


def find_image(db: sqlite3.Connection, image: Image) -> sqlite3.Row | None:
    """Return the case that has this image; None if there is none."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM cases WHERE sha256 = ?", (image.sha256,)
    ).fetchone()
    if row is not None or not image.voxels:
        return row
    query = "SELECT * FROM cases WHERE voxels = ? ORDER BY id"
    same = db.execute(query, (image.voxels,)).fetchall()
    return next((each for each in same if same_grid(each["grid"], image.grid)), None)


def unknown_voxels(db: sqlite3.Connection, folder: Path, grid: str) -> dict[int, str]:
    """Return the voxels, by id, of cases on a grid whose voxels nobody has looked at.

    Programs before this one did not. Read only where it may matter, as it takes seconds a scan.
    """
    query = "SELECT id, image, linked, grid FROM cases WHERE voxels = ''"
    found = {}
    for row in db.execute(query).fetchall():
        image = Path(row["image"]) if row["linked"] else folder / row["image"]
        if same_grid(row["grid"], grid):
            with suppress(FlareError, OSError):  # gone or damaged: `verify` says so
                found[row["id"]] = voxels_of(image)
    return found


def put_voxels(db: sqlite3.Connection, voxels: dict[int, str]) -> None:
    """Put voxels into the catalogue, id of the case -> SHA-256."""
    db.executemany("UPDATE cases SET voxels = ? WHERE id = ?", [(v, k) for k, v in voxels.items()])
