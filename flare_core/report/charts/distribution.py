"""How values are distributed: violins, boxes and dots, lying in rows or upright."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flare_core.report.charts.axis import Axis, Frame, round_axis
from flare_core.report.charts.rows import Rows
from flare_core.report.charts.svg import (
    EDGE,
    FAINT,
    FILL,
    INK,
    MARK,
    Colour,
    Place,
    circle,
    hex_colour,
    line,
    names_width,
    polygon,
    rectangle,
    score_text,
    svg,
    text,
)

Numbers = npt.NDArray[np.float64]
ToPixel = Callable[[float], float]

WIDTH = 570
NAME_WIDTH = 156
LOST_WIDTH = 100
VIOLIN = 16.0
"""Half height of a lying violin at its densest, pixels."""
FEWEST_FOR_VIOLIN = 8
"""With fewer different values a density would be invented; box and dots say it all."""
FEWEST_FOR_BOX = 4
MOST_DOTS = 250
"""With more values only the outliers are dots."""
REACH = 1.5
"""Values further than so many box lengths from the box are outliers (Tukey 1977)."""
MIDDLE_95 = (0.025, 0.25, 0.5, 0.75, 0.975)


@dataclass(frozen=True)
class Group:
    """Values that one violin, box or row of dots stands for."""

    name: str
    """For people."""
    values: Sequence[float]
    """NaN and infinite ones are not drawn."""
    mark: float = math.nan
    """A dot: the value on all cases, say; NaN for none."""
    colour: Colour = (156, 195, 213)
    """Red, green, blue of violin and dots."""

    @property
    def known(self) -> Numbers:
        """The values that can be drawn (N,)."""
        return np.array([value for value in self.values if math.isfinite(value)])


class FiveNumbers(NamedTuple):
    """The five numbers that a box shows."""

    low: float
    """Where its line begins."""
    first: float
    """Lower quartile."""
    middle: float
    """Median."""
    third: float
    """Upper quartile."""
    high: float
    """Where its line ends."""

    @classmethod
    def of_all(cls, values: Numbers) -> FiveNumbers:
        """Return the box whose line holds all values (N,) but the outliers."""
        first, middle, third = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        inside = values[~outliers(values)]
        return cls(float(inside.min()), first, middle, third, float(inside.max()))

    @classmethod
    def of_middle(cls, values: Numbers) -> FiveNumbers:
        """Return the box whose line holds the middle 95 % of the values (N,)."""
        return cls(*np.quantile(values, MIDDLE_95).tolist())


def outliers(values: Numbers) -> npt.NDArray[np.bool_]:
    """Return which values (N,) lie beyond 1.5 box lengths from the box.

    Examples
    --------
    >>> outliers(np.array([1.0, 2.0, 3.0, 9.0])).tolist()
    [False, False, False, True]
    """
    first, third = np.quantile(values, (0.25, 0.75))
    reach = REACH * (third - first)
    return np.asarray((values < first - reach) | (values > third + reach))


def density(values: Numbers, at: Numbers) -> Numbers:
    """Return how dense values (N,) are at some places (M,), 1 at the densest: a Gaussian kernel.

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


