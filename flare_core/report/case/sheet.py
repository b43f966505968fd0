"""The sheet of the montage: title, pictures in rows, the legend beside them, footer.

All axial pictures have one scale, and so have the coronal and sagittal ones; a bar of 5 cm says
which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from flare_core.imaging.geometry import Geometry
from flare_core.report.case.legend import WIDTH as LEGEND_WIDTH
from flare_core.report.case.legend import LegendLine, draw_legend
from flare_core.report.case.lettering import GREY, PALE, WHITE, shortened, write
from flare_core.report.case.panel import AXIAL, EDGES, LEVEL_HU, WINDOW_HU, DrawnScan, Pixels, Plane
from flare_core.report.html import RESEARCH_USE

COLUMNS = 4
"""Axial pictures in a row."""
WIDTH = 1600
"""Of the pictures together, pixels."""
GAP = 6
MARGIN = 20
TITLE_HEIGHT = 80
FOOTER_HEIGHT = 44
BACKGROUND = (20, 20, 23)
TALLEST = 1.1
"""Greatest height of an axial picture, as a share of its width."""
LONGEST = 620
"""Greatest height of the coronal and sagittal pictures, pixels."""
RULER_MM = 50.0


@dataclass(frozen=True)
class Heading:
    """What stands above the pictures."""

    title: str
    """The case."""
    detail: str
    """Size and spacing of the scan."""


@dataclass(frozen=True)
class Cell:
    """A place on the sheet for one picture; all in pixels."""

    plane: Plane
    """What it shows."""
    left: int
    """From the sheet's left edge."""
    top: int
    """From the sheet's upper edge."""
    width: int
    """Of the picture."""
    height: int
    """Of the picture."""


def draw_sheet(
    scene: DrawnScan, planes: Sequence[Plane], lines: Sequence[LegendLine], heading: Heading
) -> Pixels:
    """Lay out and draw everything: `planes` of `scene`, the legend's `lines`, the heading."""
    cells = lay_out(scene.image.geometry, planes)
    legend = sum(line.height for line in lines)
    bottom = max(max(cell.top + cell.height for cell in cells), TITLE_HEIGHT + legend)
    size = (WIDTH + LEGEND_WIDTH + 3 * MARGIN, bottom + FOOTER_HEIGHT)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for cell in cells:
        picture = scene.picture(cell.plane, (cell.height, cell.width))
        sheet.paste(Image.fromarray(picture), (cell.left, cell.top))
        _draw_tags(draw, cell, scene)
        _draw_marks(draw, cell, scene.image.geometry)
    _draw_references(draw, cells, scene.image.geometry)
    draw_legend(draw, (WIDTH + 2 * MARGIN, TITLE_HEIGHT), lines)
    _draw_frame(draw, size, heading)
    return np.asarray(sheet)


def lay_out(geometry: Geometry, planes: Sequence[Plane]) -> list[Cell]:
    """Return a place for every plane: axial pictures in rows of four, below them one long row."""
    axial = [plane for plane in planes if plane.axis == AXIAL]
    others = [plane for plane in planes if plane.axis != AXIAL]
    slot = (WIDTH - GAP * (COLUMNS - 1)) / COLUMNS
    cells, top = [], TITLE_HEIGHT
    for first in range(0, len(axial), COLUMNS):
        row = _row(geometry, axial[first : first + COLUMNS], top, slot=slot)
        cells += row
        top = row[0].top + row[0].height + GAP
    return cells + _row(geometry, others, top, slot=None)


def _row(
    geometry: Geometry, planes: Sequence[Plane], top: int, *, slot: float | None
) -> list[Cell]:
    """Place planes side by side at one scale, each in the middle of its share of the width.

    With `slot` each share is that wide; without, the shares are as the pictures' widths.
    """
    sizes = [plane.size_mm(geometry) for plane in planes]
    room = WIDTH - GAP * (len(planes) - 1)
    total = sum(width for _, width in sizes)
    shares = [slot if slot is not None else room * width / total for _, width in sizes]
    limit = TALLEST * slot if slot is not None else LONGEST
    scale = min(
        min(share / width, limit / height)
        for share, (height, width) in zip(shares, sizes, strict=True)
    )
    cells, left = [], float(MARGIN)
    for plane, share, (height, width) in zip(planes, shares, sizes, strict=True):
        pixels = max(1, round(width * scale)), max(1, round(height * scale))
        cells.append(Cell(plane, round(left + (share - pixels[0]) / 2), top, *pixels))
        left += share + GAP
    return cells


