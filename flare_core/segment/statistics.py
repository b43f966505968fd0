"""Numbers per organ: volume, Hounsfield units, surface, pieces, and whether they can be trusted.

Every organ asked for gets the same rows, in the order of `MEASURES`; an organ that is not there has
volume 0 and NaN where a number would be made up.  Work happens inside each organ's bounding box.
An organ is measured with the lesions that are part of it (`flare_core.segment.lesions`); its volume
without them stands beside.  The surface is in `flare_core.segment.surface`, the confidence in
`flare_core.segment.confidence`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import ALL_TARGETS, LESION, Code, Organ
from flare_core.errors import InputError
from flare_core.imaging.checks import PADDING_HU
from flare_core.imaging.volume import Volume
from flare_core.segment.confidence import LOW, Evidence, expected_dsc
from flare_core.segment.lesions import connected, hosted, whole_organs
from flare_core.segment.postprocess import (
    ALL_NEIGHBOURS,
    Slices,
    at_once,
    organ_boxes,
    touches_border,
)
from flare_core.segment.surface import surface_cm2

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Measure:
    """What is measured, in which unit, and how it is printed."""

    key: str
    """Name in tables."""
    unit: str
    """UCUM unit."""
    code: Code | None
    """DICOM's or SNOMED's concept: the quantity, or for HU the way it is derived."""
    decimals: int
    """Digits behind the point in files."""


NO_UNIT = "1"
HU = "[hnsf'U]"

MEASURES: tuple[Measure, ...] = (
    Measure("volume", "mL", Code("SCT", "118565006", "Volume"), 3),
    Measure("volume_without_lesions", "mL", None, 3),
    Measure("hu_mean", HU, Code("SCT", "373098007", "Mean"), 2),
    Measure("hu_median", HU, Code("SCT", "373099004", "Median"), 2),
    Measure("hu_sd", HU, Code("SCT", "386136009", "Standard Deviation"), 2),
    Measure("hu_p5", HU, None, 2),
    Measure("hu_p95", HU, None, 2),
    Measure("surface", "cm2", None, 2),
    Measure("components", NO_UNIT, None, 0),
    Measure("touches_border", NO_UNIT, None, 0),
    Measure("outside_range", NO_UNIT, None, 0),
    Measure("confidence", NO_UNIT, None, 3),
)
"""The rows of an organ. HU: population standard deviation; percentiles interpolated linearly.
`touches_border` (a face of the grid, or padding beside) and `outside_range` are
1 (yes), 0 (no) or NaN (cannot be judged). `confidence` is the DSC to expect, 0 to 1; NaN where no
model spoke. Of a lesion the volume without lesions is NaN.
"""

CSV_COLUMNS = (
    "organ",
    "measure",
    "value",
    "unit",
    "code_scheme",
    "code_value",
    "code_meaning",
    "note",
)

NOT_FOUND = "not found"
CUT_VOXELS = 8
"""So many voxels of padding beside an organ, and the field of view cuts it."""
CUT = "touches the scan's border: the organ may be cut, measures are of the part in the scan"
NOT_JUDGED = "not judged: the organ may be cut by the scan's border"
PROBABLY_WRONG = "probably wrong: look here first"
NAN = math.nan
PART = 1 << 20
"""Voxels that are widened to 64 bits at a time."""


@dataclass(frozen=True)
class StatisticsRow:
    """One number about one organ."""

    organ: str
    """Organ key."""
    measure: str
    """Key of one of `MEASURES`."""
    value: float
    """The number, unrounded; NaN where it is not defined."""
    unit: str
    """UCUM unit; ``1`` for counts and yes/no."""
    code: Code | None
    """Coded concept of the measure, if DICOM or SNOMED has one."""
    note: str = ""
    """What a reader has to know about this number."""


def require_image_grid(labels: Volume, image: Volume) -> None:
    """Refuse labels that are not on the grid of the image, or are no whole numbers.

    Raises
    ------
    InputError
        If they are not.
    """
    if labels.array.dtype.kind == "f":
        raise InputError(
            "labels",
            f"{labels!r}",
            "organ ids, as whole numbers",
            "Read the file with read_labels, or convert the array: array.astype('uint8').",
        )
    if not image.geometry.same_grid(labels.geometry):
        raise InputError(
            "labels",
            f"{labels!r}",
            f"the grid of the image, {image!r}",
            "Use the label map that was made from this image.",
        )


def organ_statistics(
    image: Volume,
    labels: Volume,
    organs: Sequence[Organ] = ALL_TARGETS,
    *,
    whole: Volume | None = None,
    evidence: Mapping[str, Evidence] | None = None,
    threads: int = 1,
) -> tuple[StatisticsRow, ...]:
    """Measure every organ of `organs`.

    Parameters
    ----------
    image : Volume
        HU (Z, Y, X), int16 or float.
    labels : Volume
        Organ ids on the same grid, lesions on top.
    organs : sequence of Organ
        What to measure, also if it is not there.
    whole : Volume, optional
        The organs with their lesions, on the same grid; found from the labels if left out.
    evidence : mapping, optional
        Organ key -> what the model's scores say about it.
    threads : int
        Organs measured at a time.

    Raises
    ------
    InputError
        If image and labels are not on the same grid.
    """
    require_image_grid(labels, image)
    whole = whole or with_lesions(labels)
    boxes = organ_boxes(whole.array)
    own = boxes if whole.array is labels.array else organ_boxes(labels.array)
    padding_hu = _padding_hu(image)

    def measured(target: Organ) -> list[StatisticsRow]:
        source, places = (labels, own) if target == LESION else (whole, boxes)
        box = places.get(target.id)
        values = _absent() if box is None else _measured(image, source, target, box, padding_hu)
        if target != LESION and box is not None:
            left = np.count_nonzero(labels.array[box] == target.id)
            values["volume_without_lesions"] = int(left) * labels.geometry.voxel_ml
            values["confidence"] = expected_dsc(target, (evidence or {}).get(target.key), values)
        return list(_rows(target, values, found=box is not None))

    with ThreadPoolExecutor(at_once(boxes, threads)) as pool:
        return tuple(row for rows in pool.map(measured, organs) for row in rows)


def with_lesions(labels: Volume) -> Volume:
    """Return a label map (lesions on top) with each organ's lesions as part of it."""
    canonical, axis_map = labels.canonical()
    pieces = [hosted(piece, canonical) for piece in connected(canonical.array == LESION.id)]
    if not pieces:
        return labels
    return labels.with_array(axis_map.undo(whole_organs(canonical, pieces).array))


