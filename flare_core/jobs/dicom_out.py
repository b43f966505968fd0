"""A run's labels and numbers as DICOM: a segmentation and, referring to it, a measurement report.

Every organ is a segment, and so is every lesion by itself: whoever follows one up needs its own
identifier. Both objects are written by a process of their own, which reads the series' headers.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import LESION, ORGANS, Code, Organ, organ
from flare_core.errors import NothingFound
from flare_core.imaging import apart
from flare_core.imaging.dicom.report_out import MeasurementGroup, Number
from flare_core.imaging.dicom.sources import Concept, Identifiers, Maker, SourceSegment
from flare_core.segment.lesion_list import Lesion, list_lesions
from flare_core.segment.lesions import connected, head_to_foot

if TYPE_CHECKING:
    from flare_core.imaging.volume import Volume
    from flare_core.segment.pipeline import Segmentation

OUR_CODES = "99FLARE"
"""Scheme of concepts that no public one has."""

ML: Concept = ("UCUM", "mL", "milliliter")
MM: Concept = ("UCUM", "mm", "millimeter")
HU: Concept = ("UCUM", "[hnsf'U]", "Hounsfield unit")
VOLUME: Concept = ("SCT", "118565006", "Volume")
WITHOUT_LESIONS: Concept = (OUR_CODES, "VOLUME_NO_LESION", "Volume without lesions")
ATTENUATION: Concept = ("DCM", "112031", "Attenuation Coefficient")
MEAN: Concept = ("SCT", "373098007", "Mean")
LONG_AXIS: Concept = ("SCT", "103339001", "Long Axis")
SHORT_AXIS: Concept = ("SCT", "103340004", "Short Axis")
CUT: Concept = (OUR_CODES, "CUT", "Cut by the edge of the scan")
YES: Concept = ("SCT", "373066001", "Yes")


@dataclass(frozen=True, eq=False)
class Content:
    """What goes into both objects."""

    labels: npt.NDArray[np.unsignedinteger[Any]]
    """Numbers of the segments (Z, Y, X), in the scan's own order."""
    groups: tuple[MeasurementGroup, ...]
    """Every segment with its numbers, in the order of the segments."""
    maker: Maker
    """Which program and model."""
    uids: Identifiers
    """New ones."""


def check_series(scan: Path, series: str | None, image: Volume) -> None:
    """Refuse a DICOM series that no object can refer to, before it is segmented.

    Raises
    ------
    InputError
        If its slices have no UIDs of their own, or a header lacks too much.
    """
    apart.call("flare_core.imaging.dicom.sources:check_sources", scan, series, image.geometry.shape)


def content_of(image: Volume, found: Segmentation) -> Content:
    """Return a run's result as segments and numbers.

    Raises
    ------
    NothingFound
        If no voxel has a label.
    """
    labels, lesions = _separate(image, found)
    there = set(np.unique(found.labels.array).tolist())
    organs = [each for each in ORGANS if each.id in there]
    if not organs and not lesions:
        raise NothingFound("nothing was found in the scan, so there is no DICOM object to write")
    table = np.arange(256 + len(lesions), dtype=labels.dtype)
    table[:256] = 0
    for number, each in enumerate(organs, 1):
        table[each.id] = number
    table[256:] = np.arange(len(organs) + 1, len(organs) + 1 + len(lesions))
    groups = [_organ_group(number, each, found) for number, each in enumerate(organs, 1)]
    groups += [_lesion_group(number, each) for number, each in enumerate(lesions, len(organs) + 1)]
    small = np.uint8 if len(groups) < 256 else np.uint16
    return Content(table[labels].astype(small), tuple(groups), _maker(found), _identifiers())


def write_segmentation(part: Path, scan: Path, series: str | None, content: Content) -> None:
    """Write the segmentation of a DICOM series into `part`.

    Raises
    ------
    InputError
        If it cannot be made from the series.
    """
    apart.call(
        "flare_core.imaging.dicom.segmentation_out:write_segmentation",
        scan, series, part, content.labels,
        [group.segment for group in content.groups], (content.maker, content.uids),
    )  # fmt: skip


