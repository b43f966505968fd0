"""The column beside the montage: organs with colour and volume, what is missing, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

from flare_core.anatomy.organs import Organ
from flare_core.report.case.lettering import (
    AMBER,
    GREY,
    WHITE,
    Colour,
    initials,
    shortened,
    wrapped,
    write,
)
from flare_core.report.case.panel import FILL
from flare_core.report.case.survey import OrganFinding
from flare_core.report.charts.svg import millilitres
from flare_core.segment.lesion_list import Lesion

WIDTH = 300
"""Pixels."""
MOST_LESIONS = 12
"""Lesions that are listed."""
SWATCH = (36, 18)
"""Width and height of an organ's coloured field with its initials, pixels."""


@dataclass(frozen=True)
class LegendLine:
    """One line of the column."""

    text: str
    """What stands on the left."""
    right: str = ""
    """What stands on the right, in the same line."""
    colour: Colour = WHITE
    """Of the text."""
    size: int = 16
    """Of the font, pixels."""
    height: int = 30
    """Down to the next line, pixels."""
    swatch: Organ | None = None
    """Whose colour and initials stand before the text."""
    indent: int = 0
    """Pixels from the column's left edge to the text."""


def remark(found: OrganFinding) -> str:
    """Return what a reader should know about an organ's volume, or nothing.

    Examples
    --------
    >>> from flare_core.anatomy.organs import organ
    >>> remark(OrganFinding(organ("spleen"), 512.0, cut=False))
    'larger than usual (81-374 mL)'
    >>> remark(OrganFinding(organ("spleen"), 50.0, cut=True))
    "cut by the scan's edge"
    """
    parts = ["cut by the scan's edge"] if found.cut and found.volume_ml > 0 else []
    if found.verdict and found.organ.volume_range_ml is not None:
        low, high = found.organ.volume_range_ml
        size = "larger" if found.verdict == "high" else "smaller"
        parts.append(f"{size} than usual ({low:g}-{high:g} mL)")
    return ", ".join(parts)


def legend_lines(
    found: Sequence[OrganFinding], notes: Sequence[str], lesions: Sequence[Lesion] = ()
) -> list[LegendLine]:
    """Compose the column: organs found, organs not found, lesions, notes."""
    present = [each for each in found if each.volume_ml > 0]
    absent = [each.organ for each in found if each.volume_ml == 0]
    lines = [LegendLine("Organs", right="volume", colour=GREY, size=14, height=30)]
    for each in present:
        lines += _organ_lines(each)
    if not present:
        lines.append(LegendLine("No organ found", colour=AMBER))
    if absent and present:
        lines += _paragraph("Not found: " + _names(absent), GREY)
    if lesions:
        lines += _lesion_lines(lesions)
    for note in notes:
        lines += _paragraph(note, AMBER)
    return lines


def draw_legend(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[LegendLine]
) -> None:
    """Draw the column with its upper left corner at `at` (x, y)."""
    x, y = at
    for line in lines:
        middle = y + line.height // 2
        if line.swatch is not None:
            _draw_swatch(draw, (x, middle - SWATCH[1] // 2), line.swatch)
        room = WIDTH - line.indent - (80 if line.right else 0)
        text = shortened(line.text, room, line.size)
        write(
            draw, (x + line.indent, middle), text, size=line.size, colour=line.colour, anchor="lm"
        )
        write(
            draw, (x + WIDTH, middle), line.right, size=line.size, colour=line.colour, anchor="rm"
        )
        y += line.height


def _organ_lines(found: OrganFinding) -> list[LegendLine]:
    said = remark(found)
    colour = AMBER if found.verdict else GREY
    indent = SWATCH[0] + 10
    first = LegendLine(
        found.organ.name,
        millilitres(found.volume_ml),
        swatch=found.organ,
        indent=indent,
        height=23 if said else 30,
    )
    if not said:
        return [first]
    small = [
        LegendLine(text, colour=colour, size=13, height=17, indent=indent)
        for text in wrapped(said, WIDTH - indent, 13)
    ]
    return [first, *small, LegendLine("", height=6)]


def _lesion_lines(lesions: Sequence[Lesion]) -> list[LegendLine]:
    """Return the lesions from head to foot, at last how many more there are."""
    head = LegendLine("Lesions", right="long x short, mm", colour=GREY, size=14, height=26)
    rows = [
        LegendLine(
            f"{each.number}  {each.place}",
            f"{each.long_axis_mm:.0f} x {each.short_axis_mm:.0f}",
            size=14,
            height=20,
        )
        for each in lesions[:MOST_LESIONS]
    ]
    more = len(lesions) - len(rows)
    rest = [LegendLine(f"and {more} more", colour=GREY, size=14, height=20)] if more else []
    return [LegendLine("", height=12), head, *rows, *rest]


def _paragraph(text: str, colour: Colour) -> list[LegendLine]:
    lines = [
        LegendLine(part, colour=colour, size=14, height=19) for part in wrapped(text, WIDTH, 14)
    ]
    return [LegendLine("", height=12), *lines]


def _names(organs: Sequence[Organ]) -> str:
    return ", ".join(each.name if n == 0 else each.name.lower() for n, each in enumerate(organs))


def _draw_swatch(draw: ImageDraw.ImageDraw, at: tuple[int, int], organ: Organ) -> None:
    """Show the colour as in the pictures: a translucent field with a full outline."""
    faint = tuple(round(part * FILL + 40 * (1 - FILL)) for part in organ.colour)
    corner = at[0] + SWATCH[0], at[1] + SWATCH[1]
    draw.rectangle((*at, *corner), fill=faint, outline=organ.colour, width=2)
    middle = at[0] + SWATCH[0] / 2 + 0.5, at[1] + SWATCH[1] / 2 + 0.5
    write(draw, middle, initials(organ.name), size=12, anchor="mm")
