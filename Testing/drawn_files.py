"""CT series, contours and segmentations in DICOM, made in code: what hospitals send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_files import Series, write_slice

STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SHAPE = (9, 37, 41)
"""Pixels in a slice are no multiple of eight: a segmentation's bits run on across its frames."""

TURN = np.radians(20.0)
AXES = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (np.cos(TURN), 0, np.sin(TURN), 0, 1, 0),
}
"""Directions of x, then y, of series in all kinds of places."""


def write_ct(
    folder: Path, way: str = "axial", *, step_mm: float = 2.5, number: int = 1, noise: int = 0
) -> Series:
    """Write a box of 40 HU in air; a negative step stacks the slices against their normal."""
    stack = np.full(SHAPE, 24, np.uint16)
    stack[:, 6:30, 5:36] = 1064
    stack[0, 0, 0] += noise
    series = Series(axes=AXES[way], number=number)
    normal = np.cross(AXES[way][:3], AXES[way][3:])
    for z, pixels in enumerate(stack):
        x, y, height = np.array((-17.0, 23.0, -300.0)) + normal * step_mm * z
        path = folder / f"IM{(z * 4) % 9:04d}"
        write_slice(path, pixels, (x, y, height), series, instance=f"{z + 1}")
    return series


def write_structures(
    path: Path,
    regions: Mapping[str, Sequence[npt.ArrayLike]],
    series: str = Series().uid,
    *,
    kind: str = "CLOSED_PLANAR",
    algorithm: str = "MANUAL",
) -> Path:
    """Write a structure set: contours (N, 3) in LPS mm by the name of their region."""
    from pydicom import Dataset

    made = _object(STRUCTURES, "RTSTRUCT")
    referenced, study = Dataset(), Dataset()
    referenced.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence = [referenced]
    frame = Dataset()
    frame.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetLabel = "PLAN"
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), 11):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, algorithm
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(np.asarray(points))
            contour.ContourData = [f"{value:.6f}" for value in np.asarray(points).ravel()]
            drawn.ContourSequence.append(contour)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(drawn)
    return _save(made, path)


def write_frames(
    path: Path,
    frames: Sequence[tuple[int, npt.ArrayLike, npt.NDArray[np.generic]]],
    names: Mapping[int, str],
    *,
    axes: Sequence[float] = AXES["axial"],
    spacing: tuple[float, float] = (0.8, 0.7),
    kind: str = "BINARY",
    series: str = Series().uid,
) -> Path:
    """Write a segmentation by hand: for each frame its segment, its position and its pixels."""
    from pydicom import Dataset

    made = _object(LABEL_MAP if kind == "LABELMAP" else SEGMENTATION, "SEG")
    made.SegmentationType, made.MaximumFractionalValue = kind, 200
    referenced = Dataset()
    referenced.SeriesInstanceUID = series
    made.ReferencedSeriesSequence = [referenced]
    made.SegmentSequence = []
    for number, name in names.items():
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        segment.SegmentAlgorithmType = "MANUAL"
        made.SegmentSequence.append(segment)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(spacing)
    orientation.ImageOrientationPatient = [f"{value:.10f}" for value in axes]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for number, position, _ in frames:
        own, place, identity = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.6f}" for value in np.asarray(position)]
        own.PlanePositionSequence = [place]
        identity.ReferencedSegmentNumber = number
        if kind != "LABELMAP":
            own.SegmentIdentificationSequence = [identity]
        made.PerFrameFunctionalGroupsSequence.append(own)
    pixels = np.stack([np.asarray(pixels) for _, _, pixels in frames])
    bits = 1 if kind == "BINARY" else 8
    made.NumberOfFrames, made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    packed = np.packbits(pixels.ravel() > 0, bitorder="little") if bits == 1 else pixels
    data = packed.astype(np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"
    return _save(made, path)


def _object(sop_class: str, modality: str):
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, generate_uid()
    made.Modality, made.PatientID = modality, "P7"
    made.StudyInstanceUID = Series().uid.rpartition(".")[0]
    made.SeriesInstanceUID = generate_uid()
    return made


def _save(made, path: Path) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path
