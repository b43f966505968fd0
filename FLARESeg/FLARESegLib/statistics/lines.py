"""The library's rows of statistics as lines of a table for people: one organ a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt.translation import _

if TYPE_CHECKING:
    from flare_core.anatomy.organs import Organ
    from flare_core.segment.statistics import StatisticsRow

NUMBERS = (
    "volume", "hu_mean", "hu_median", "hu_sd", "hu_p5", "hu_p95", "surface", "components",
    "volume_without_lesions", "confidence",
)  # fmt: skip
"""Measures that are columns; the two judgements become the remark."""

FEW = 4
"""How many columns, from the left, fit into a dock; the others are for those who ask."""

DECIMALS = {
    "volume": 1, "surface": 1, "components": 0, "volume_without_lesions": 1, "confidence": 2,
}  # fmt: skip
"""Digits behind the point on the screen; HU have none. Files have more."""


@dataclass(frozen=True)
class OrganLine:
    """One organ."""

    key: str
    """Its key in the organ table."""
    name: str
    """Its name for people."""
    numbers: tuple[float | None, ...]
    """Values of `NUMBERS`, rounded for reading; None where there is none."""
    usual: str
    """Usual volumes of adults, or nothing."""
    remark: str
    """What to look at, in words."""
    mark: str
    """``wrong``, ``high``, ``low``, ``cut``, ``absent`` or nothing; decides the colour."""


def column_titles() -> tuple[str, ...]:
    """Return the titles of the columns, with units; the first `FEW` are short: a dock is narrow."""
    return (
        _("Organ"), _("mL"), _("usual mL"), _("Remark"), _("HU"), _("median HU"), _("SD HU"),
        _("5 % HU"), _("95 % HU"), _("surface cm2"), _("pieces"), _("mL without lesions"),
        _("confidence"),
    )  # fmt: skip


def column_tips() -> tuple[str, ...]:
    """Return what the titles mean."""
    return (
        _("Click a title to sort."), _("Volume, mL"), _("Usual volume of adults, mL"),
        _("What to look at"), _("Mean density, HU"), _("Median density"), _("Standard deviation"),
        _("5 % of the voxels are less dense"), _("5 % of the voxels are denser"),
        _("Area of the surface"), _("Pieces that do not touch each other"),
        _("Volume without the lesions that are part of it"),
        _("Overlap with the truth (DSC) that the model's scores let expect, 0 to 1"),
    )  # fmt: skip


def lines_of(rows: Sequence[StatisticsRow]) -> tuple[OrganLine, ...]:
    """Return a line for each organ that has rows, in their order."""
    from flare_core.anatomy.organs import organ

    by_organ: dict[str, dict[str, float]] = {}
    for row in rows:
        by_organ.setdefault(row.organ, {})[row.measure] = row.value
    return tuple(_line(organ(key), values) for key, values in by_organ.items())


def cells_of(line: OrganLine) -> tuple[str | float | None, ...]:
    """Return the cells of a line, in the order of `column_titles`."""
    volume, *others = line.numbers
    return (line.name, volume, line.usual, line.remark, *others)


def tab_separated(lines: Sequence[OrganLine]) -> str:
    """Return a table for the clipboard; an undefined number is an empty cell.

    A point before the decimals, whatever the computer's language: units and codes are in the CSV.
    """
    table = [column_titles(), *(cells_of(line) for line in lines)]
    return "\n".join("\t".join(_cell_text(cell) for cell in row) for row in table) + "\n"


def _cell_text(cell: str | float | None) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else f"{cell:g}"


def _line(target: Organ, values: dict[str, float]) -> OrganLine:
    mark = _mark(target, values)
    return OrganLine(
        target.key,
        target.name,
        tuple(_rounded(measure, values.get(measure, math.nan)) for measure in NUMBERS),
        _usual_text(target),
        _remark(mark, cut=_yes(values, "touches_border")),
        mark,
    )


def _rounded(measure: str, value: float) -> float | None:
    return None if math.isnan(value) else round(value, DECIMALS.get(measure, 0))


def _usual_text(target: Organ) -> str:
    if target.volume_range_ml is None:
        return ""
    low, high = target.volume_range_ml
    return f"{low:g} - {high:g}"


def _yes(values: dict[str, float], measure: str) -> bool:
    return values.get(measure, math.nan) == 1.0  # NaN: cannot be judged, which is not yes


def _mark(target: Organ, values: dict[str, float]) -> str:
    from flare_core.segment.confidence import LOW

    volume = values.get("volume", 0.0)
    if volume == 0:
        return "absent"
    if values.get("confidence", math.nan) < LOW:
        return "wrong"
    if _yes(values, "outside_range") and target.volume_range_ml:
        return "high" if volume > target.volume_range_ml[1] else "low"
    return "cut" if _yes(values, "touches_border") else ""


def _remark(mark: str, *, cut: bool) -> str:
    words = {
        "absent": _("not found"),
        "wrong": _("probably wrong"),
        "high": _("larger than usual"),
        "low": _("smaller than usual"),
        "cut": _("cut by scan edge"),
    }
    said = words.get(mark, "")
    if cut and mark in ("high", "low", "wrong"):
        return f"{said}, {words['cut']}"
    return said


def rows_of(fields: Sequence[Mapping[str, Any]]) -> tuple[StatisticsRow, ...]:
    """Return the rows that a worker sent as plain values (`rows_to_json`)."""
    from flare_core.segment.statistics import rows_from_json  # scipy; a panel opens without it

    return rows_from_json(fields)