def _rows(target: Organ, values: Mapping[str, float], *, found: bool) -> Iterator[StatisticsRow]:
    """Yield the rows of one organ."""
    notes = _notes(target, values, found=found)
    for measure in MEASURES:
        yield StatisticsRow(
            target.key,
            measure.key,
            float(values[measure.key]),
            measure.unit,
            measure.code,
            notes.get(measure.key, ""),
        )


def _absent() -> dict[str, float]:
    """Return the values of an organ that is not in the label map."""
    known = {"volume": 0.0, "surface": 0.0, "components": 0.0, "touches_border": 0.0}
    return {measure.key: known.get(measure.key, NAN) for measure in MEASURES}


def _padding_hu(image: Volume) -> float:
    """Return the HU of what lies outside a round field of view; NaN if there is none such."""
    lowest = float(image.array.min()) if image.array.size else NAN
    return lowest if lowest < PADDING_HU else NAN


def _beside_padding(image: Volume, labels: Volume, target: Organ, box: Slices, hu: float) -> bool:
    """Whether an organ ends where the scanner saw no more, inside the grid."""
    wider = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
    unseen = image.array[wider] == hu
    if not unseen.any():
        return False
    mask = labels.array[wider] == target.id
    return bool(np.count_nonzero(ndimage.binary_dilation(mask) & unseen) >= CUT_VOXELS)


def _measured(
    image: Volume, labels: Volume, target: Organ, box: Slices, padding_hu: float
) -> dict[str, float]:
    """Return the values of an organ inside its bounding box."""
    mask = labels.array[box] == target.id
    # On the patient's axes: the area must not depend on the order in which a file has them.
    axis_map = labels.geometry.canonical_map()
    spacing_mm = labels.geometry.permuted(axis_map).spacing_mm
    volume_ml = int(np.count_nonzero(mask)) * labels.geometry.voxel_ml
    touches = touches_border(box, labels.geometry.shape)
    if not touches and not np.isnan(padding_hu):
        touches = _beside_padding(image, labels, target, box, padding_hu)
    return {
        "volume": volume_ml,
        "volume_without_lesions": NAN,
        **hu_values(image.array[box][mask]),
        "surface": surface_cm2(np.asarray(axis_map.apply(mask), np.bool_), spacing_mm),
        "components": ndimage.label(mask, ALL_NEIGHBOURS)[1],
        "touches_border": float(touches),
        "outside_range": outside_range(volume_ml, target.volume_range_ml, cut=touches),
        "confidence": NAN,
    }


