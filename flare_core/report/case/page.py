"""Self-contained HTML pages: one for a case, one for a cohort.

A page holds its pictures and its style; it loads nothing, and its own policy forbids it to.  Every
text that comes from outside (case names, notes, provenance) is escaped.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from PIL import Image

from flare_core.anatomy.organs import Organ
from flare_core.report.case.overlay import png_bytes
from flare_core.report.case.panel import Pixels
from flare_core.report.charts.rows import volume_chart
from flare_core.report.html import list_of, page, section, table
from flare_core.segment.statistics import PROBABLY_WRONG
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.segment.lesion_list import Lesion
    from flare_core.segment.pipeline import Segmentation
    from flare_core.segment.statistics import StatisticsRow

THUMBNAIL_WIDTH = 420
"""Pixels."""
VOLUME = "volume"
"""The measure that charts and the cohort's table show."""
OUTSIDE = "outside_range"
YES_NO = ("touches_border", OUTSIDE)
"""Measures that are 1 or 0."""


@dataclass(frozen=True)
class CohortEntry:
    """One case of a cohort."""

    name: str
    """The case."""
    rows: Sequence[StatisticsRow] = ()
    """Its statistics; empty if it failed."""
    thumbnail: bytes = b""
    """JPEG from `thumbnail`, or empty."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Text -> path of a file, relative to the page."""
    error: str = ""
    """Why there is no result, if there is none."""


def case_page(
    case: str, segmentation: Segmentation, montage: Pixels, organs: Sequence[Organ]
) -> str:
    """Return one case's page: montage, chart of volumes, statistics, notes, provenance.

    Parameters
    ----------
    case : str
        The title.
    segmentation : Segmentation
        Rows, notes, timings and provenance are shown; the label map is not read.
    montage : uint8 (H, W, 3)
        From `overlay_montage`.
    organs : sequence of Organ
        What was looked for; the chart has a row for each.
    """
    volumes = {key: [volume] for key, volume in _volumes(segmentation.rows).items()}
    flagged = [row.organ for row in segmentation.rows if row.measure == OUTSIDE and row.value == 1]
    seconds = {f"{stage}, s": f"{time:.2f}" for stage, time in segmentation.timings.items()}
    return page(
        case,
        f'<img class="montage" alt="Overlay of the organs on the scan" '
        f'src="{_data("image/png", png_bytes(montage))}">',
        section("Notes", list_of(segmentation.notes)) if segmentation.notes else "",
        section("Volumes", volume_chart(volumes, organs, flagged) + _CHART_KEY),
        section("Lesions", _lesions(segmentation.lesions)) if segmentation.lesions else "",
        section("Statistics", _statistics(segmentation.rows, organs)),
        section("Provenance", _facts(_flat(segmentation.provenance))),
        section("Time", _facts(seconds)) if seconds else "",
    )


def cohort_page(title: str, cases: Sequence[CohortEntry], organs: Sequence[Organ]) -> str:
    """Return a page of many cases: chart of all volumes, then a row for each case."""
    volumes = [_volumes(entry.rows) for entry in cases]
    gathered = {
        each.key: [found[each.key] for found in volumes if each.key in found] for each in organs
    }
    failed = sum(1 for entry in cases if entry.error)
    count = many(len(cases), "case") + (f", {failed} without a result" if failed else "")
    heads = "".join(f"<th>{escape(each.name)}</th>" for each in organs)
    lines = [_cohort_row(entry, found, organs) for entry, found in zip(cases, volumes, strict=True)]
    return page(
        title,
        f"<p>{count}</p>",
        section("Volumes", volume_chart(gathered, organs) + _CHART_KEY),
        section("Cases (volumes in mL)", table(f"<th>Case</th><th></th>{heads}", lines)),
    )


def thumbnail(montage: Pixels, width: int = THUMBNAIL_WIDTH) -> bytes:
    """Return a small JPEG of a montage (H, W, 3), for `CohortEntry`."""
    height = max(1, round(montage.shape[0] * width / montage.shape[1]))
    small = Image.fromarray(montage).resize((width, height), Image.Resampling.BOX, reducing_gap=2)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=82)
    return stream.getvalue()


_LESION_KEY = (
    "<p>Numbered from head to foot. The longest diameter in any axial slice and the widest extent "
    "at right angles to it, as RECIST 1.1 has them; the slice counts from 0. Organ, HU: its mean "
    "without lesions.</p>"
)

_CHART_KEY = (
    "<p>Grey: usual range of adults, where there is one; organs that scans cut or meals fill have "
    "none. Of an organ cut by the edge of the scan the part inside is shown.</p>"
)


def _facts(facts: Mapping[str, str]) -> str:
    lines = [
        f'<tr><td>{escape(name)}</td><td class="text">{escape(value)}</td></tr>'
        for name, value in facts.items()
    ]
    return f'<div class="wide"><table><tbody>{"".join(lines)}</tbody></table></div>'


