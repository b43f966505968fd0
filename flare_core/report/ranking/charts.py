"""Distributions on the ranking page: violins with boxes, and lying boxes, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from flare_core.report.svg import FAINT, INK

Numbers = npt.NDArray[np.float64]

GRID = "#e4e6e8"
FILL, EDGE = "#9cc3d5", "#1c6e8c"
MARK = "#b1560f"
BOX = (0.025, 0.25, 0.5, 0.75, 0.975)
"""Ends of the line, ends of the box and the bar in it."""
FEW = 8
"""So many different values or fewer are drawn as a box without the shape around it."""


@dataclass(frozen=True)
class Group:
    """Values that one box stands for."""

    name: str
    """Under or beside it."""
    values: Sequence[float]
    """NaN is left out."""
    mark: float = math.nan
    """A dot: the value on all cases, say; NaN for none."""


def violin_chart(title: str, groups: Sequence[Group], *, top: float, unit: str) -> str:
    """Draw a violin (how often which value) with a box for each group, upright.

    Parameters
    ----------
    title : str
        What is shown, for people who cannot see it.
    groups : sequence of Group
        From left to right.
    top : float
        Upper end of the axis; the lower one is below the smallest value.
    unit : str
        Beside the axis.
    """
    left, step, height, floor = 64, 104, 300, 46
    known = [v for group in groups for v in group.values if math.isfinite(v)]
    ticks = ticks_around(min([*known, top - 0.1]), top)
    low = ticks[0]
    width = left + step * len(groups) + 12

    def y(value: float) -> float:
        return 14 + (height - 14) * (top - value) / (top - low)

    parts = [_level(y(tick), tick, left, width) for tick in ticks]
    parts.append(
        f'<text transform="translate(16 {height / 2:.0f}) rotate(-90)" text-anchor="middle" '
        f'fill="{FAINT}">{escape(unit)}</text>'
    )
    for number, group in enumerate(groups):
        x = left + step * (number + 0.5)
        parts.append(_violin(group, x, 0.4 * step, y))
        parts.append(_label(group.name, x, height + 20))
    return svg(title, width, height + floor, "".join(parts))


def box_chart(title: str, groups: Sequence[Group], *, unit: str, whole: bool = False) -> str:
    """Draw a lying box for each group: median, quartiles, 2.5 and 97.5 percentiles, mark.

    Parameters
    ----------
    title : str
        What is shown.
    groups : sequence of Group
        From top to bottom.
    unit : str
        Below the axis.
    whole : bool
        Whether the axis counts in whole numbers from 1, as places do.
    """
    name_width, row, width = _name_width(groups), 20, 860
    if whole:
        ticks = [float(t) for t in range(1, len(groups) + 1, max(1, len(groups) // 20))]
        low, high = 0.5, len(groups) + 0.5
    else:
        ticks = ticks_around(*_drawn_range(groups))
        low, high = ticks[0], ticks[-1]
    bottom = 10 + row * len(groups)

    def x(value: float) -> float:
        return name_width + (width - name_width - 20) * (value - low) / ((high - low) or 1.0)

    parts = [
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="6" y2="{bottom}" stroke="{GRID}"/>'
        f'<text x="{x(t):.1f}" y="{bottom + 16}" text-anchor="middle" fill="{FAINT}">{t:g}</text>'
        for t in ticks
    ]
    parts.append(
        f'<text x="{name_width - 10}" y="{bottom + 16}" text-anchor="end" fill="{FAINT}">'
        f"{escape(unit)}</text>"
    )
    for number, group in enumerate(groups):
        parts.append(_lying_box(group, 10 + row * (number + 0.5), name_width, x))
    return svg(title, width, bottom + 26, "".join(parts))


def density(values: Numbers, at: Numbers) -> Numbers:
    """Return how dense the values are at some places, 1 at the densest: a Gaussian kernel.

    Its width is Silverman's (1986), from the smaller of standard deviation and quartile range.

    Examples
    --------
    >>> density(np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, 40.0])).round(3).tolist()
    [1.0, 0.0]
    """
    quartiles = np.quantile(values, (0.25, 0.75))
    spread = min(s for s in (values.std(), np.ptp(quartiles) / 1.34, np.inf) if s > 0)
    width = 0.9 * spread * len(values) ** -0.2 if np.isfinite(spread) else 1.0
    heights = np.exp(-0.5 * ((at[:, None] - values[None]) / width) ** 2).sum(axis=1)
    return np.asarray(heights / heights.max())


def svg(title: str, width: float, height: float, content: str) -> str:
    """Wrap drawn content into an ``<svg>`` element on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" font-family="sans-serif" '
        f'font-size="13" fill="{INK}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{content}</svg>'
    )


