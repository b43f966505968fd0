"""Is this a CT scan in Hounsfield units? Errors that say what to do, notes about what is unusual.

``check_kind``, ``check_grid`` and ``orthonormal`` look at a file's header, before memory is spent
on its voxels; ``check_ct`` looks at the voxels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry, Index, Matrix, Triple
from flare_core.imaging.hounsfield import GREY, MASK, PET, REMEDY, Doubt, doubt, kind_of
from flare_core.imaging.volume import Volume

Array = npt.NDArray[Any]

MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0
"""Spacing of a clinical abdominal CT; micro-CT and header accidents lie outside."""
MAX_EXTENT_MM = 2500.0
"""Longer than any scanner's table moves."""
MAX_VOXELS = 2**31 - 1
"""Beyond it, 32-bit indices in image libraries overflow (about 8000 slices of 512 x 512)."""
BYTES_PER_VOXEL = 9
"""On the input's grid, at worst in clean-up: image int16, two label maps, and the mask (1) and
numbered pieces (4) of an organ whose box is the whole scan."""
FARTHEST_MM = 1e6
"""A scanner's coordinates are within metres."""
FIXED_GIB = 1.0
"""The program, its libraries and one network at work, whatever the scan's size."""
SHEAR_TOLERANCE = 2e-3
"""Cosine between two axes that rounding in a header explains: 1 mm over a field of 500 mm."""
AIR_HU = -1024.0
PADDING_HU = -1100.0
"""Values below are no tissue: scanners fill what they did not measure with -2000 to -3024."""
FARTHEST_HU = 65536.0
"""16 bits hold every scanner's values, those of its extended scale for metal too. A single voxel
beyond, as memory that was never written has, would make an organ's mean anything."""
SOFT_TISSUE_HU = (-200.0, 200.0)
SOFT_TISSUE_FRACTION = 1e-3
"""Even a neck-to-feet scan with arms and table has over 5 % of its voxels there."""


HU = "a CT in Hounsfield units: air near -1000, water 0, soft tissue 0 to 100"


class NotHU(InputError):
    """Values that do not look like HU; whoever gave them may know better."""


def check_kind(argument: str, size: Sequence[int], components: int) -> Index:
    """Return the shape (z, y, x) of a file's image if it is one 3D image of single numbers.

    Parameters
    ----------
    argument : str
        What to call the image in an error, often its path.
    size : sequence of int
        Voxels along x, y, z and further axes, as files list them.
    components : int
        Numbers in a voxel.

    Raises
    ------
    InputError
        If the image is 2D, 4D or has several numbers in a voxel.

    Examples
    --------
    >>> check_kind("scan", (512, 512, 100, 1), 1)
    (100, 512, 512)
    """
    legal = "one 3D image with one number (HU) in a voxel"
    if components != 1:
        kind = f"a colour or vector image with {components} numbers in a voxel"
        raise InputError(argument, kind, legal, "Give the original CT, not a picture made of it.")
    frames = math.prod(size[3:])
    if frames != 1:
        came = f"a 4D image: {frames} volumes of {' x '.join(map(str, size[:3]))} voxels"
        raise InputError(argument, came, legal, "Save one of its volumes (one phase) as a 3D file.")
    if len(size) < 3 or min(size[:3]) == 1:
        came = f"a 2D image or single slice: {' x '.join(map(str, size))} voxels"
        raise InputError(argument, came, legal, "Give the whole stack of slices as one 3D image.")
    return int(size[2]), int(size[1]), int(size[0])