def distribution_chart(groups: Sequence[Group], axis: Axis, title: str) -> str:
    """Draw a violin, a box and the dots of every group, one row each.

    The box holds the middle half, the bar is the median, the diamond the mean; whiskers reach to
    the last value within 1.5 box lengths.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    rows = Rows([each.name for each in groups], axis, 36, WIDTH, NAME_WIDTH, LOST_WIDTH)
    return rows.chart(title, [_row(rows, k, each) for k, each in enumerate(groups)])


def _row(rows: Rows, number: int, group: Group) -> str:
    values, y = group.known, rows.y(number)
    lost = len(group.values) - len(values)
    absent = rows.remark(number, f"{lost} not drawn", FAINT) if lost else ""
    if len(values) == 0:
        return absent
    colour = hex_colour(group.colour)
    middle = _Centreline(y, rows.x, half=6.0)
    return (
        middle.violin(values, rows.axis, VIOLIN, (colour, FAINT, 0.35))
        + (
            middle.box(FiveNumbers.of_all(values), ("#fff", INK, 0.75))
            if len(values) >= FEWEST_FOR_BOX
            else ""
        )
        + _dots(rows, y, values, colour)
        + _diamond(rows.x(float(values.mean())), y)
        + absent
    )


def _dots(rows: Rows, y: float, values: Numbers, colour: str) -> str:
    """Draw the values, moved up and down a little so that equal ones are seen to be many."""
    shown = values[outliers(values)] if len(values) > MOST_DOTS else values
    return "".join(
        circle(
            (rows.x(value), y + k * 5 % 13 - 6),
            2.4,
            colour if rows.axis.holds(value) else "none",
            edge=INK,
            width=0.6,
            opacity=0.8,
            remark=score_text(value),
        )
        for k, value in enumerate(shown.tolist())
    )


def _diamond(x: float, y: float) -> str:
    corners = [(x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5)]
    path = " L".join(f"{px:.1f} {py:.1f}" for px, py in corners)
    return f'<path d="M{path} Z" fill="#fff" stroke="{INK}" stroke-width="1.4"/>'


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
    names = [group.name for group in groups]
    axis = _places(unit, len(groups)) if whole else round_axis(unit, *_drawn_range(groups))
    rows = Rows(names, axis, 20, 860, names_width(names), 20)
    return rows.chart(title, [_lying_box(rows, k, each) for k, each in enumerate(groups)])


def _places(unit: str, count: int) -> Axis:
    marks = range(1, count + 1, max(1, count // 20))
    return Axis(unit, 0.5, count + 0.5, marks=tuple(map(float, marks)))


def _drawn_range(groups: Sequence[Group]) -> tuple[float, float]:
    """Return the smallest and the largest number that lying boxes show."""
    shown = [group.mark for group in groups if math.isfinite(group.mark)]
    for group in groups:
        if group.known.size:
            box = FiveNumbers.of_middle(group.known)
            shown += [box.low, box.high]
    return (min(shown), max(shown)) if shown else (0.0, 1.0)


def _lying_box(rows: Rows, number: int, group: Group) -> str:
    y, parts = rows.y(number), []
    if group.known.size:
        middle = _Centreline(y, rows.x, half=6.0)
        parts.append(middle.box(FiveNumbers.of_middle(group.known), (FILL, EDGE, 1.0)))
    if math.isfinite(group.mark):
        parts.append(circle((rows.x(group.mark), y), 4, MARK))
    return "".join(parts)


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
    left, step = 64, 104
    known = [v for group in groups for v in group.known]
    axis = round_axis(unit, min([*known, top - 0.1]), top)
    frame = Frame(left, 14, left + step * len(groups) + 12, 300)
    parts = [frame.up(axis)]
    for number, group in enumerate(groups):
        x = left + step * (number + 0.5)
        parts.append(_upright(group, x, 0.4 * step, (frame, axis)))
        for k, words in enumerate(group.name.split(" ", 1)):
            parts.append(text((x, frame.bottom + 20 + 16 * k), words, anchor="middle"))
    return svg((frame.right, frame.bottom + 46), title, "".join(parts))


def _upright(group: Group, x: float, reach: float, place: tuple[Frame, Axis]) -> str:
    """Draw one violin around `x`, at most `reach` px to each side."""
    frame, axis = place
    values = group.known
    if not values.size:
        return text((x, 150), "all equal", FAINT, anchor="middle", px=12)
    middle = _Centreline(x, lambda value: frame.y(axis, value), half=9.0, upright=True)
    shape = middle.violin(values, axis, reach, (FILL, EDGE, 1.0))
    return shape + middle.box(FiveNumbers.of_middle(values), ("#fff", INK, 1.0))


@dataclass(frozen=True)
class _Centreline:
    """Where a violin and its box stand; a style is fill, edge and opacity."""

    at: float
    """Its middle line, px."""
    place: ToPixel
    """From a value to pixels along the line."""
    half: float
    """Half the width of the box, px."""
    upright: bool = False
    """Whether values rise instead of going to the right."""

    def _turned(self, along: float, across: float) -> Place:
        return (across, along) if self.upright else (along, across)

    def violin(
        self, values: Numbers, axis: Axis, reach: float, style: tuple[str, str, float]
    ) -> str:
        """Draw the density of values (N,), at its densest `reach` px to each side."""
        low, high = max(values.min(), axis.low), min(values.max(), axis.high)
        if low >= high or len(np.unique(values)) < FEWEST_FOR_VIOLIN:
            return ""
        at = np.linspace(low, high, 60)
        half = (reach * density(values, at)).tolist()
        along = [self.place(value) for value in at.tolist()]
        sides = [
            [self._turned(a, self.at + side * h) for a, h in zip(along, half, strict=True)]
            for side in (1, -1)
        ]
        fill, edge, opacity = style
        return polygon(
            [*sides[0], *reversed(sides[1])], fill, edge=edge, width=0.7, opacity=opacity
        )

    def box(self, box: FiveNumbers, style: tuple[str, str, float]) -> str:
        """Draw whiskers, box and bar."""
        fill, edge, opacity = style
        low, first, middle, third, high = map(self.place, box)
        near, far = self.at - self.half, self.at + self.half
        start, end = min(first, third), max(first, third)
        size = self._turned(max(1.0, end - start), 2 * self.half)
        return (
            line(self._turned(low, self.at), self._turned(first, self.at), edge)
            + line(self._turned(third, self.at), self._turned(high, self.at), edge)
            + rectangle(self._turned(start, near), size, fill, edge=edge, opacity=opacity)
            + line(self._turned(middle, near), self._turned(middle, far), edge, width=2.4)
        )
