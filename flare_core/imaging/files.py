"""From files to volumes and back: NIfTI, NRRD, MetaImage, DICOM series.

SimpleITK's (x, y, z) order ends here: whatever leaves this file is (z, y, x), in LPS mm, in HU.
NIfTI voxels are read and written by `nifti` (it says why), its geometry is ITK's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flare_core.atomic import atomic_path
from flare_core.errors import InputError
from flare_core.imaging import nifti
from flare_core.imaging.checks import check_grid, check_kind, check_place, orthonormal
from flare_core.imaging.dicom import series as dicom
from flare_core.imaging.dicom.series import SeriesInfo as SeriesInfo
from flare_core.imaging.dicom.series import list_series as list_series
from flare_core.imaging.geometry import Geometry, Index
from flare_core.imaging.inputs import CaseInput as CaseInput
from flare_core.imaging.inputs import case_name as case_name
from flare_core.imaging.inputs import check_file, existing, suffix_of
from flare_core.imaging.inputs import find_inputs as find_inputs
from flare_core.imaging.itk import check_stream, compact, quiet, reason, scaled
from flare_core.imaging.plain_headers import PlainHeader, check_meta, check_nrrd
from flare_core.imaging.volume import Volume
from flare_core.paths import usable_path

StrPath = str | Path

READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""ITK's reader by suffix; naming it keeps ITK from guessing among twenty formats."""
HEADER_CHECKS = {
    ".nrrd": check_nrrd,
    ".nhdr": check_nrrd,
    ".mha": check_meta,
    ".mhd": check_meta,
}
"""What looks at a header before ITK does."""
WHOLE = 1e-5
"""A label that is so near to a whole number is one: a scale of 13 / 255 in float32 leaves as much
behind. Interpolated or scaled labels miss by far more."""
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Formats in one file, so that writing can be all or nothing."""


def read_volume(path: StrPath, *, series: str | None = None) -> Volume:
    """Read a CT from a file or a DICOM series folder.

    Parameters
    ----------
    path : path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``, or a folder that holds
        (at any depth) one DICOM CT series.
    series : str, optional
        For a folder with several series: a series UID, the start of one, or its number in
        `list_series`, from 1.

    Returns
    -------
    Volume
        (Z, Y, X) as stored, slope and intercept applied: int16 if every value fits, else float32.

    Raises
    ------
    InputError
        If the path is absent, unreadable, damaged, no image, or not one 3D image.
    """
    place = existing(Path(path))
    if place.is_dir():
        return dicom.read_series(place, series)
    if series is not None:
        raise InputError(
            "--series",
            f"{series!r} for {place}, which is a file",
            "a series of a DICOM folder",
            "Leave the option out.",
        )
    check_file(place)
    if _is_nifti(place):
        return _read_nifti(place)
    return _read_itk(place)


def read_labels(path: StrPath) -> Volume:
    """Read a label map; (Z, Y, X) uint8.

    Raises
    ------
    InputError
        As `read_volume`; also if a voxel is not a whole number from 0 to 255.
    """
    volume = read_volume(path)
    return volume.with_array(_as_labels(volume.array, str(path)))


def read_geometry(path: StrPath) -> Geometry:
    """Read only where the voxels of a file (not a DICOM folder) are; milliseconds.

    Raises
    ------
    InputError
        If the path is absent, unreadable, no image, or not one 3D image.
    """
    place = existing(Path(path))
    check_file(place)
    if _is_nifti(place):
        return _nifti_geometry(place, nifti.read_header(place))
    return _itk_header(place, HEADER_CHECKS[suffix_of(place)](place))[1]


def write_labels(
    path: StrPath, labels: Volume, *, compression_level: int = 1, like: StrPath | None = None
) -> None:
    """Write a label map as uint8 NIfTI (``.nii.gz`` or ``.nii``), whole or not at all.

    Parameters
    ----------
    path : path
        The file to write; replaced if it exists.
    labels : Volume
        (Z, Y, X) whole numbers from 0 to 255.
    compression_level : int
        gzip level, 1 (fast) to 9; see `nifti.write` for what each costs.
    like : path, optional
        The scan that was segmented. If it is NIfTI, its qform, sform and spacing are copied bit
        by bit; otherwise, and without it, they are made from the volume's geometry (float32).

    Raises
    ------
    InputError
        If a value does not fit, `like` lies on another grid, the folder cannot be written or the
        disk is full.
    """
    target = Path(path)
    usable_path(target)
    if not _is_nifti(target):
        raise _unwritable(target, (".nii.gz", ".nii"))
    array = _as_labels(labels.array, "labels")
    nifti.write(
        target,
        array,
        labels.geometry,
        place=_place_of(like, labels.geometry),
        compression_level=compression_level,
    )


def write_volume(path: StrPath, volume: Volume, *, compressed: bool = True) -> None:
    """Write a volume in the format that the suffix names, whole or not at all.

    Parameters
    ----------
    path : path
        ``.nii.gz`` (always compressed), ``.nii`` (never), ``.nrrd`` or ``.mha``.
    volume : Volume
        (Z, Y, X), any plain number type; truth values become uint8, float16 becomes float32.
    compressed : bool
        Whether NRRD and MHA are compressed.

    Raises
    ------
    InputError
        If the format is unknown, the folder cannot be written or the disk is full.
    """
    target = Path(path)
    usable_path(target)
    wider = {np.dtype(np.bool_): np.uint8, np.dtype(np.float16): np.float32}  # no format has these
    array = volume.array.astype(wider.get(volume.array.dtype, volume.array.dtype), copy=False)
    if _is_nifti(target):
        nifti.write(target, array, volume.geometry)
        return
    if suffix_of(target) not in WRITABLE:
        raise _unwritable(target, WRITABLE)
    image = _to_itk(volume.with_array(array))
    with atomic_path(target) as part:
        try:
            with quiet():
                sitk.WriteImage(image, str(part), useCompression=compressed, compressionLevel=1)
            # A disk that fills up with NRRD's last bytes goes unnoticed when they are written.
            _itk_voxels(part, _itk_reader(part, READERS[suffix_of(part)]))
        except (RuntimeError, InputError) as error:
            raise OSError("the disk is full, or the file cannot be written") from error


def _read_nifti(path: Path) -> Volume:
    """Read a NIfTI file: header and geometry first, then voxels."""
    header = nifti.read_header(path)
    geometry = _nifti_geometry(path, header)
    # Read plane by plane: what is not int16 in the end is float32, however wide it is stored.
    narrow = header.dtype.itemsize <= 2 and float(header.scale[0]).is_integer()
    stored = 2 if narrow else 4
    check_grid(str(path), geometry.shape, geometry.spacing_mm, bytes_per_voxel=stored)
    array = scaled(nifti.read_planes(path, header), header.shape, *header.scale)
    return Volume(array, geometry, header.notes)


def _nifti_geometry(path: Path, header: nifti.Header) -> Geometry:
    """Return ITK's reading of qform, sform and units, where it has one.

    ITK takes the sform if it is the scanner's (code 1) or the only one, else the qform; it takes
    the spacing from pixdim alone, so those that contradict the sform are refused here.
    """
    if not all(np.isfinite(p) and p > 0 for p in header.pixdim_mm):
        check_grid(str(path), header.shape, header.pixdim_mm)
    _check_forms(path, header.fields)
    sform_counts = header.fields["sform_code"] == 1 or (
        header.fields["sform_code"] > 0 and header.fields["qform_code"] == 0
    )
    steps = header.fields["srow"][:, :3].astype(float)
    lengths = np.linalg.norm(steps, axis=0)[::-1]
    if sform_counts and not np.allclose(lengths, header.pixdim_mm, rtol=0.01):
        raise InputError(
            str(path),
            f"a header whose spacing is {_mm(header.pixdim_mm)} by pixdim and {_mm(lengths)} by "
            "sform (z, y, x)",
            "the same spacing in both",
            "Convert the original DICOM again, or correct the header.",
        )
    reader = _itk_reader(path, "NiftiImageIO")
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:  # ITK's word for axes that are sheared even a little
        return _straightened(path, header, steps)
    return _geometry(path, reader, header.shape)


def _check_forms(path: Path, fields: np.void) -> None:
    """Refuse a place that is no number before ITK sees it: it would look for its axes for ever."""
    forms = (("qform", ("quatern", "qoffset")), ("sform", ("srow",)))
    for form, names in forms:
        if fields[f"{form}_code"] > 0 and not all(np.isfinite(fields[n]).all() for n in names):
            raise InputError(
                str(path),
                f"a header whose {form} holds NaN or infinity",
                "numbers that say where the voxels are",
                "Convert the original DICOM again, or correct the header.",
            )


def _straightened(path: Path, header: nifti.Header, steps: npt.NDArray[np.float64]) -> Geometry:
    """Return the nearest grid with right angles to a sform that rounding has sheared (RAS).

    ITK converts units itself; here it is ours to do.
    """
    to_lps = np.array([-1.0, -1.0, 1.0])
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = (steps / np.linalg.norm(steps, axis=0) * to_lps[:, None]).T[::-1]
    unit_mm = header.unit_mm
    origin = header.fields["srow"][:, 3].astype(float) * to_lps * unit_mm
    check_place(str(path), origin)
    z, y, x = (step * unit_mm for step in header.pixdim_mm)
    return Geometry(
        header.shape,
        (z, y, x),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        orthonormal(str(path), rows),
    )


def _read_itk(path: Path) -> Volume:
    """Read NRRD and MetaImage through ITK, which notices when their data end early."""
    header = HEADER_CHECKS[suffix_of(path)](path)
    reader, geometry = _itk_header(path, header)
    stored = max(header.bytes_per_number, 2)
    check_grid(str(path), geometry.shape, geometry.spacing_mm, bytes_per_voxel=stored)
    most = math.prod(geometry.shape) * header.bytes_per_number + nifti.MOST_BEHIND
    image = _itk_voxels(path, reader, most)
    view = sitk.GetArrayViewFromImage(image).reshape(geometry.shape)
    small = compact(view, *header.scale)
    # A view dies with its image, so what `compact` did not copy is copied here.
    small = small.copy() if small.base is not None else small
    return Volume(small, geometry, header.notes)


def _itk_voxels(path: Path, reader: sitk.ImageFileReader, most: int | None = None) -> sitk.Image:
    """Return the whole image, or refuse a file that is not whole, or inflates to over `most`."""
    check_stream(path, most)
    try:
        with quiet():
            return reader.Execute()
    except RuntimeError as error:
        raise nifti.damaged(path, f"a file whose voxels cannot be read: {reason(error)}") from error


def _itk_header(path: Path, header: PlainHeader) -> tuple[sitk.ImageFileReader, Geometry]:
    """Open a file with ITK and return its reader and geometry; no voxel is read."""
    reader = _itk_reader(path, READERS[suffix_of(path)])
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise nifti.damaged(path, f"a file whose header cannot be read: {reason(error)}") from error
    shape = check_kind(str(path), reader.GetSize(), reader.GetNumberOfComponents())
    return reader, _geometry(path, reader, shape, header.unit_mm)


def _itk_reader(path: Path, name: str) -> sitk.ImageFileReader:
    """Return an ITK reader of the given kind."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(name)
    reader.SetFileName(str(path))
    return reader