def check_grid(
    argument: str,
    shape: Index,
    spacing_mm: Sequence[float],
    *,
    free_gib: float | None = None,
    bytes_per_voxel: int = 2,
) -> None:
    """Refuse a voxel grid that no CT has, or that this machine cannot hold.

    Parameters
    ----------
    argument : str
        What to call the image in an error.
    shape : (int, int, int)
        Voxels along z, y, x.
    spacing_mm : (float, float, float)
        Along z, y, x, mm.
    free_gib : float, optional
        Memory that may be used, GiB; None asks the machine.
    bytes_per_voxel : int
        In memory when the scan is read: 2 for int16, more if a reader needs more at once.

    Raises
    ------
    InputError
        If the spacing, the extent or the number of voxels is out of range.
    """
    named = " x ".join(f"{s:g}" for s in spacing_mm)
    if not all(MIN_SPACING_MM <= s <= MAX_SPACING_MM for s in spacing_mm):
        raise InputError(
            argument,
            f"a voxel spacing of {named} mm (z, y, x)",
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm along each axis",
            "Correct the spacing in the file's header, or convert the original DICOM again.",
        )
    extent = max(n * s for n, s in zip(shape, spacing_mm, strict=True))
    if extent > MAX_EXTENT_MM:
        raise InputError(
            argument,
            f"an image {extent:.0f} mm long: {_times(shape)} voxels of {named} mm (z, y, x)",
            f"at most {MAX_EXTENT_MM:.0f} mm along each axis",
            "Correct the spacing in the file's header.",
        )
    free = free_memory_gib() if free_gib is None else free_gib
    _check_size(argument, shape, free, bytes_per_voxel)


def check_place(argument: str, origin_mm: Sequence[float] | Array) -> None:
    """Refuse an origin that is no place.

    Raises
    ------
    InputError
        If a coordinate is NaN, infinite or kilometres away.
    """
    if not all(abs(float(c)) <= FARTHEST_MM for c in origin_mm):
        raise InputError(
            argument,
            f"a first voxel at {', '.join(f'{float(c):g}' for c in origin_mm)} mm",
            f"coordinates of at most {FARTHEST_MM:g} mm",
            "Correct the origin in the file's header, or convert the original DICOM again.",
        )


def check_finite(argument: str, array: Array) -> None:
    """Refuse NaN and infinite voxels, and count them.

    Libraries that walk over voxels do not expect them: scikit-image's paths end in damaged memory.

    Raises
    ------
    InputError
        If there are any in the array (Z, Y, X).
    """
    if array.dtype.kind != "f":
        return
    nan = sum(int(np.isnan(plane).sum()) for plane in array)
    infinite = sum(int(np.isinf(plane).sum()) for plane in array)
    if nan or infinite:
        raise InputError(
            argument,
            f"{nan} NaN and {infinite} infinite voxels of {array.size}",
            "finite numbers (HU) everywhere",
            f"If they mark what was not scanned, replace them with {AIR_HU:.0f} (air).",
        )


def memory_need_gib(shape: Index, bytes_per_voxel: int = 2) -> float:
    """Return the memory that a scan of `shape` needs from file to labels, GiB (an upper estimate).

    Parameters
    ----------
    shape : (int, int, int)
    bytes_per_voxel : int
        Of what is stored: int16 stays, others become float32 or int16 in the end.

    Examples
    --------
    >>> round(memory_need_gib((3000, 512, 512)), 1)
    7.6
    """
    # ITK holds wide numbers twice: as stored and as it hands them out.
    reading = 2 * bytes_per_voxel + 2 if bytes_per_voxel > 2 else 2
    running = BYTES_PER_VOXEL + (2 if bytes_per_voxel > 2 else 0)
    return FIXED_GIB + math.prod(shape) * max(reading, running) / 2**30


def free_memory_gib() -> float | None:
    """Return the memory that this process may still take, GiB; None where nothing tells.

    On Linux what the kernel counts as available, or less where a container has its own limit;
    elsewhere the machine's whole memory.
    """
    limits = [gib for gib in (_linux_available_gib(), _container_gib()) if gib is not None]
    if limits:
        return min(limits)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def orthonormal(argument: str, direction: npt.ArrayLike) -> Matrix:
    """Return the direction (rows: array axes z, y, x in LPS) with axes at right angles.

    Directions that are right to rounding come back as they are, so that an affine survives
    reading and writing to float precision; slightly skewed ones are replaced by the nearest
    orthonormal ones (polar decomposition).

    Raises
    ------
    InputError
        If the axes are sheared by more than rounding explains, or are no axes at all.
    """
    rows = np.asarray(direction, float) + 0.0  # minus zero becomes zero
    skew = float(np.max(np.abs(rows @ rows.T - np.eye(3)))) if np.isfinite(rows).all() else np.inf
    if not skew <= SHEAR_TOLERANCE:
        angle = math.degrees(math.asin(min(1.0, skew)))
        came = f"axes that are not at right angles (sheared by {angle:.2f} degrees)"
        if not float(np.max(np.abs((rows * rows).sum(1) - 1))) <= SHEAR_TOLERANCE:
            came = "axes that are not unit vectors"
        raise InputError(
            argument,
            came,
            "a grid of voxels with three axes at right angles, as every CT reconstruction has",
            "Convert the original DICOM again with gantry-tilt correction (dcm2niix makes it).",
        )
    if skew > 1e-5:
        left, _, right = np.linalg.svd(rows)
        rows = left @ right
    z, y, x = ((float(a), float(b), float(c)) for a, b, c in rows)
    return z, y, x