def _draw_tags(draw: ImageDraw.ImageDraw, cell: Cell, scene: DrawnScan) -> None:
    """Write the organs' initials into a picture: colours alone are not enough for every eye."""
    for text, y, x in scene.tags(cell.plane, (cell.height, cell.width)):
        write(draw, (cell.left + x, cell.top + y), text, size=11, anchor="mm", halo=2)


def _draw_marks(draw: ImageDraw.ImageDraw, cell: Cell, geometry: Geometry) -> None:
    """Write orientation letters and the plane's position on a picture."""
    left, top = cell.left, cell.top
    right, bottom = left + cell.width, top + cell.height
    middle = (left + right) // 2, (top + bottom) // 2
    places = [
        (left + 6, middle[1], "lm"),
        (right - 6, middle[1], "rm"),
        (middle[0], top + 4, "ma"),
        (middle[0], bottom - 5, "md"),
    ]
    for letter, (x, y, anchor) in zip(EDGES[cell.plane.axis], places, strict=True):
        write(draw, (x, y), letter, colour=PALE, anchor=anchor, halo=2)
    write(
        draw,
        (right - 6, top + 5),
        cell.plane.place(geometry),
        size=13,
        colour=PALE,
        anchor="ra",
        halo=2,
    )


def _draw_references(draw: ImageDraw.ImageDraw, cells: Sequence[Cell], geometry: Geometry) -> None:
    """Number the axial pictures, show where they lie, and give both scales a ruler."""
    axial = [cell for cell in cells if cell.plane.axis == AXIAL]
    first = next(cell for cell in cells if cell.plane.axis != AXIAL)
    for cell in (axial[0], first):
        _draw_ruler(draw, cell, cell.width / cell.plane.size_mm(geometry)[1])
    step = first.height / geometry.shape[0]
    free, blocked = first.top + 4, first.top + first.height // 2
    for number, cell in enumerate(axial, start=1):
        write(draw, (cell.left + 6, cell.top + 5), str(number), halo=2)
        y = round(first.top + (geometry.shape[0] - cell.plane.index - 0.5) * step)
        draw.line((first.left, y, first.left + 5, y), fill=PALE, width=1)
        if y >= free and abs(y - blocked) > 12:
            write(draw, (first.left + 8, y), str(number), size=10, colour=PALE, anchor="lm", halo=2)
            free = y + 11


def _draw_ruler(draw: ImageDraw.ImageDraw, cell: Cell, scale: float) -> None:
    """Draw a bar of `RULER_MM`; `scale` is pixels per mm."""
    length = round(RULER_MM * scale)
    if length > cell.width // 2 or cell.height < 60:
        return
    right, y = cell.left + cell.width - 8, cell.top + cell.height - 8
    draw.line((right - length, y, right, y), fill=WHITE, width=2)
    write(draw, (right - length / 2, y - 3), f"{RULER_MM / 10:g} cm", size=12, anchor="md", halo=2)


def _draw_frame(draw: ImageDraw.ImageDraw, size: tuple[int, int], heading: Heading) -> None:
    """Write title and footer."""
    width, height = size
    write(draw, (MARGIN, 14), shortened(heading.title, WIDTH - 20, 28), size=28)
    window = f"window {WINDOW_HU:g} HU, level {LEVEL_HU:g} HU"
    write(draw, (MARGIN, 50), f"{heading.detail}, {window}", size=15, colour=GREY)
    write(draw, (width - MARGIN, 50), "FLARESeg", size=15, colour=GREY, anchor="ra")
    foot = height - FOOTER_HEIGHT // 2
    write(draw, (MARGIN, foot), f"{RESEARCH_USE}.", size=15, colour=WHITE, anchor="lm")
    write(
        draw,
        (width - MARGIN, foot),
        "The patient's right is on the left of the picture.",
        size=15,
        colour=GREY,
        anchor="rm",
    )
