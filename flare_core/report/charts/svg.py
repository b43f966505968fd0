"""The elements that charts are drawn with, their colours, and how numbers and names are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Colour = tuple[int, int, int]
Place = tuple[float, float]

INK, FAINT, GRID, BAND, ALERT = "#222", "#767676", "#e4e4e4", "#d9dee3", "#a84300"
"""FAINT can still be read on white; ALERT is told from every blue by who sees no red or green."""
FILL, EDGE, MARK = "#9cc3d5", "#1c6e8c", "#b1560f"
"""Of boxes and violins without a colour of their own, and of the dot in them."""
COLOURS = ("#1c6e8c", "#b1560f", "#5b3a8e", "#3d7a35", "#b0336b", "#9a7a00", "#4a4a4a", "#2aa198")
"""Of lines in one plot: apart in hue and in lightness."""
LETTER = 7.4
"""Width of a letter of the usual size, px, on average and a little more."""
MOST_LETTERS = 20
"""Longest name beside a row; the longest organ's name has 19."""


def svg(size: Place, title: str, body: str, *, alone: bool = False) -> str:
    """Return an ``<svg>`` element around ready-made elements.

    Parameters
    ----------
    size : (width, height)
        In pixels.
    title : str
        What is shown, for people who cannot see it.
    body : str
        Elements.
    alone : bool
        Whether it is a file of its own, which needs the white that a page brings along.
    """
    width, height = (round(each) for each in size)
    paper = '<rect width="100%" height="100%" fill="#fff"/>' if alone else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13" fill="{INK}">'
        f"<title>{escape(title)}</title>{paper}{body}</svg>"
    )


def text(
    at: Place,
    words: str,
    colour: str = INK,
    *,
    anchor: str = "start",
    px: int = 13,
    bold: bool = False,
    upwards: bool = False,
) -> str:
    """Return words, escaped; `at` is their start, middle or end on the base line."""
    x, y = at
    place = f'x="{x:.1f}" y="{y:.1f}"'
    if upwards:
        place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"'
    size = "" if px == 13 else f' font-size="{px}"'
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text {place} fill="{colour}" text-anchor="{anchor}"{size}{weight}>{escape(words)}</text>'
    )


def line(
    start: Place,
    end: Place,
    colour: str = INK,
    *,
    width: float = 1.0,
    dashes: str = "",
    opacity: float = 1,
) -> str:
    """Return a straight line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    seen = f' stroke-opacity="{opacity}"' if opacity < 1 else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"{dashed}{seen}/>'
    )


def rectangle(
    corner: Place, size: Place, fill: str, *, edge: str = "", opacity: float = 1, round_px: int = 0
) -> str:
    """Return a rectangle from its upper left corner."""
    style = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    style += f' stroke="{edge}"' if edge else ""
    style += f' rx="{round_px}"' if round_px else ""
    return (
        f'<rect x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{size[0]:.1f}" '
        f'height="{size[1]:.1f}" fill="{fill}"{style}/>'
    )


def circle(
    at: Place, radius: float, fill: str, *, edge: str = "", width: float = 1.0, opacity: float = 1,
    remark: str = "",
) -> str:  # fmt: skip
    """Return a dot; `remark` is shown when the mouse rests on it."""
    style = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    style += f' stroke="{edge}" stroke-width="{width:g}"' if edge else ""
    head = f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" fill="{fill}"{style}'
    return f"{head}><title>{escape(remark)}</title></circle>" if remark else f"{head}/>"


def polygon(
    places: Sequence[Place], fill: str, *, edge: str = "", width: float = 1.0, opacity: float = 1
) -> str:
    """Return a filled area."""
    style = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    if edge:
        style += f' stroke="{edge}" stroke-width="{width:g}" stroke-linejoin="round"'
    return f'<polygon points="{points(places)}" fill="{fill}"{style}/>'


def polyline(
    places: Sequence[Place], colour: str, *, width: float, dashes: str = "", remark: str = ""
) -> str:
    """Return a line through places."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    head = (
        f'<polyline points="{points(places)}" fill="none" stroke="{colour}" '
        f'stroke-width="{width:g}" stroke-linejoin="round"{dashed}'
    )
    return f"{head}><title>{escape(remark)}</title></polyline>" if remark else f"{head}/>"


def points(places: Sequence[Place]) -> str:
    """Write places the way polygons want them.

    Examples
    --------
    >>> points([(1, 2), (3.25, 4)])
    '1.0,2.0 3.2,4.0'
    """
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def hex_colour(colour: Colour) -> str:
    """Write red, green, blue as SVG wants them.

    Examples
    --------
    >>> hex_colour((255, 0, 16))
    '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def shortened(words: str, most: int = MOST_LETTERS) -> str:
    """Return a name of at most so many letters.

    Examples
    --------
    >>> shortened("a-team-with-a-long-name", 10)
    'a-team-w..'
    """
    return words if len(words) <= most else words[: most - 2] + ".."


def names_width(names: Sequence[str]) -> float:
    """Return the room that shortened names need beside their rows, px."""
    return 20 + LETTER * max((len(shortened(name)) for name in names), default=0)


def tick_text(value: float) -> str:
    """Write a value beside an axis.

    Examples
    --------
    >>> tick_text(0.85), tick_text(12000.0)
    ('0.85', '12,000')
    """
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.6g}"


def score_text(value: float) -> str:
    """Write a score, a distance or a volume the way a table shows it.

    Examples
    --------
    >>> [score_text(x) for x in (0.93215, 12.345, -1413.1, float("nan"), float("inf"))]
    ['0.932', '12.3', '-1413', 'undefined', 'infinite']
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 3
    return f"{value:.{digits}f}"


def millilitres(volume_ml: float) -> str:
    """Write a volume with as many digits as mean something.

    Examples
    --------
    >>> [millilitres(volume) for volume in (0.04, 4.62, 31.64, 1413.1)]
    ['0.04 mL', '4.6 mL', '32 mL', '1413 mL']
    """
    digits = 2 if volume_ml < 1 else 1 if volume_ml < 10 else 0
    return f"{volume_ml:.{digits}f} mL"
