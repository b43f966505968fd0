"""Histograms as small SVG drawings, many beside each other on one page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flare_core.report.svg import BAND, FAINT, INK

WIDTH, HEIGHT = 290, 170
LEFT, RIGHT, TOP, BOTTOM = 12, 12, 40, 30
"""Pixels; TOP holds title and remark, BOTTOM the axis."""

LIGHTEST = 225
"""Brightness (0 to 255) above which a bar would be lost on white."""

Colour = tuple[int, int, int]


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
    power = 10.0 ** math.floor(math.log10((high - low) / bars))
    width = next(m * power for m in (1, 2, 5, 10) if m * power * bars >= (high - low) * (1 - 1e-9))
    start = math.floor(low / width + 1e-9) * width
    return start, width, max(1, math.floor((high - start) / width + 1e-9) + 1)


def histogram_svg(histogram: Histogram) -> str:
    """Draw a histogram as an ``<svg>`` element."""
    low, high = histogram.start, histogram.stop
    drawn = f"{_band(histogram)}{_bars(histogram)}{_middle(histogram)}{_axis(histogram)}"
    label = f"{histogram.title}: {low:g} to {high:g} {histogram.unit}".strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12" fill="{INK}">'
        f"<title>{escape(label)}</title>"
        f'<text x="{LEFT}" y="15" font-weight="600">{escape(histogram.title)}</text>'
        f'<text x="{LEFT}" y="30" fill="{FAINT}">{escape(histogram.remark)}</text>{drawn}</svg>'
    )


def _bars(histogram: Histogram) -> str:
    """Draw all bars as one outline: hundreds of rectangles would only make the page heavy."""
    highest = max([*histogram.counts, 1])
    floor = HEIGHT - BOTTOM
    steps = [f"M{LEFT} {floor}"]
    for number, count in enumerate(histogram.counts):
        x = _x(histogram.start + (number + 1) * histogram.width, histogram)
        y = floor - (floor - TOP) * count / highest
        steps.append(f"V{y:.1f}H{x:.1f}")
    colour = "#{:02x}{:02x}{:02x}".format(*_visible(histogram.colour))
    return (
        f'<path d="{"".join(steps)}V{floor}Z" fill="{colour}" stroke="{INK}" stroke-width="0.5" '
        'stroke-opacity="0.6"/>'
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


def _band(histogram: Histogram) -> str:
    """Draw the range behind the bars, as far as it is inside."""
    if histogram.band is None:
        return ""
    left, right = (
        _x(min(max(v, histogram.start), histogram.stop), histogram) for v in histogram.band
    )
    return (
        f'<rect x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" '
        f'height="{HEIGHT - BOTTOM - TOP}" fill="{BAND}"/>'
    )


def _middle(histogram: Histogram) -> str:
    if not histogram.start <= histogram.middle <= histogram.stop:  # also if it is NaN
        return ""
    x = _x(histogram.middle, histogram)
    return (
        f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="{INK}" '
        'stroke-dasharray="3 2"/>'
    )


def _axis(histogram: Histogram) -> str:
    """Draw the floor and three numbers."""
    y = HEIGHT - BOTTOM
    line = f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="{FAINT}"/>'
    middle = histogram.start + histogram.width * (len(histogram.counts) // 2)
    ends = ((histogram.start, "start"), (middle, "middle"), (histogram.stop, "end"))
    texts = [
        f'<text x="{_x(value, histogram):.1f}" y="{y + 16}" text-anchor="{anchor}" '
        f'fill="{FAINT}">{value:g}{f" {escape(histogram.unit)}" if anchor == "end" else ""}</text>'
        for value, anchor in ends
        if anchor != "middle" or len(histogram.counts) > 2
    ]
    return line + "".join(texts)


def _x(value: float, histogram: Histogram) -> float:
    share = (value - histogram.start) / (histogram.stop - histogram.start)
    return LEFT + share * (WIDTH - LEFT - RIGHT)
