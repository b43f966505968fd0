"""One value of a case against another, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flare_core.report.evaluation.axis import (
    GRID,
    Axis,
    Colour,
    hex_colour,
    line,
    svg,
    text,
    tick_text,
)
from flare_core.report.svg import FAINT, INK

SIDE = 440
"""Edge of the square, pixels."""
MARGIN = 70


@dataclass(frozen=True)
class Point:
    """One point of a scatter plot."""

    x: float
    """Along the horizontal axis."""
    y: float
    """Along the vertical axis."""
    colour: Colour
    """Red, green, blue."""
    text: str
    """Shown when the mouse rests on it."""


def scatter_chart(
    points: Sequence[Point], x: Axis, y: Axis, title: str, *, diagonal: bool = False
) -> str:
    """Draw points in a square; `diagonal` is the line where both values are equal.

    Points off the axes (a volume of 0 on a logarithmic one) are hollow, at the edge.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    parts = [_square_grid(x, y)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        ends = [*_place(x, y, low, low), *_place(x, y, high, high)]
        parts.append(line(ends, FAINT, dashes="6 4"))
    parts += [_point(each, x, y) for each in points if not math.isnan(each.x + each.y)]
    return svg(SIDE + MARGIN + 20, SIDE + MARGIN, title, "".join(parts))


def _square_grid(x: Axis, y: Axis) -> str:
    bottom = 10 + SIDE
    parts = []
    for tick in x.ticks:
        at = MARGIN + SIDE * x.share(tick)
        parts.append(line([at, 10, at, bottom], GRID))
        parts.append(text(at, bottom + 18, tick_text(tick), colour=FAINT, anchor="middle"))
    for tick in y.ticks:
        at = bottom - SIDE * y.share(tick)
        parts.append(line([MARGIN, at, MARGIN + SIDE, at], GRID))
        parts.append(text(MARGIN - 8, at + 4, tick_text(tick), colour=FAINT, anchor="end"))
    middle = 10 + SIDE / 2
    label = text(18, middle, y.label, colour=INK, anchor="middle")
    parts.append(f'<g transform="rotate(-90 18 {middle})">{label}</g>')
    parts.append(text(MARGIN + SIDE / 2, bottom + 40, x.label, colour=INK, anchor="middle"))
    return "".join(parts)


def _point(point: Point, x: Axis, y: Axis) -> str:
    cx, cy = _place(x, y, point.x, point.y)
    is_off = not (x.low <= point.x <= x.high and y.low <= point.y <= y.high)
    fill = "none" if is_off else hex_colour(point.colour)
    stroke = hex_colour(point.colour) if is_off else INK
    return (
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{fill}" fill-opacity="0.75" '
        f'stroke="{stroke}" stroke-width="{1.6 if is_off else 0.7}">'
        f"<title>{escape(point.text)}</title></circle>"
    )


def _place(x: Axis, y: Axis, at_x: float, at_y: float) -> tuple[float, float]:
    return MARGIN + SIDE * x.share(at_x), 10 + SIDE * (1 - y.share(at_y))