def write_report(part: Path, scan: Path, series: str | None, content: Content) -> None:
    """Write the measurement report about a DICOM series into `part`.

    Raises
    ------
    InputError
        If it cannot be made from the series.
    """
    apart.call(
        "flare_core.imaging.dicom.report_out:write_report",
        scan, series, part, content.labels.shape, content.groups, (content.maker, content.uids),
    )  # fmt: skip


def _separate(
    image: Volume, found: Segmentation
) -> tuple[npt.NDArray[np.uint16], tuple[Lesion, ...]]:
    """Return labels in which lesion k has the value 255 + k, and the lesions."""
    canonical, axis_map = found.labels.canonical()
    pieces = head_to_foot(connected(canonical.array == LESION.id))
    lesions = found.lesions or ()
    if len(lesions) != len(pieces):
        lesions = list_lesions(image, found.labels)
    array = canonical.array.astype(np.uint16)
    for number, piece in enumerate(pieces, 256):
        array[piece.box][piece.mask] = number
    return axis_map.undo(array), lesions


def _organ_group(number: int, target: Organ, found: Segmentation) -> MeasurementGroup:
    values = {row.measure: row.value for row in found.rows if row.organ == target.key}
    volume, without = values.get("volume"), values.get("volume_without_lesions")
    numbers = [_number(VOLUME, volume, ML)]
    if without is not None and without != volume:
        numbers.append(_number(WITHOUT_LESIONS, without, ML))
    numbers.append(_number(ATTENUATION, values.get("hu_mean"), HU, MEAN))
    remarks = ((CUT, YES),) if values.get("touches_border") == 1 else ()
    segment = _segment(number, target, target.name, None)
    return MeasurementGroup(segment, tuple(each for each in numbers if each is not None), remarks)


def _lesion_group(number: int, lesion: Lesion) -> MeasurementGroup:
    host = organ(lesion.organ) if lesion.organ else None
    segment = _segment(number, LESION, f"Lesion {lesion.number}", host)
    numbers = (
        _number(VOLUME, lesion.volume_ml, ML),
        _number(LONG_AXIS, lesion.long_axis_mm, MM),
        _number(SHORT_AXIS, lesion.short_axis_mm, MM),
        _number(ATTENUATION, lesion.hu_mean, HU, MEAN),
    )
    return MeasurementGroup(segment, tuple(each for each in numbers if each is not None))


def _number(
    name: Concept, value: float | None, unit: Concept, derivation: Concept | None = None
) -> Number | None:
    """Return a number with as many digits as DICOM's 16 letters hold; None if there is none."""
    if value is None or not math.isfinite(value):
        return None
    return Number(name, round(float(value), 3), unit, derivation)


def _segment(number: int, target: Organ, name: str, host: Organ | None) -> SourceSegment:
    return SourceSegment(
        number,
        name,
        _required(target.category),
        _required(target.type_code),
        _concept(target.modifier),
        None if host is None else _concept(host.type_code),
        None if host is None else _concept(host.modifier),
        target.colour,
        name,
        _new_uid(),
    )


def _concept(code: Code | None) -> Concept | None:
    return None if code is None else _required(code)


def _required(code: Code) -> Concept:
    return code.scheme, code.value, code.meaning


def _maker(found: Segmentation) -> Maker:
    from flare_core import __version__

    facts = found.provenance
    return Maker(
        str(facts.get("model") or "unknown")[:64],
        str(facts.get("model_version") or "unknown")[:64],
        str(facts.get("flareseg_version") or __version__)[:64],
    )


def _identifiers() -> Identifiers:
    return Identifiers(_new_uid(), _new_uid(), _new_uid(), _new_uid())


def _new_uid() -> str:
    """Return a UID made of a random UUID (DICOM PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"
