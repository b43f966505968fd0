"""Axes: from values to places in a drawing, with round numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flare_core.report.charts.svg import FAINT, GRID, line, text, tick_text


@dataclass(frozen=True)
class Axis:
    """One axis of a chart."""

    label: str
    """What and in which unit."""
    low: float
    """First value."""
    high: float
    """Last value, larger than the first."""
    log: bool = False
    """Whether it is logarithmic; then both ends are powers of ten."""
    marks: tuple[float, ...] = ()
    """Values to write on it; empty: five equal steps, or every power of ten."""

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

    def holds(self, value: float) -> bool:
        """Return whether a value lies on it, so that it is drawn where it is."""
        return self.low <= value <= self.high

    @property
    def ticks(self) -> Sequence[float]:
        """Values to write on the axis."""
        if self.marks:
            return self.marks
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        return [self.low + (self.high - self.low) * k / 5 for k in range(6)]


@dataclass(frozen=True)
class Frame:
    """The rectangle between two axes, in pixels; y grows downwards, values upwards."""

    left: float
    """Where the horizontal axis begins."""
    top: float
    """Where the upright axis ends."""
    right: float
    """Where the horizontal axis ends."""
    bottom: float
    """Where the upright axis begins."""

    def x(self, axis: Axis, value: float) -> float:
        """Return the place of a value along the horizontal axis."""
        return self.left + axis.share(value) * (self.right - self.left)

    def y(self, axis: Axis, value: float) -> float:
        """Return the place of a value along the upright axis."""
        return self.bottom - axis.share(value) * (self.bottom - self.top)

    def across(self, axis: Axis, *, lines: bool = True) -> str:
        """Draw a horizontal axis: upright lines, with numbers and label below the frame."""
        parts = []
        for tick in axis.ticks:
            x = self.x(axis, tick)
            if lines:
                parts.append(line((x, self.top), (x, self.bottom), GRID))
            parts.append(text((x, self.bottom + 16), tick_text(tick), FAINT, anchor="middle"))
        middle = (self.left + self.right) / 2
        if axis.label:
            parts.append(text((middle, self.bottom + 34), axis.label, FAINT, anchor="middle"))
        return "".join(parts)

    def up(self, axis: Axis) -> str:
        """Draw an upright axis: level lines, with numbers and label left of the frame."""
        parts = []
        for tick in axis.ticks:
            y = self.y(axis, tick)
            parts.append(line((self.left, y), (self.right, y), GRID))
            parts.append(text((self.left - 8, y + 4), tick_text(tick), FAINT, anchor="end"))
        if axis.label:
            at = (16, (self.top + self.bottom) / 2)
            parts.append(text(at, axis.label, FAINT, anchor="middle", upwards=True))
        return "".join(parts)


def share_axis(label: str, values: Iterable[float]) -> Axis:
    """Return an axis for scores from 0 to 1; its left half is left out where nothing lies there.

    Examples
    --------
    >>> share_axis("DSC", [0.7, 0.9]).low, share_axis("DSC", [0.2, 0.9]).low
    (0.5, 0.0)
    """
    shown = [value for value in values if math.isfinite(value)]
    return Axis(label, 0.5 if shown and min(shown) >= 0.5 else 0.0, 1.0)


def distance_axis(label: str, values: Iterable[float]) -> Axis:
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


def decade_axis(label: str, values: Iterable[float]) -> Axis:
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


def round_axis(label: str, low: float, high: float, count: int = 5) -> Axis:
    """Return an axis between the round numbers around a range."""
    ticks = ticks_around(low, high, count)
    return Axis(label, ticks[0], ticks[-1], marks=tuple(ticks))


def ticks_around(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers that enclose `low`, the last of them at least `high`.

    Examples
    --------
    >>> ticks_around(0.83, 1.0), ticks_around(3.0, 3.0), ticks_around(0, 3561, 4)
    ([0.8, 0.85, 0.9, 0.95, 1.0], [3.0, 4.0], [0.0, 1000.0, 2000.0, 3000.0, 4000.0])
    """
    if not high > low:
        return [float(math.floor(low)), math.floor(low) + 1.0]
    step = round_step((high - low) / count)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def round_step(least: float) -> float:
    """Return the first of 1, 2 or 5 times a power of ten that is at least `least`, almost.

    Examples
    --------
    >>> round_step(1.7), round_step(0.034), round_step(100.0)
    (2.0, 0.05, 100.0)
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * 0.999)


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