def check_ct(
    volume: Volume, *, argument: str = "image", assume_hu: bool = False
) -> tuple[str, ...]:
    """Refuse what is no CT in HU; return sentences about what is unusual but usable.

    Parameters
    ----------
    volume : Volume
        Voxels (Z, Y, X), HU hoped for.
    argument : str
        What to call the image in an error, often its path.
    assume_hu : bool
        A person says that the values are HU: what speaks against it becomes a note.

    Returns
    -------
    tuple of str
        Notes for the person, possibly none.

    Raises
    ------
    InputError
        For NaN or infinite voxels, a constant image, values that are not HU, a single slice, or
        a grid that no CT has: sheared axes, axes that are no unit vectors, no place.
    """
    shape, spacing = volume.geometry.shape, volume.geometry.spacing_mm
    check_kind(argument, shape[::-1], 1)
    check_grid(argument, shape, spacing)
    check_place(argument, volume.geometry.origin_mm)
    orthonormal(argument, volume.geometry.direction)  # a reader has straightened what it may
    check_finite(argument, volume.array)
    low, high = float(volume.array.min()), float(volume.array.max())
    # One voxel in eight answers the questions about shares, and keeps this in milliseconds.
    sample = volume.array[:: 2 if shape[0] > 16 else 1, ::2, ::2]
    against = []
    try:
        _check_hu(argument, sample, low, high)
    except InputError as error:
        if not assume_hu:
            raise
        against = [f"Taken for HU as was asked, though it does not look like it: {error.parts[1]}."]
    return (*volume.notes, *against, *_notes(sample, low, high, spacing))


LEAST_LENGTH_MM, LEAST_WIDTH_MM = 80.0, 160.0
"""From head to foot, and across: of a phantom cut smaller than this organs were missed or wrong
(mean DSC .23 at 40 mm of length, .55 at 60, .82 at 80; .48 at 100 mm of width, .60 at 120, .80 at
160)."""


def too_small(geometry: Geometry) -> str:
    """Return a sentence about a scan too short or narrow to tell organs by; nothing for others.

    Examples
    --------
    >>> too_small(Geometry((2, 512, 512), (10.0, 0.8, 0.8)))
    'The scan is only 20 mm long: below 80 mm an organ that is in it may well not be found.'
    """
    turned = geometry.permuted(geometry.canonical_map())
    extents = [n * mm for n, mm in zip(turned.shape, turned.spacing_mm, strict=True)]
    sides = (("long", extents[0], LEAST_LENGTH_MM), ("wide", min(extents[1:]), LEAST_WIDTH_MM))
    short = [(f"{mm:.0f} mm {word}", f"{least:.0f} mm") for word, mm, least in sides if mm < least]
    if not short:
        return ""
    came, least = (" and ".join(texts) for texts in zip(*short, strict=True))
    return f"The scan is only {came}: below {least} an organ that is in it may well not be found."


def _check_hu(argument: str, sample: Array, low: float, high: float) -> None:
    """Refuse values that are not HU, by their range, their shares and their peaks."""
    _check_range(argument, sample, low, high)
    found = doubt(sample)
    _check_tissue(argument, sample, found)
    if found is not None:
        came = f"values that are not HU: {found.measured}"
        raise NotHU(argument, came, HU, found.remedy)


