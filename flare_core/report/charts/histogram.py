"""Histograms as small drawings, many beside each other on one page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from flare_core.report.charts.axis import Axis, Frame, round_step
from flare_core.report.charts.svg import (
    BAND,
    FAINT,
    INK,
    Colour,
    hex_colour,
    line,
    rectangle,
    svg,
    text,
    tick_text,
)

WIDTH, HEIGHT = 290, 170
LEFT, RIGHT, TOP, BOTTOM = 12, 12, 40, 30
"""Pixels; TOP holds title and remark, BOTTOM the axis."""

LIGHTEST = 225
"""Brightness (0 to 255) above which a bar would be lost on white."""


@dataclass(frozen=True)
class Histogram:
    """How often values occur; bars of equal width."""

    title: str
    """What is counted."""
    start: float
    """Left edge of the first bar."""
    width: float
    """Width of a bar, in `unit`."""
    counts: Sequence[int]
    """Height of each bar."""
    unit: str
    """Unit of the axis, as in ``HU``."""
    colour: Colour = (70, 110, 150)
    """Colour of the bars."""
    remark: str = ""
    """A line under the title, as in "median 123 HU"."""
    middle: float = math.nan
    """Where a line marks the median; NaN for none."""
    band: tuple[float, float] | None = None
    """A range shown behind the bars, such as the usual one."""

    @property
    def stop(self) -> float:
        """Right edge of the last bar."""
        return self.start + self.width * len(self.counts)


def histogram_of(
    title: str, values: Sequence[float], unit: str, bars: int = 24, remark: str = ""
) -> Histogram | None:
    """Return the histogram of some values with round edges; None without any.

    Examples
    --------
    >>> shown = histogram_of("Slices", [71, 97, 113], "", bars=5)
    >>> shown.start, shown.width, shown.counts
    (70.0, 10.0, (1, 0, 1, 0, 1))
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    start, width, count = round_bars(min(known), max(known), bars)
    counts = [0] * count
    for value in known:
        counts[min(count - 1, max(0, math.floor((value - start) / width + 1e-9)))] += 1
    middle = statistics.median(known)
    return Histogram(title, start, width, tuple(counts), unit, remark=remark, middle=middle)


def round_bars(low: float, high: float, bars: int) -> tuple[float, float, int]:
    """Return start, width (1, 2 or 5 times a power of ten) and number of bars for a range.

    Examples
    --------
    >>> round_bars(-80, 247, 40)
    (-80.0, 10.0, 33)
    >>> round_bars(3.0, 3.0, 20)
    (3.0, 1.0, 1)
    """
    if high <= low:
        return float(math.floor(low)), 1.0, 1
    width = round_step((high - low) / bars)
    start = math.floor(low / width + 1e-9) * width
    return start, width, max(1, math.floor((high - start) / width + 1e-9) + 1)


def histogram_svg(histogram: Histogram) -> str:
    """Draw a histogram as an ``<svg>`` element."""
    axis = Axis(histogram.unit, histogram.start, histogram.stop)
    frame = Frame(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    label = f"{histogram.title}: {axis.low:g} to {axis.high:g} {axis.label}".strip()
    parts = [
        text((LEFT, 15), histogram.title, bold=True),
        text((LEFT, 30), histogram.remark, FAINT, px=12),
    ]
    if histogram.band is not None:
        left, right = (frame.x(axis, value) for value in histogram.band)
        parts.append(rectangle((left, TOP), (right - left, frame.bottom - TOP), BAND))
    parts.append(_bars(histogram, frame, axis))
    if axis.holds(histogram.middle):  # not if it is NaN
        x = frame.x(axis, histogram.middle)
        parts.append(line((x, TOP - 4), (x, frame.bottom), dashes="3 2"))
    parts.append(_floor(histogram, frame, axis))
    return svg((WIDTH, HEIGHT), label, "".join(parts))


def _bars(histogram: Histogram, frame: Frame, axis: Axis) -> str:
    """Draw all bars as one outline: hundreds of rectangles would only make the page heavy."""
    heights = Axis("", 0.0, max([*histogram.counts, 1]))
    steps = [f"M{LEFT} {frame.bottom}"]
    for number, count in enumerate(histogram.counts):
        x = frame.x(axis, histogram.start + (number + 1) * histogram.width)
        steps.append(f"V{frame.y(heights, count):.1f}H{x:.1f}")
    colour = hex_colour(_visible(histogram.colour))
    return (
        f'<path d="{"".join(steps)}V{frame.bottom}Z" fill="{colour}"'
        f' stroke="{INK}" stroke-width="0.5" stroke-opacity="0.6"/>'
    )


def _visible(colour: Colour) -> Colour:
    """Darken a colour that would be lost on a white page.

    Examples
    --------
    >>> _visible((255, 253, 229)), _visible((221, 84, 84))
    ((204, 202, 183), (221, 84, 84))
    """
    red, green, blue = colour
    if 0.3 * red + 0.59 * green + 0.11 * blue <= LIGHTEST:
        return colour
    return int(red * 0.8), int(green * 0.8), int(blue * 0.8)


def _floor(histogram: Histogram, frame: Frame, axis: Axis) -> str:
    """Draw the floor and three numbers: both ends and the edge of a bar between."""
    y = frame.bottom
    middle = histogram.start + histogram.width * (len(histogram.counts) // 2)
    ends = [(axis.low, "start"), (middle, "middle"), (axis.high, "end")]
    parts = [line((frame.left, y), (frame.right, y), FAINT)]
    for value, anchor in ends if len(histogram.counts) > 2 else ends[::2]:
        unit = f" {axis.label}" if axis.label and anchor == "end" else ""
        at = (frame.x(axis, value), y + 16)
        parts.append(text(at, tick_text(value) + unit, FAINT, anchor=anchor, px=12))
    return "".join(parts)
