"""Charts with a value along both axes: points, curves over steps, curves over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flare_core.report.charts.axis import Axis, Frame, round_axis, ticks_around
from flare_core.report.charts.svg import (
    COLOURS,
    FAINT,
    INK,
    Colour,
    Place,
    circle,
    hex_colour,
    line,
    polygon,
    polyline,
    shortened,
    svg,
    text,
)

SIDE = 440
"""Edge of a scatter plot's square, pixels."""
MARGIN = 70

TIME_WIDTH = 860
PANEL, GAP, TOP = 150, 44, 88
"""Height of a panel of curves over time; what is above each, with its title; above all. Pixels."""
MOST_POINTS = TIME_WIDTH
"""A curve has at most two points (lowest, highest) for each pixel column: peaks stay."""


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
    frame = Frame(MARGIN, 10, MARGIN + SIDE, 10 + SIDE)
    parts = [frame.across(x), frame.up(y)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        start, end = ((frame.x(x, value), frame.y(y, value)) for value in (low, high))
        parts.append(line(start, end, FAINT, dashes="6 4"))
    for each in points:
        if not math.isnan(each.x + each.y):
            at = frame.x(x, each.x), frame.y(y, each.y)
            parts.append(_point(each, at, x.holds(each.x) and y.holds(each.y)))
    return svg((SIDE + MARGIN + 20, SIDE + MARGIN), title, "".join(parts))


def _point(point: Point, at: Place, is_there: bool) -> str:
    colour = hex_colour(point.colour)
    if is_there:
        return circle(at, 4, colour, edge=INK, width=0.7, opacity=0.75, remark=point.text)
    return circle(at, 4, "none", edge=colour, width=1.6, remark=point.text)


@dataclass(frozen=True)
class ChartLine:
    """One curve."""

    name: str
    """What it is, in the legend."""
    points: Sequence[tuple[float, float | None]]
    """(step or seconds, value), rising; None or NaN where it is not known: there it breaks."""
    colour: str = ""
    """As CSS writes it; empty: the next of `COLOURS`."""


def line_chart(
    title: str,
    lines: Sequence[ChartLine],
    *,
    least: float | None = None,
    axes: tuple[str, str] = ("step", ""),
) -> str:
    """Draw curves, with a legend; empty where no value is known.

    Parameters
    ----------
    title : str
        What is shown.
    lines : sequence of ChartLine
        More than there are colours are dashed.
    least : float, optional
        Where the value axis begins; near the smallest value if None.
    axes : (str, str)
        What the horizontal and the vertical axis show, with its unit.
    """
    known = [place for each in lines for run in runs(each.points) for place in run]
    if not known:
        return ""
    ys = [y for _, y in known]
    across = _from_zero(axes[0], max(x for x, _ in known) or 1.0, 5)
    up = round_axis(axes[1], min(ys) if least is None else least, max(ys), 5)
    frame = Frame(62, 14, 600, 244)
    parts = [frame.across(across, lines=False), frame.up(up)]
    for number, each in enumerate(lines):
        parts.append(_curve(each, (frame, across, up), number))
        parts.append(_key(each, number, frame))
    height = frame.bottom + 64 + 18 * math.ceil(len(lines) / 3)
    return svg((620, height), title, "".join(parts))


def _key(each: ChartLine, number: int, frame: Frame) -> str:
    """Draw a line's entry in the legend, three beside each other."""
    colour, dashes = _style(each, number)
    x = frame.left + number % 3 * (frame.right - frame.left) / 3
    y = frame.bottom + 62 + 18 * (number // 3)
    mark = line((x, y - 4), (x + 18, y - 4), colour, width=2, dashes=dashes)
    return mark + text((x + 24, y), shortened(each.name))


def _style(each: ChartLine, number: int) -> tuple[str, str]:
    """Return colour and dashes of a line."""
    dashes = "5 3" if number >= len(COLOURS) else ""
    return each.colour or COLOURS[number % len(COLOURS)], dashes


def _curve(
    each: ChartLine, place: tuple[Frame, Axis, Axis], number: int = 0, *, filled: bool = False
) -> str:
    """Draw a line; a known value between unknown ones is a dot. `filled` shades what is below."""
    frame, across, up = place
    colour, dashes = _style(each, number)
    parts = []
    for run in runs(each.points):
        drawn = [(frame.x(across, x), frame.y(up, y)) for x, y in thinned(run)]
        if len(drawn) == 1:
            parts.append(circle(drawn[0], 3, colour))
            continue
        if filled:
            ends = [(drawn[-1][0], frame.bottom), (drawn[0][0], frame.bottom)]
            parts.append(polygon([*drawn, *ends], colour, opacity=0.15))
        px = 1.6 if filled else 2
        parts.append(polyline(drawn, colour, width=px, dashes=dashes, remark=each.name))
    return "".join(parts)


def runs(points: Sequence[tuple[float, float | None]]) -> list[list[Place]]:
    """Return the stretches of points whose value is known.

    Examples
    --------
    >>> runs([(0, 1.0), (1, None), (2, 3.0), (3, 4.0), (4, float("nan"))])
    [[(0, 1.0)], [(2, 3.0), (3, 4.0)]]
    """
    found: list[list[Place]] = [[]]
    for x, y in points:
        if y is not None and math.isfinite(y):
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def thinned(places: Sequence[Place], most: int = MOST_POINTS) -> Sequence[Place]:
    """Return places; of many, only the lowest and the highest of each stretch.

    Examples
    --------
    >>> thinned([(0, 1.0), (1, 9.0), (2, 3.0), (3, 2.0), (4, 4.0), (5, 0.0)], 2)
    [(0, 1.0), (1, 9.0), (4, 4.0), (5, 0.0)]
    """
    if len(places) <= 2 * most:
        return places
    length = math.ceil(len(places) / most)
    kept = []
    for start in range(0, len(places), length):
        stretch = places[start : start + length]
        kept += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return kept


@dataclass(frozen=True)
class TimePanel:
    """Curves over time that share a scale, which begins at 0."""

    title: str
    """With the unit, as in "GPU memory, MiB"."""
    lines: Sequence[ChartLine]
    """Drawn in this order."""
    remark: str = ""
    """Stands at the right of the title: maximum and area, say."""
    ceiling: float = 0.0
    """The scale reaches at least this far."""
    unknown: str = "not known on this system"
    """Stands in a panel without a known value."""


def time_chart(title: str, subtitle: str, panels: Sequence[TimePanel]) -> str:
    """Return an ``<svg>`` of panels of curves over one time axis, with a title inside.

    Parameters
    ----------
    title, subtitle : str
        Case; command and outcome.
    panels : sequence of TimePanel
        From top to bottom.
    """
    ends = [x for panel in panels for each in panel.lines for x, _ in each.points]
    across = _from_zero("time, s", max([*ends, 0.1]), 8)
    parts = [
        text((16, 26), title, px=17, bold=True),
        text((16, 46), shortened(subtitle, 118), FAINT),
    ]
    bottom = float(TOP)
    for number, panel in enumerate(panels):
        top = TOP + number * (PANEL + GAP)
        frame = Frame(74, top, TIME_WIDTH - 20, top + PANEL)
        parts.append(_panel(panel, frame, across))
        if panel is panels[-1]:
            parts.append(frame.across(across, lines=False))
        bottom = frame.bottom
    return svg((TIME_WIDTH, bottom + 44), title, "".join(parts), alone=True)


def _panel(panel: TimePanel, frame: Frame, across: Axis) -> str:
    """Draw one panel; its title stands above its frame."""
    known = [y for each in panel.lines for run in runs(each.points) for _, y in run]
    up = round_axis("", 0.0, max([panel.ceiling, *known]), 4)
    parts = [_heading(panel, frame), frame.up(up)]
    parts += [_curve(each, (frame, across, up), filled=True) for each in panel.lines]
    if not known:
        middle = ((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2)
        parts.append(text(middle, panel.unknown, FAINT, anchor="middle"))
    return "".join(parts)


def _heading(panel: TimePanel, frame: Frame) -> str:
    """Write title, legend (if there is more than one curve) and remark."""
    y = frame.top - 10
    words = f'<tspan font-weight="600">{escape(panel.title)}</tspan>'
    if len(panel.lines) > 1:
        words += "".join(
            f'<tspan dx="14" fill="{_style(each, 0)[0]}">&#9632; {escape(each.name)}</tspan>'
            for each in panel.lines
        )
    return f'<text x="{frame.left}" y="{y}">{words}</text>' + text(
        (frame.right, y), panel.remark, FAINT, anchor="end"
    )


def _from_zero(label: str, end: float, count: int) -> Axis:
    """Return an axis from 0 to exactly `end`, with the round numbers between."""
    marks = tuple(tick for tick in ticks_around(0.0, end, count) if tick <= end)
    return Axis(label, 0.0, end, marks=marks)
