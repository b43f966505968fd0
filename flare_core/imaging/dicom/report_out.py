"""Measurements as DICOM structured report (DICOM PS3.16 TID 1500), one group for each segment.

A group refers to its segment of the segmentation that is written beside, which says where in the
scan the numbers come from. highdicom writes the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.imaging.dicom.segmentation_out import SERIES_NUMBER, code_of
from flare_core.imaging.dicom.sources import (
    MANUFACTURER,
    RESEARCH,
    Concept,
    Identifiers,
    Maker,
    SourceSegment,
    refusing,
    source_headers,
)

if TYPE_CHECKING:
    from pydicom import Dataset

PROCEDURE: Concept = ("LN", "25045-6", "CT unspecified body region")


@dataclass(frozen=True)
class Number:
    """One measured number."""

    name: Concept
    """What was measured."""
    value: float
    """The number; finite."""
    unit: Concept
    """UCUM."""
    derivation: Concept | None = None
    """How it was made of many, such as the mean."""


@dataclass(frozen=True)
class MeasurementGroup:
    """What was measured of one segment."""

    segment: SourceSegment
    """Of the segmentation."""
    numbers: tuple[Number, ...]
    """At least one."""
    remarks: tuple[tuple[Concept, Concept], ...] = ()
    """Questions and answers, such as whether the scan's edge cuts it."""


def write_report(
    folder: Path,
    series: str | None,
    target: Path,
    shape: Sequence[int],
    groups: Sequence[MeasurementGroup],
    made: tuple[Maker, Identifiers],
) -> None:
    """Write a measurement report about a segmented series.

    Parameters
    ----------
    folder, series
        The source series, as `read_series` takes them.
    target : Path
        The file that is written.
    shape : three int
        Of the label map (Z, Y, X).
    groups : sequence of MeasurementGroup
        In the order of the report.
    made : Maker and Identifiers
        What it comes from, and the UIDs of report and segmentation.

    Raises
    ------
    InputError
        If a report cannot be made from the series' headers.
    """
    from highdicom.sr import ComprehensiveSR

    maker, uids = made
    with refusing(folder):
        headers = source_headers(folder, series, shape)
        report = ComprehensiveSR(
            evidence=[*headers, _segmentation(headers[0], uids)],
            content=_content(headers[0], groups, maker, uids),
            series_instance_uid=uids.report_series,
            series_number=SERIES_NUMBER + 1,
            sop_instance_uid=uids.report,
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            series_description=f"FLARESeg: {RESEARCH}",
            manufacturer_model_name=maker.model,
            software_versions=maker.program_version,
            device_serial_number=f"{maker.model} {maker.model_version}"[:64],
        )
        report.save_as(target)


def _segmentation(source: Dataset, uids: Identifiers) -> Dataset:
    """Return what the report's list of evidence needs of the segmentation."""
    from pydicom import Dataset
    from pydicom.uid import SegmentationStorage

    stub = Dataset()
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        setattr(stub, name, getattr(source, name))
    stub.SeriesInstanceUID = uids.segmentation_series
    stub.SOPInstanceUID = uids.segmentation
    stub.SOPClassUID = SegmentationStorage
    return stub


def _content(
    source: Dataset, groups: Sequence[MeasurementGroup], maker: Maker, uids: Identifiers
) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MANUFACTURER, maker.model, maker.model_version]),
        name=f"{MANUFACTURER} {maker.program_version}",
        manufacturer_name=MANUFACTURER,
        model_name=f"{maker.model} {maker.model_version}",
    )
    observer = sr.ObserverContext(codes.DCM.Device, device)
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=code_of(PROCEDURE),
        imaging_measurements=[_group(source, each, maker, uids) for each in groups],
    )


def _group(source: Dataset, group: MeasurementGroup, maker: Maker, uids: Identifiers) -> Any:
    from highdicom import sr
    from pydicom.uid import SegmentationStorage

    segment = group.segment
    algorithm = sr.AlgorithmIdentification(maker.model, maker.model_version)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(segment.tracking_uid, segment.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            SegmentationStorage,
            uids.segmentation,
            segment.number,
            source_series=sr.SourceSeriesForSegmentation(source.SeriesInstanceUID),
        ),
        finding_category=code_of(segment.category),
        finding_type=code_of(segment.kind),
        finding_sites=_sites(segment),
        algorithm_id=algorithm,
        measurements=[_measurement(number) for number in group.numbers],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(code_of(asked), code_of(answer))
            for asked, answer in group.remarks
        ]
        or None,
    )


def _sites(segment: SourceSegment) -> Any:
    """Return where a finding lies; or an organ with its side, which has no other room."""
    from highdicom.sr import FindingSite

    place, side = segment.place, segment.place_side
    if place is None and segment.side is not None:
        place, side = segment.kind, segment.side
    if place is None:
        return None
    return [FindingSite(code_of(place), None if side is None else code_of(side))]


def _measurement(number: Number) -> Any:
    from highdicom.sr import Measurement

    return Measurement(
        name=code_of(number.name),
        value=number.value,
        unit=code_of(number.unit),
        derivation=None if number.derivation is None else code_of(number.derivation),
    )
