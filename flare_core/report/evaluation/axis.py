"""Axes of the score charts, and the few SVG elements that all of them are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flare_core.report.svg import INK

Colour = tuple[int, int, int]

GRID = "#e6e6e6"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart."""

    label: str
    """What and in which unit."""
    low: float
    """First value."""
    high: float
    """Last value."""
    log: bool = False
    """Whether it is logarithmic; then both ends are powers of ten."""

    def share(self, value: float) -> float:
        """Return where a value lies, 0 to 1; values outside go to the nearest end.

        Examples
        --------
        >>> Axis("mL", 1, 100, log=True).share(10.0), Axis("DSC", 0, 1).share(2.0)
        (0.5, 1.0)
        """
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Values to write on the axis."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        return [self.low + (self.high - self.low) * k / 5 for k in range(6)]


def share_axis(label: str, values: Sequence[float]) -> Axis:
    """Return an axis for scores from 0 to 1; its left half is left out where nothing lies there.

    Examples
    --------
    >>> share_axis("DSC", [0.7, 0.9]).low, share_axis("DSC", [0.2, 0.9]).low
    (0.5, 0.0)
    """
    shown = [value for value in values if math.isfinite(value)]
    return Axis(label, 0.5 if shown and min(shown) >= 0.5 else 0.0, 1.0)


def distance_axis(label: str, values: Sequence[float]) -> Axis:
    """Return an axis from 0 to a round number, long enough for 99 % of the finite values.

    One organ that is found at the other end of the body must not squeeze all others together.

    Examples
    --------
    >>> distance_axis("mm", [*[3.0] * 120, 170.0, float("inf")]).high
    3.0
    """
    finite = sorted(value for value in values if math.isfinite(value))
    enough = finite[math.ceil(0.99 * len(finite)) - 1] if finite else 0.0
    return Axis(label, 0.0, _round_up(enough))


def decade_axis(label: str, values: Sequence[float]) -> Axis:
    """Return a logarithmic axis around all positive values.

    Examples
    --------
    >>> axis = decade_axis("mL", [0.0, 3.0, 1500.0])
    >>> axis.low, axis.high
    (1.0, 10000.0)
    """
    positive = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low = math.floor(math.log10(min(positive)))
    return Axis(label, 10.0**low, 10.0 ** max(low + 1, math.ceil(math.log10(max(positive)))), True)


def svg(width: float, height: float, title: str, body: str) -> str:
    """Return an ``<svg>`` element of some size in pixels around ready-made elements."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13" fill="{INK}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def text(x: float, y: float, words: str, colour: str = INK, *, anchor: str = "start") -> str:
    """Return words at a place, escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def line(ends: Sequence[float], colour: str, *, width: float = 1.0, dashes: str = "") -> str:
    """Return a straight line; `ends` is x, y of both."""
    x1, y1, x2, y2 = ends
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def tick_text(value: float) -> str:
    """Write a value beside an axis."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:g}"


def short(value: float) -> str:
    """Write a value with three decimals, or one where it is large.

    Examples
    --------
    >>> short(0.93215), short(17.26)
    ('0.932', '17.3')
    """
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def hex_colour(colour: Colour) -> str:
    """Write a colour as SVG wants it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _round_up(value: float) -> float:
    """Return the next round number that is not below `value`; five steps divide it well.

    Examples
    --------
    >>> _round_up(17.2), _round_up(0.31), _round_up(0)
    (20.0, 0.4, 1.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return next(round(step * power, 9) for step in steps if round(step * power, 9) >= value)