def outside_range(
    volume_ml: float, usual_ml: tuple[float, float] | None, *, cut: bool = False
) -> float:
    """Return 1 if a volume lies outside the usual range, 0 if inside, NaN if nobody can say.

    A cut organ's volume is a lower bound: too large is too large, all else is unknown.

    Examples
    --------
    >>> outside_range(700, (825, 2010)), outside_range(1500, (825, 2010))
    (1.0, 0.0)
    >>> outside_range(700, (825, 2010), cut=True)
    nan
    """
    if usual_ml is None:
        return NAN
    low, high = usual_ml
    if volume_ml > high:
        return 1.0
    return NAN if cut else float(volume_ml < low)


def hu_values(voxels: Array) -> dict[str, float]:
    """Return mean, median, population SD, 5th and 95th percentile of `voxels` (N,), N > 0, in HU.

    Whole numbers go through their histogram, which is exact and several times faster than sorting.

    Examples
    --------
    >>> hu_values(np.array([10, 20, 30, 40], dtype=np.int16))["hu_median"]
    25.0
    """
    if np.issubdtype(voxels.dtype, np.integer) and voxels.dtype.itemsize <= 2:
        return _of_histogram(voxels)
    ordered = np.sort(voxels)
    mean = float(ordered.mean(dtype=np.float64))
    squares = sum(float(np.square(part - mean).sum()) for part in _parts(ordered))
    return _named_hu(mean, math.sqrt(squares / ordered.size), _of_sorted(ordered))


def _parts(voxels: Array) -> Iterator[npt.NDArray[np.float64]]:
    """Yield voxels (N,) as float64, a few MiB at a time."""
    for start in range(0, voxels.size, PART):
        yield voxels[start : start + PART].astype(np.float64)


def _of_sorted(ordered: Array) -> tuple[float, ...]:
    """Return 5th, 50th and 95th percentile of sorted values, interpolated like numpy's."""
    places = np.asarray((0.05, 0.5, 0.95)) * (ordered.size - 1)
    below = np.floor(places)
    first = ordered[below.astype(np.int64)].astype(np.float64)
    second = ordered[np.ceil(places).astype(np.int64)].astype(np.float64)
    return tuple(float(value) for value in first + (places - below) * (second - first))


def _of_histogram(voxels: Array) -> dict[str, float]:
    """Return `hu_values` of integers of at most 16 bits."""
    lowest = int(voxels.min())
    counts = np.zeros(int(voxels.max()) - lowest + 1, np.int64)
    for start in range(0, voxels.size, PART):  # bincount widens to 8 bytes a voxel
        part = voxels[start : start + PART].astype(np.int64) - lowest
        counts += np.bincount(part, minlength=counts.size)
    levels = np.arange(counts.size) + lowest
    total = voxels.size
    mean = float(counts @ levels) / total
    variance = float(counts @ np.square(levels - mean)) / total
    return _named_hu(mean, math.sqrt(variance), _quantiles(counts, lowest, (0.05, 0.5, 0.95)))


def _quantiles(
    counts: npt.NDArray[np.int64], lowest: int, shares: Sequence[float]
) -> tuple[float, ...]:
    """Return quantiles of a histogram whose first bin is `lowest`, interpolated like numpy's."""
    up_to = np.cumsum(counts)
    places = np.asarray(shares) * (up_to[-1] - 1)
    below = np.floor(places)
    first = np.searchsorted(up_to, below, side="right") + lowest
    second = np.searchsorted(up_to, np.ceil(places), side="right") + lowest
    return tuple(float(value) for value in first + (places - below) * (second - first))


def _named_hu(mean: float, deviation: float, quantiles: Sequence[float]) -> dict[str, float]:
    """Return HU values under the keys of `MEASURES`; `quantiles` are of 5, 50 and 95 %."""
    p5, median, p95 = quantiles
    return {
        "hu_mean": float(mean),
        "hu_median": float(median),
        "hu_sd": float(deviation),
        "hu_p5": float(p5),
        "hu_p95": float(p95),
    }


