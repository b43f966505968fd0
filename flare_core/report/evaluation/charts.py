"""How the scores of every structure are distributed, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.report.evaluation.axis import (
    GRID,
    Axis,
    Colour,
    hex_colour,
    line,
    short,
    svg,
    text,
    tick_text,
)
from flare_core.report.svg import FAINT, INK

Numbers = npt.NDArray[np.float64]

WIDTH = 570
NAME_WIDTH = 156
LOST_WIDTH = 80
ROW = 36
AXIS_HEIGHT = 40
VIOLIN = 16.0
"""Half height of a violin at its densest, pixels."""
BOX = 6.0
"""Half height of a box, pixels."""
FEWEST_FOR_VIOLIN = 8
"""With fewer values a density would be invented; the dots say it all."""
FEWEST_FOR_BOX = 4
MOST_DOTS = 250
"""With more values only the outliers are dots."""


@dataclass(frozen=True)
class Series:
    """The values of one structure."""

    name: str
    """For people."""
    colour: Colour
    """Red, green, blue."""
    values: tuple[float, ...]
    """NaN and infinite ones are not drawn."""


def distribution_chart(series: Sequence[Series], axis: Axis, title: str) -> str:
    """Draw a violin, a box and the dots of every structure, one row each.

    The box holds the middle half, the bar is the median, the diamond the mean; whiskers reach to
    the last value within 1.5 box lengths.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    height = ROW * len(series) + AXIS_HEIGHT
    rows = "".join(_row(each, axis, ROW * (k + 0.5)) for k, each in enumerate(series))
    return svg(WIDTH, height, title, _vertical_grid(axis, height - AXIS_HEIGHT) + rows)


def density(values: Numbers, at: Numbers) -> Numbers:
    """Return a smooth density (M,) of values (N,) at positions (M,), 1 at its highest.

    A Gaussian kernel; its width is Silverman's rule of thumb (1986).
    """
    q1, q3 = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    spread = min(float(np.std(values)), (q3 - q1) / 1.349) or float(np.std(values)) or 1e-3
    width = 0.9 * spread * len(values) ** -0.2
    heights = np.exp(-0.5 * ((at[:, None] - values[None, :]) / width) ** 2).sum(axis=1)
    return heights / heights.max()


def _row(series: Series, axis: Axis, y: float) -> str:
    values = np.array([value for value in series.values if math.isfinite(value)])
    name = text(NAME_WIDTH - 12, y + 4, series.name, anchor="end")
    lost = len(series.values) - len(values)
    absent = text(WIDTH - LOST_WIDTH + 12, y + 4, f"{lost} not drawn", FAINT) if lost else ""
    if len(values) == 0:
        return name + absent
    return (
        name
        + (_violin(values, series.colour, axis, y) if len(values) >= FEWEST_FOR_VIOLIN else "")
        + (_box(values, axis, y) if len(values) >= FEWEST_FOR_BOX else "")
        + _dots(values, series.colour, axis, y)
        + _diamond(_x(axis, float(values.mean())), y)
        + absent
    )


def _violin(values: Numbers, colour: Colour, axis: Axis, y: float) -> str:
    low, high = max(values.min(), axis.low), min(values.max(), axis.high)
    if low >= high:
        return ""
    at = np.linspace(low, high, 60)
    heights = VIOLIN * density(values, at)
    upper = [f"{_x(axis, v):.1f},{y - h:.1f}" for v, h in zip(at, heights, strict=True)]
    lower = [f"{_x(axis, v):.1f},{y + h:.1f}" for v, h in zip(at, heights, strict=True)]
    points = " ".join([*upper, *reversed(lower)])
    return (
        f'<polygon points="{points}" fill="{hex_colour(colour)}" fill-opacity="0.35" '
        f'stroke="{FAINT}" stroke-width="0.5"/>'
    )


def _box(values: Numbers, axis: Axis, y: float) -> str:
    q1, middle, q3 = np.quantile(values, (0.25, 0.5, 0.75))
    reach = 1.5 * (q3 - q1)
    low = values[values >= q1 - reach].min()
    high = values[values <= q3 + reach].max()
    left, bar, right = (_x(axis, float(each)) for each in (q1, middle, q3))
    return (
        line([_x(axis, float(low)), y, left, y], INK)
        + line([right, y, _x(axis, float(high)), y], INK)
        + f'<rect x="{left:.1f}" y="{y - BOX}" width="{max(0.5, right - left):.1f}" '
        f'height="{2 * BOX}" fill="#fff" fill-opacity="0.75" stroke="{INK}"/>'
        + line([bar, y - BOX, bar, y + BOX], INK, width=2.5)
    )


def _dots(values: Numbers, colour: Colour, axis: Axis, y: float) -> str:
    """Draw the values, moved up and down a little so that equal ones are seen to be many."""
    shown = values
    if len(values) > MOST_DOTS:
        q1, q3 = np.quantile(values, (0.25, 0.75))
        shown = values[(values < q1 - 1.5 * (q3 - q1)) | (values > q3 + 1.5 * (q3 - q1))]
    return "".join(_dot(float(v), colour, axis, y + k * 5 % 13 - 6) for k, v in enumerate(shown))


def _dot(value: float, colour: Colour, axis: Axis, y: float) -> str:
    fill = hex_colour(colour) if axis.low <= value <= axis.high else "none"
    return (
        f'<circle cx="{_x(axis, value):.1f}" cy="{y:.1f}" r="2.4" fill="{fill}" stroke="{INK}" '
        f'stroke-width="0.6" fill-opacity="0.8"><title>{short(value)}</title></circle>'
    )


def _diamond(x: float, y: float) -> str:
    return (
        f'<path d="M{x - 5:.1f} {y} L{x:.1f} {y - 5} L{x + 5:.1f} {y} L{x:.1f} {y + 5} Z" '
        f'fill="#fff" stroke="{INK}" stroke-width="1.4"/>'
    )


def _vertical_grid(axis: Axis, height: float) -> str:
    middle = (NAME_WIDTH + WIDTH - LOST_WIDTH) / 2
    parts = [text(middle, height + 34, axis.label, colour=FAINT, anchor="middle")]
    for tick in axis.ticks:
        x = _x(axis, tick)
        parts.append(line([x, 0, x, height], GRID))
        parts.append(text(x, height + 16, tick_text(tick), colour=FAINT, anchor="middle"))
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return NAME_WIDTH + axis.share(value) * (WIDTH - NAME_WIDTH - LOST_WIDTH)