def _geometry(
    path: Path, reader: sitk.ImageFileReader, shape: Index, unit_mm: float = 1.0
) -> Geometry:
    """Turn ITK's spacing, origin (in `unit_mm`) and direction cosines (x, y, z) into a grid."""
    axes = reader.GetDimension()
    cosines = np.reshape(reader.GetDirection(), (axes, axes))[:3, :3]
    x, y, z = (step * unit_mm for step in reader.GetSpacing()[:3])
    if not all(np.isfinite(s) and s > 0 for s in (x, y, z)):
        check_grid(str(path), shape, (z, y, x))
    left, posterior, superior = (place * unit_mm for place in reader.GetOrigin()[:3])
    check_place(str(path), (left, posterior, superior))
    return Geometry(
        shape,
        (z, y, x),
        (left, posterior, superior),
        orthonormal(str(path), cosines.T[::-1]),
    )


def _to_itk(volume: Volume) -> sitk.Image:
    """Return the volume as an ITK image (a copy)."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing_mm[::-1])
    image.SetOrigin(volume.geometry.origin_mm)
    image.SetDirection(np.asarray(volume.geometry.direction)[::-1].T.ravel().tolist())
    return image


def _place_of(like: StrPath | None, geometry: Geometry) -> nifti.Header | None:
    """Return the NIfTI header whose affine is to be copied, if `like` has one."""
    if like is None or Path(like).is_dir() or not _is_nifti(Path(like)):
        return None
    if not read_geometry(like).same_grid(geometry):
        raise InputError(
            "like",
            f"{like}, which lies on another grid than the labels",
            "the scan that was segmented",
            "Pass the file from which the labels were made.",
        )
    return nifti.read_header(Path(like))


def _as_labels(array: npt.NDArray[np.generic], argument: str) -> npt.NDArray[np.uint8]:
    """Return labels as uint8; refuse values that would change."""
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    labels = np.empty(array.shape, np.uint8)
    for z, plane in enumerate(array):
        with np.errstate(invalid="ignore"):
            whole = np.rint(plane)
            legal = (whole >= 0) & (whole <= 255) & (np.abs(plane - whole) <= WHOLE)
        if not legal.all():
            raise _no_label(array, z, ~legal, argument)
        labels[z] = whole
    return labels


def _no_label(
    array: npt.NDArray[Any], z: int, wrong: npt.NDArray[np.bool_], argument: str
) -> InputError:
    """Return the error for the first value that is no label, in slice `z`."""
    y, x = (int(place) for place in np.argwhere(wrong)[0])
    whole = np.isfinite(array[z, y, x]) and float(array[z, y, x]).is_integer()
    return InputError(
        argument,
        f"{array.dtype} values from {array.min()} to {array.max()}; the first that is "
        f"{'not from 0 to 255' if whole else 'no whole number'} is {array[z, y, x]} in voxel "
        f"{z}, {y}, {x} (z, y, x)",
        "label numbers: whole numbers from 0 to 255",
        "Give a label map, not an image or a probability map; resample labels by the nearest "
        "voxel, and store them as uint8 without a scale.",
    )


def _is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI."""
    return suffix_of(path) in (".nii", ".nii.gz")


def _unwritable(path: Path, legal: tuple[str, ...]) -> InputError:
    """Return the error for a name whose suffix names no format we write."""
    return InputError(
        str(path),
        f"a name that ends in {path.suffix or 'nothing'}",
        f"a name that ends in {', '.join(legal)}",
        "Choose another name.",
    )


def _mm(spacing: npt.ArrayLike) -> str:
    """Return a spacing as people write it."""
    return " x ".join(f"{float(s):g}" for s in np.asarray(spacing)) + " mm"
