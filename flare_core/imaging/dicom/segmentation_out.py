"""A label map as DICOM segmentation (DICOM PS3.3 A.51): one binary segment for each thing.

Each frame lies where its slice of the source series lies and refers to it; frames in which a
segment has no voxel are left out. highdicom writes the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
    from highdicom.seg import SegmentDescription

SERIES_NUMBER = 9001
"""Behind whatever a scanner numbers."""


def write_segmentation(
    folder: Path,
    series: str | None,
    target: Path,
    labels: npt.NDArray[np.unsignedinteger[Any]],
    segments: Sequence[SourceSegment],
    made: tuple[Maker, Identifiers],
) -> None:
    """Write a DICOM segmentation of a series.

    Parameters
    ----------
    folder, series
        The source series, as `read_series` takes them.
    target : Path
        The file that is written.
    labels : (Z, Y, X)
        Numbers of the segments, 0 elsewhere, in the order of `read_series`.
    segments : sequence of SourceSegment
        Numbered from 1 without gaps.
    made : Maker and Identifiers
        What it comes from, and the UIDs it gets.

    Raises
    ------
    InputError
        If a segmentation cannot be made from the series' headers.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    maker, uids = made
    with refusing(folder):
        headers = source_headers(folder, series, labels.shape)
        made_object = Segmentation(
            source_images=headers,
            pixel_array=labels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, maker) for segment in segments],
            series_instance_uid=uids.segmentation_series,
            series_number=SERIES_NUMBER,
            sop_instance_uid=uids.segmentation,
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=maker.model,
            software_versions=maker.program_version,
            device_serial_number=f"{maker.model} {maker.model_version}"[:64],
            content_label="SEGMENTATION",
            content_description=f"Automatic segmentation: {RESEARCH}",
            series_description=f"FLARESeg: {RESEARCH}",
        )
        made_object.save_as(target)


def code_of(concept: Concept) -> Any:
    """Return a code as highdicom takes it."""
    from highdicom.sr import CodedConcept

    scheme, value, meaning = concept
    return CodedConcept(value, scheme, meaning)


def _description(segment: SourceSegment, maker: Maker) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    described = SegmentDescription(
        segment.number,
        segment.label,
        code_of(segment.category),
        code_of(segment.kind),
        "AUTOMATIC",
        AlgorithmIdentificationSequence(
            name=maker.model,
            family=codes.DCM.ArtificialIntelligence,
            version=maker.model_version,
            source=f"{MANUFACTURER} {maker.program_version}",
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=None if segment.place is None else [code_of(segment.place)],
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    if segment.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [code_of(segment.side)]
    if segment.place_side is not None:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
            code_of(segment.place_side)
        ]
    return described
