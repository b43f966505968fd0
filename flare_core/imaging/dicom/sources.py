"""What DICOM objects made from a series take over from it: patient, study, frame of reference.

pydicom reads the slices' headers, so all of this belongs into a process of its own (`apart`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.errors import InputError
from flare_core.imaging.dicom.extra import quiet
from flare_core.imaging.dicom.series import slice_files

if TYPE_CHECKING:
    from pydicom import Dataset

Concept = tuple[str, str, str]
"""A code: scheme, value, meaning."""

OFTEN_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
"""What every object has, though it may be empty; anonymisers take it away altogether."""

UNICODE = "ISO_IR 192"

RESEARCH = "research use, not for diagnosis"
"""Ends the description of every series that is made here."""

MANUFACTURER = "FLARESeg"


@dataclass(frozen=True)
class Maker:
    """Which program and which model an object comes from."""

    model: str
    """Name of the model."""
    model_version: str
    """Its version."""
    program_version: str
    """Version of FLARESeg."""


@dataclass(frozen=True)
class SourceSegment:
    """One thing that was segmented."""

    number: int
    """Of its segment, from 1; its value in the label map that is written."""
    label: str
    """Name for people."""
    category: Concept
    """Anatomical structure, or altered structure."""
    kind: Concept
    """What it is."""
    side: Concept | None
    """Right or left."""
    place: Concept | None
    """The organ that a finding lies in."""
    place_side: Concept | None
    """Right or left, of that organ."""
    colour: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""
    tracking_id: str
    """Name that tells it from the others."""
    tracking_uid: str
    """The same as a UID."""


@dataclass(frozen=True)
class Identifiers:
    """UIDs of the objects of one run, which refer to each other."""

    segmentation_series: str
    """Series of the segmentation."""
    segmentation: str
    """The segmentation itself."""
    report_series: str
    """Series of the report."""
    report: str
    """The report itself."""


def source_headers(folder: Path, series: str | None, shape: Sequence[int]) -> list[Dataset]:
    """Return the headers of a series' slices, in the order of its volume, without pixels.

    Parameters
    ----------
    shape : three int
        Of the label map (Z, Y, X) that is about to be written.

    Raises
    ------
    InputError
        If the series cannot be read, is not of that shape, or two slices have one UID.
    """
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    paths, geometry = slice_files(folder, series)
    if tuple(shape) != geometry.shape:
        raise InputError(
            str(folder),
            f"a series of {geometry.shape} voxels for labels of {tuple(shape)}",
            "the series that was segmented",
            "Leave the folder alone while it is segmented; segment it again.",
        )
    headers = [dcmread(path, stop_before_pixels=True, force=True) for path in paths]
    if len({str(header.get("SOPInstanceUID", "")) for header in headers}) < len(headers):
        raise InputError(
            str(folder),
            "slices that share a SOP instance UID, or have none",
            "slices that each have a UID of their own: DICOM objects refer to slices by it",
            "Anonymise the series again with unique UIDs, or leave the DICOM outputs out.",
        )
    frames = {str(header.get("FrameOfReferenceUID", "")) for header in headers}
    if len(frames) > 1:
        raise InputError(
            str(folder),
            f"slices in {len(frames)} frames of reference",
            "slices in one (FrameOfReferenceUID): DICOM objects say by it where they lie",
            "Export the series again, or leave the DICOM outputs out.",
        )
    frame = generate_uid(entropy_srcs=[str(headers[0].SeriesInstanceUID), "frame of reference"])
    for header in headers:
        _complete(header, round(geometry.spacing_mm[0], 6), frame)
    return headers


def check_sources(folder: Path, series: str | None, shape: Sequence[int]) -> None:
    """Refuse a series that no object can refer to, before it is segmented.

    Raises
    ------
    InputError
        As `source_headers`.
    """
    with refusing(folder):
        source_headers(folder, series, shape)


def _complete(header: Dataset, step_mm: float, frame: str) -> None:
    """Add to a slice's header what every object made from it needs and anonymisers remove."""
    for name in OFTEN_EMPTY:
        if name not in header:
            setattr(header, name, "")
    _as_unicode(header)
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = frame
    if not header.get("SliceThickness"):
        header.SliceThickness = step_mm
    header.SpacingBetweenSlices = step_mm


def _as_unicode(header: Dataset) -> None:
    """Let a header in several character sets, as Japanese and Korean ones are, say it in one.

    highdicom takes no list that begins with the default set, which is what these begin with.
    """
    given = header.get("SpecificCharacterSet")
    if given is None or isinstance(given, str):
        return
    header.decode()
    header.SpecificCharacterSet = UNICODE


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn what the DICOM packages say about headers they cannot use into one error.

    Raises
    ------
    InputError
        If the block fails on a header.
    """
    try:
        with quiet():
            yield
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            str(folder),
            f"a series whose headers a DICOM object cannot be made from: {error}",
            "slices with the attributes that DICOM requires of a CT image",
            "Export the series again, or leave dicom-seg and dicom-sr out.",
        ) from error