def _check_size(argument: str, shape: Index, free_gib: float | None, stored: int) -> None:
    """Refuse more voxels than indices or memory allow."""
    voxels, need = math.prod(shape), memory_need_gib(shape, stored)
    if voxels > MAX_VOXELS:
        raise InputError(
            argument,
            f"{voxels} voxels ({_times(shape)})",
            f"at most {MAX_VOXELS} voxels",
            "Crop the scan to the abdomen, or resample it.",
        )
    if free_gib is not None and need > free_gib:
        raise InputError(
            argument,
            f"{_times(shape)} voxels (z, y, x), which need about {need:.1f} GiB of memory",
            f"a scan that fits into the {free_gib:.1f} GiB that are free on this machine",
            "Close other programs, crop the scan to the abdomen, or use a larger machine.",
        )


def _check_range(argument: str, sample: Array, low: float, high: float) -> None:
    """Refuse values whose range alone says that they are not HU."""
    legal = HU
    came = f"values from {low:g} to {high:g}"
    if low == high:
        raise InputError(
            argument, f"a constant image, {low:g} everywhere", legal, "Give the scan itself."
        )
    if max(-low, high) > FARTHEST_HU:
        action = "Replace what was not measured with -1024 (air); check the file's rescale values."
        raise NotHU(argument, f"{came}: further than any CT's", legal, action)
    kind = kind_of(sample) if low >= 0 else ""
    if kind in (MASK, GREY):
        raise InputError(argument, f"{came}: grey levels or a label map", legal, REMEDY[kind])
    if kind == PET:
        raise InputError(argument, f"{came}: no voxel is below zero", legal, REMEDY[kind])
    if high - low < 50:
        action = "Give the CT before its intensities were normalised."
        raise InputError(argument, f"{came}: normalised intensities", legal, action)
    if low >= 0:
        raise NotHU(argument, f"{came}: no voxel is below zero", legal, REMEDY[kind])
    if high < SOFT_TISSUE_HU[0]:
        action = "Give the scan of a body; if 1024 was subtracted twice, add it back."
        raise NotHU(argument, f"{came}: nothing as dense as tissue", legal, action)


def _check_tissue(argument: str, sample: Array, found: Doubt | None) -> None:
    """Refuse an image in which almost nothing has the density of a body."""
    low, high = SOFT_TISSUE_HU
    share = float(np.count_nonzero((sample > low) & (sample < high)) / sample.size)
    if share < SOFT_TISSUE_FRACTION:
        action = "Check rescale slope and intercept of the file; give a CT, not MR or a mask."
        if found is not None and found.remedy.startswith("These look like"):
            action = found.remedy
        raise NotHU(
            argument,
            f"only {share:.2%} of the voxels between {low:.0f} and {high:.0f}, where tissue lies",
            "a CT of a body in Hounsfield units (air near -1000, water 0)",
            action,
        )


WORTH_A_NOTE = 0.0005
"""Share of padded voxels below which nobody needs to know: less would read "0.0 %"."""


def _notes(sample: Array, low: float, high: float, spacing_mm: Triple) -> list[str]:
    """Return what a person should know about a usable scan."""
    notes = []
    if low < PADDING_HU:
        share = float(np.count_nonzero(sample < PADDING_HU) / sample.size)
        if share >= WORTH_A_NOTE:
            notes.append(f"Padding down to {low:.0f} HU ({share:.1%} of the voxels) counts as air.")
    if low > -500 and high < 1000:
        notes.append(f"Values are clipped to {low:.0f} to {high:.0f} HU; the model expects all HU.")
    if max(spacing_mm) > 5.0:
        notes.append(
            f"Slices are {max(spacing_mm):g} mm apart: small organs are less reliable above 5 mm."
        )
    return notes


def _times(shape: Index) -> str:
    """Return a shape as people write it."""
    return " x ".join(map(str, shape))


def _linux_available_gib() -> float | None:
    """Return the kernel's estimate of memory that new programs get without swapping, GiB."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return None


def _container_gib() -> float | None:
    """Return what a control group's limit leaves, GiB; page cache is not counted as used."""
    limit = "".join(_lines("/sys/fs/cgroup/memory.max"))
    if not limit.isdigit():
        return None
    used = [n.split()[1] for n in _lines("/sys/fs/cgroup/memory.stat") if n.startswith("anon ")]
    return (int(limit) - sum(map(int, used))) / 2**30


def _lines(path: str) -> list[str]:
    """Return a small system file's lines, none where there is no such file."""
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
