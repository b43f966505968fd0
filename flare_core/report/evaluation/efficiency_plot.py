"""Use of GPU memory, CPU and RAM over time, as SVG text: one panel each, one time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 860
LEFT = 74
RIGHT = 20
PANEL = 150
GAP = 44
TOP = 88
BOTTOM = 44
"""Pixels; GAP holds the panel's title, above its curves."""
INK, FAINT, LINE = "#222", "#767676", "#e3e3e3"
MOST_POINTS = WIDTH
"""A curve has at most two points (lowest, highest) for each pixel column: peaks stay."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    name: str
    """What the legend calls it."""
    values: Sequence[float]
    """One for each sample; NaN where it is not known."""
    colour: str
    """CSS colour."""


@dataclass(frozen=True)
class Panel:
    """Curves that share a scale, which begins at 0."""

    title: str
    """With the unit, as in "GPU memory, MiB"."""
    curves: Sequence[Curve]
    """Drawn in this order."""
    remark: str = ""
    """Stands at the right of the title: maximum and area, say."""
    ceiling: float = 0.0
    """The scale reaches at least this far."""
    unknown: str = "not known on this system"
    """Stands in a panel without a known value."""


def efficiency_plot(
    title: str, subtitle: str, times_s: Sequence[float], panels: Sequence[Panel]
) -> str:
    """Return an ``<svg>`` element.

    Parameters
    ----------
    title, subtitle : str
        Case; command and outcome.
    times_s : sequence of float
        Time of each sample, s, rising.
    panels : sequence of Panel
        From top to bottom.
    """
    height = TOP + len(panels) * (PANEL + GAP) + BOTTOM - GAP
    end_s = max(times_s[-1], 0.1)
    parts = [
        f'<text x="16" y="26" font-size="17" font-weight="600">{escape(title)}</text>'
        f'<text x="16" y="46" fill="{FAINT}">{escape(_shortened(subtitle))}</text>'
    ]
    for number, panel in enumerate(panels):
        y = TOP + number * (PANEL + GAP)
        parts.append(_panel(panel, times_s, end_s, y))
    parts.append(_time_axis(end_s, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13" fill="{INK}">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>"
    )


def round_ticks(largest: float, count: int) -> list[float]:
    """Return round numbers from 0 to `largest` or a little above, about `count` of them.

    Examples
    --------
    >>> round_ticks(8.6, 5), round_ticks(0.0, 5), round_ticks(3561.0, 4)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 1.0], [0.0, 1000.0, 2000.0, 3000.0, 4000.0])
    """
    if not largest > 0:
        return [0.0, 1.0]
    rough = largest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(largest / step - 1e-9) + 1)]


def _panel(panel: Panel, times_s: Sequence[float], end_s: float, y: int) -> str:
    """Draw one panel whose curves begin at `y` (its title stands above)."""
    known = [v for curve in panel.curves for v in curve.values if math.isfinite(v)]
    ticks = round_ticks(max([panel.ceiling, *known]), 4)
    parts = [_title(panel, y - 10)]
    for tick in ticks:
        at = y + PANEL * (1 - tick / ticks[-1])
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{LINE}"/>'
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="{FAINT}" '
            f'font-size="12">{tick:,.6g}</text>'
        )
    for curve in panel.curves:
        parts.append(_curve(curve, times_s, end_s, (y, ticks[-1])))
    if not known:
        parts.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{y + PANEL / 2}" text-anchor="middle" '
            f'fill="{FAINT}">{escape(panel.unknown)}</text>'
        )
    return "".join(parts)


def _title(panel: Panel, y: int) -> str:
    """Write title, legend (if there is more than one curve) and remark."""
    words = f'<tspan font-weight="600">{escape(panel.title)}</tspan>'
    if len(panel.curves) > 1:
        words += "".join(
            f'<tspan dx="14" fill="{curve.colour}">&#9632; {escape(curve.name)}</tspan>'
            for curve in panel.curves
        )
    return (
        f'<text x="{LEFT}" y="{y}">{words}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end" fill="{FAINT}">'
        f"{escape(panel.remark)}</text>"
    )


def _curve(curve: Curve, times_s: Sequence[float], end_s: float, scale: tuple[float, float]) -> str:
    """Draw a line and the area below it; `scale` is the panel's top, px, and its largest value."""
    top, largest = scale
    points = [
        (LEFT + (WIDTH - LEFT - RIGHT) * t / end_s, top + PANEL * (1 - v / largest))
        for t, v in thinned(times_s, curve.values)
    ]
    if not points:
        return ""
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    floor = top + PANEL
    area = f"{points[0][0]:.1f},{floor} {line} {points[-1][0]:.1f},{floor}"
    return (
        f'<polygon points="{area}" fill="{curve.colour}" fill-opacity="0.15"/>'
        f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.6" '
        'stroke-linejoin="round"/>'
    )


def thinned(
    times_s: Sequence[float], values: Sequence[float], most: int = MOST_POINTS
) -> list[tuple[float, float]]:
    """Return known points; of many, only the lowest and the highest of each stretch of time.

    Examples
    --------
    >>> thinned([0.1, 0.2, 0.3], [1.0, float("nan"), 3.0])
    [(0.1, 1.0), (0.3, 3.0)]
    """
    known = [(t, v) for t, v in zip(times_s, values, strict=True) if math.isfinite(v)]
    if len(known) <= 2 * most:
        return known
    length = math.ceil(len(known) / most)
    kept = []
    for start in range(0, len(known), length):
        stretch = known[start : start + length]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _time_axis(end_s: float, height: int) -> str:
    y = height - BOTTOM + 22
    ticks = [tick for tick in round_ticks(end_s, 8) if tick <= end_s]
    marks = "".join(
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) * tick / end_s:.1f}" y="{y}" fill="{FAINT}" '
        f'text-anchor="middle" font-size="12">{tick:,.6g}</text>'
        for tick in ticks
    )
    return marks + f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" fill="{FAINT}">s</text>'


def _shortened(text: str, most: int = 118) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