def _statistics(rows: Sequence[StatisticsRow], organs: Sequence[Organ]) -> str:
    """Turn rows (organ, measure, value) into a table of organs by measures."""
    heads = dict.fromkeys((row.measure, row.unit) for row in rows)
    cells = {(row.organ, row.measure): row for row in rows}
    remarks: dict[str, dict[str, None]] = {}
    for row in rows:
        remarks.setdefault(row.organ, {}).update({row.note: None} if row.note else {})
    lines = []
    for each in (each for each in organs if each.key in remarks):
        values = "".join(_cell(cells.get((each.key, name))) for name, _ in heads)
        notes = escape("; ".join(remarks[each.key]))
        lines.append(f'<tr><td>{_named(each)}</td>{values}<td class="text note">{notes}</td></tr>')
    columns = "".join(f"<th>{escape(_head(name, unit))}</th>" for name, unit in heads)
    return table(f'<th>Organ</th>{columns}<th class="text">Note</th>', lines)


def _lesions(lesions: Sequence[Lesion]) -> str:
    """Write the list of lesions, from head to foot."""
    heads = (
        "Lesion", "Organ", "Volume, mL", "Longest diameter, mm", "At right angles, mm", "Slice",
        "Mean, HU", "Organ, HU", "Certainty",
    )  # fmt: skip
    lines = []
    for each in lesions:
        numbers = (
            each.volume_ml, each.long_axis_mm, each.short_axis_mm, each.slice_index,
            each.hu_mean, each.organ_hu, each.certainty,
        )  # fmt: skip
        cells = "".join(f"<td>{_number(number)}</td>" for number in numbers)
        lines.append(
            f'<tr><td>{each.number}</td><td class="text">{escape(each.place)}</td>{cells}</tr>'
        )
    return table("".join(f"<th>{head}</th>" for head in heads), lines) + _LESION_KEY


def _cohort_row(entry: CohortEntry, volumes: Mapping[str, float], organs: Sequence[Organ]) -> str:
    picture = (
        f'<img class="thumb" alt="" src="{_data("image/jpeg", entry.thumbnail)}">'
        if entry.thumbnail
        else ""
    )
    links = " ".join(
        f'<a href="{escape(_relative(path))}">{escape(text)}</a>'
        for text, path in entry.links.items()
    )
    first = f"<td><b>{escape(entry.name)}</b><br>{links}</td><td>{picture}</td>"
    if entry.error:
        return (
            f'<tr>{first}<td class="text alert" colspan="{max(1, len(organs))}">'
            f"{escape(entry.error)}</td></tr>"
        )
    cells = "".join(f"<td>{_number(volumes.get(each.key, math.nan))}</td>" for each in organs)
    return f"<tr>{first}{cells}</tr>"


def _volumes(rows: Iterable[StatisticsRow]) -> dict[str, float]:
    return {row.organ: row.value for row in rows if row.measure == VOLUME}


def _cell(row: StatisticsRow | None) -> str:
    """Write one value as a table cell; what is out of the ordinary stands out."""
    if row is None or not math.isfinite(row.value):
        return "<td>-</td>"
    if row.measure in YES_NO:
        kind = ' class="alert"' if row.measure == OUTSIDE and row.value else ""
        return f"<td{kind}>{'yes' if row.value else 'no'}</td>"
    kind = ' class="alert"' if row.note == PROBABLY_WRONG else ""
    return f"<td{kind}>{_number(row.value)}</td>"


def _number(value: float) -> str:
    """Write a value with about four figures; a dash where it is not defined.

    Examples
    --------
    >>> [_number(value) for value in (1413.12, 98.44, 3.4567, -12.345, float("nan"))]
    ['1413', '98.4', '3.46', '-12.3', '-']
    """
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    digits = 0 if size >= 1000 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:.{digits}f}"


def _head(measure: str, unit: str) -> str:
    """Write a column's head; UCUM's ``1`` and its remarks in braces are no units to a reader.

    Examples
    --------
    >>> _head("surface", "cm2"), _head("components", "1"), _head("hu_mean", "[hnsf'U]")
    ('surface, cm2', 'components', 'mean, HU')
    """
    shown = {"1": "", "[hnsf'U]": "HU"}.get(unit, "" if unit.startswith("{") else unit)
    name = measure.removeprefix("hu_").replace("_", " ")
    return f"{name}, {shown}" if shown else name


def _named(organ: Organ) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*organ.colour)
    return f'<span class="swatch" style="background:{colour}"></span>{escape(organ.name)}'


def _flat(value: object, name: str = "") -> dict[str, str]:
    """Turn nested provenance into lines ``outer / inner: value``."""
    if not isinstance(value, Mapping):
        parts = value if isinstance(value, (list, tuple)) else (value,)
        return {name: ", ".join(str(part) for part in parts)}
    lines: dict[str, str] = {}
    for key, inner in value.items():
        lines.update(_flat(inner, f"{name} / {key}" if name else str(key)))
    return lines


def _relative(path: str) -> str:
    """Quote a relative path; a colon is quoted too, so it can never be read as a scheme."""
    return quote(path.replace("\\", "/"), safe="/")


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