def _notes(target: Organ, values: Mapping[str, float], *, found: bool) -> dict[str, str]:
    """Return what a reader has to know, by measure."""
    if not found:
        return {"volume": NOT_FOUND, "outside_range": NOT_FOUND}
    notes = {}
    if values["touches_border"]:
        notes["volume"] = notes["touches_border"] = CUT
    if values["confidence"] < LOW:
        notes["confidence"] = PROBABLY_WRONG
    verdict = _verdict(target, values)
    return {**notes, "outside_range": verdict} if verdict else notes


def _verdict(target: Organ, values: Mapping[str, float]) -> str:
    """Return how the volume compares with the usual range, or why it cannot be compared."""
    if target.volume_range_ml is None:
        return target.range_source
    if math.isnan(values["outside_range"]):
        return NOT_JUDGED
    low, high = target.volume_range_ml
    if values["outside_range"]:
        return f"usual range {low:g} to {high:g} mL"
    return ""


def rows_to_json(rows: Sequence[StatisticsRow]) -> list[dict[str, object]]:
    """Return rows as plain values, rounded for reading; an undefined value is None."""
    return [
        {
            "organ": row.organ,
            "measure": row.measure,
            "value": None if math.isnan(row.value) else _rounded(row),
            "unit": row.unit,
            "code": None if row.code is None else vars(row.code).copy(),
            "note": row.note,
        }
        for row in rows
    ]


def rows_from_json(fields: Iterable[Mapping[str, Any]]) -> tuple[StatisticsRow, ...]:
    """Return the rows that `rows_to_json` wrote."""
    return tuple(
        StatisticsRow(
            row["organ"],
            row["measure"],
            math.nan if row["value"] is None else float(row["value"]),
            row["unit"],
            Code(**row["code"]) if row["code"] else None,
            row["note"],
        )
        for row in fields
    )


def rows_to_csv(rows: Sequence[StatisticsRow]) -> str:
    """Return rows as CSV text with a header; an undefined value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        value = "" if math.isnan(row.value) else _rounded(row)
        code = ("", "", "") if row.code is None else tuple(vars(row.code).values())
        writer.writerow((row.organ, row.measure, value, row.unit, *code, row.note))
    return text.getvalue()


def _rounded(row: StatisticsRow) -> float | int:
    """Return a row's value with its measure's decimals."""
    decimals = {measure.key: measure.decimals for measure in MEASURES}.get(row.measure, 6)
    return round(row.value, decimals) if decimals else round(row.value)


HEADING = (
    "Organ                Volume mL     HU     SD  Median     P5    P95  Surface cm2  Pieces"
    "  Confidence"
)
LINE = (
    "{name:<20} {volume:>9.1f} {hu_mean:>6.1f} {hu_sd:>6.1f} {hu_median:>7.1f} {hu_p5:>6.1f} "
    "{hu_p95:>6.1f} {surface:>12.1f} {components:>7.0f} {sure:>11}  {remark}"
)


def table_text(rows: Sequence[StatisticsRow], organs: Sequence[Organ] = ALL_TARGETS) -> str:
    """Return a table for the terminal: one line per organ that has rows, in the order of `organs`.

    Examples
    --------
    >>> from flare_core.anatomy.organs import organ
    >>> row = StatisticsRow("liver", "volume", 0.0, "mL", None)
    >>> print(table_text([row], [organ("liver")]).splitlines()[1])
    Liver                not found
    """
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        known = values.setdefault(row.organ, dict.fromkeys((m.key for m in MEASURES), NAN))
        known[row.measure] = row.value
    lines = [_line(target, values[target.key]) for target in organs if target.key in values]
    return "\n".join([HEADING, *lines])


def _line(target: Organ, values: Mapping[str, float]) -> str:
    """Return the table's line of one organ."""
    if not values["volume"]:
        return f"{target.name:<20} {NOT_FOUND}"
    remarks = [PROBABLY_WRONG] if values["confidence"] < LOW else []
    if values["touches_border"] == 1:
        remarks.append("cut by the scan's border")
    if values["outside_range"] == 1 and target.volume_range_ml is not None:
        low, high = target.volume_range_ml
        where = "above" if values["volume"] > high else "below"
        remarks.append(f"{where} the usual {low:g}-{high:g} mL")
    lesions_ml = values["volume"] - values["volume_without_lesions"]
    if lesions_ml > 0:
        remarks.append(f"lesions in it {lesions_ml:.1f} mL")
    sure = "-" if math.isnan(values["confidence"]) else f"{values['confidence']:.2f}"
    return LINE.format(name=target.name, sure=sure, remark=", ".join(remarks), **values).rstrip()