def shortened(text: str, most: int = 18) -> str:
    """Return a name that fits.

    Examples
    --------
    >>> shortened("a-team-with-a-long-name", 10)
    'a-team-w..'
    """
    return text if len(text) <= most else text[: most - 2] + ".."


def ticks_around(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that enclose `low`, the last of them at least `high`.

    Examples
    --------
    >>> ticks_around(0.83, 1.0), ticks_around(3.0, 3.0)
    ([0.8, 0.85, 0.9, 0.95, 1.0], [3.0, 4.0])
    """
    if not high > low:
        return [float(math.floor(low)), math.floor(low) + 1.0]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _drawn_range(groups: Sequence[Group]) -> tuple[float, float]:
    """Return the smallest and the largest number that lying boxes show."""
    shown = [group.mark for group in groups if math.isfinite(group.mark)]
    for group in groups:
        values = [v for v in group.values if math.isfinite(v)]
        shown += np.quantile(values, (BOX[0], BOX[-1])).tolist() if values else []
    return (min(shown), max(shown)) if shown else (0.0, 1.0)


def _violin(group: Group, x: float, reach: float, y: Callable[[float], float]) -> str:
    """Draw one violin around `x`, at most `reach` px to each side."""
    values = np.array([v for v in group.values if math.isfinite(v)])
    if not values.size:
        return (
            f'<text x="{x:.1f}" y="150" text-anchor="middle" fill="{FAINT}" font-size="12">'
            "all equal</text>"
        )
    shape = ""
    if len(np.unique(values)) > FEW:
        at = np.linspace(values.min(), values.max(), 60)
        half = reach * density(values, at)
        right = [(x + h, y(v)) for h, v in zip(half, at, strict=True)]
        outline = points([*right, *((2 * x - px, py) for px, py in reversed(right))])
        shape = f'<polygon points="{outline}" fill="{FILL}" stroke="{EDGE}"/>'
    low, first, middle, third, high = (y(q) for q in np.quantile(values, BOX))
    return (
        f'{shape}<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{INK}"/>'
        f'<rect x="{x - 9:.1f}" y="{third:.1f}" width="18" height="{max(1.0, first - third):.1f}" '
        f'fill="#fff" stroke="{INK}"/>'
        f'<line x1="{x - 9:.1f}" x2="{x + 9:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
        f'stroke="{INK}" stroke-width="2.4"/>'
    )


def _lying_box(group: Group, y: float, left: float, x: Callable[[float], float]) -> str:
    parts = [
        f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">'
        f"{escape(shortened(group.name))}</text>"
    ]
    values = np.array([v for v in group.values if math.isfinite(v)])
    if values.size:
        low, first, middle, third, high = (x(q) for q in np.quantile(values, BOX))
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{EDGE}"/>'
            f'<rect x="{first:.1f}" y="{y - 6:.1f}" width="{max(1.0, third - first):.1f}" '
            f'height="12" fill="{FILL}" stroke="{EDGE}"/>'
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}" '
            f'stroke="{EDGE}" stroke-width="2.4"/>'
        )
    if math.isfinite(group.mark):
        parts.append(f'<circle cx="{x(group.mark):.1f}" cy="{y:.1f}" r="4" fill="{MARK}"/>')
    return "".join(parts)


def _level(y: float, tick: float, left: float, right: float) -> str:
    return (
        f'<line x1="{left}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{FAINT}">{tick:g}</text>'
    )


def _label(text: str, x: float, y: float) -> str:
    """Write a name below its violin, on two lines if it has two words."""
    first, _, rest = text.partition(" ")
    return (
        f'<text text-anchor="middle"><tspan x="{x:.1f}" y="{y}">{escape(first)}</tspan>'
        f'<tspan x="{x:.1f}" y="{y + 16}">{escape(rest)}</tspan></text>'
    )


def _name_width(groups: Sequence[Group]) -> float:
    """Return the room that names need, px; about 7.4 a letter."""
    return 20 + 7.4 * max(len(shortened(group.name)) for group in groups)


def points(places: Sequence[tuple[float, float]]) -> str:
    """Write places the way polygons want them.

    Examples
    --------
    >>> points([(1, 2), (3.25, 4)])
    '1.0,2.0 3.2,4.0'
    """
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
