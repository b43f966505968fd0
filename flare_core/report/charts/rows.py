"""Charts of rows: a name, what is drawn over one common axis, a remark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flare_core.anatomy.organs import Organ
from flare_core.report.charts.axis import Axis, Frame, decade_axis
from flare_core.report.charts.svg import (
    ALERT,
    BAND,
    EDGE,
    FAINT,
    INK,
    circle,
    hex_colour,
    line,
    millilitres,
    rectangle,
    shortened,
    svg,
    text,
)

FLOOR = 40
"""Room below the rows for the axis' numbers and label, px."""
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Rows:
    """Where the rows of a chart lie."""

    names: Sequence[str]
    """From top to bottom; long ones are shortened."""
    axis: Axis
    """Under all of them."""
    height: int
    """Of a row, px."""
    width: int
    """Of the chart, px."""
    left: float
    """Room for the names, px."""
    right: float
    """Room for the remarks, px."""

    @property
    def frame(self) -> Frame:
        """Where values lie."""
        bottom = self.height * len(self.names)
        return Frame(self.left, 0.0, self.width - self.right, bottom)

    def x(self, value: float) -> float:
        """Return the place of a value."""
        return self.frame.x(self.axis, value)

    def y(self, number: int) -> float:
        """Return the middle of a row."""
        return self.height * (number + 0.5)

    def remark(self, number: int, words: str, colour: str = INK) -> str:
        """Write words right of a row."""
        return text((self.width - self.right + 14, self.y(number) + 4), words, colour)

    def chart(self, title: str, drawings: Sequence[str]) -> str:
        """Return the ``<svg>`` of the rows, each with its drawing."""
        names = [
            text((self.left - 10, self.y(k) + 4), shortened(name), anchor="end")
            for k, name in enumerate(self.names)
        ]
        size = (self.width, self.frame.bottom + FLOOR)
        return svg(size, title, "".join([self.frame.across(self.axis), *names, *drawings]))


def volume_chart(
    volumes_ml: Mapping[str, Sequence[float]], organs: Sequence[Organ], flagged: Sequence[str] = ()
) -> str:
    """Draw organ volumes on a logarithmic axis, over the usual range of adults where known.

    Parameters
    ----------
    volumes_ml : mapping
        Organ key -> volumes, mL: one for a case, many for a cohort. Zero, NaN and missing mean
        that the organ was not found.
    organs : sequence of Organ
        One row each, in this order.
    flagged : sequence of str
        Keys of organs whose volume is called out of range. The caller judges: a volume below the
        range means nothing where the scan cuts the organ.

    Returns
    -------
    str
        An ``<svg>`` element. Logarithmic, because a liver has 300 times an adrenal gland's volume.
    """
    found = [_positive(volumes_ml.get(each.key, ())) for each in organs]
    limits = [limit for each in organs for limit in each.volume_range_ml or ()]
    axis = decade_axis("mL", [*(v for values in found for v in values), *limits])
    rows = Rows([each.name for each in organs], axis, 26, 800, 160, 180)
    drawings = [
        _usual(rows, k, each)
        + _volumes(rows, k, found[k], hex_colour(each.colour))
        + _figures(rows, k, found[k], each.key in flagged)
        for k, each in enumerate(organs)
    ]
    return rows.chart("Organ volumes, mL, and the usual range of adults", drawings)


def _usual(rows: Rows, number: int, organ: Organ) -> str:
    """Draw the usual range of adults."""
    if organ.volume_range_ml is None:
        return ""
    left, right = map(rows.x, organ.volume_range_ml)
    return rectangle((left, rows.y(number) - 7), (right - left, 14), BAND, round_px=3)


def _volumes(rows: Rows, number: int, values: Sequence[float], colour: str) -> str:
    """Draw a dot for each volume; many let each other show through."""
    opacity = 1.0 if len(values) == 1 else 0.6
    return "".join(
        circle((rows.x(value), rows.y(number)), 5, colour, edge=INK, width=0.8, opacity=opacity,
               remark=f"{value:.4g} mL")
        for value in values
    )  # fmt: skip


def _figures(rows: Rows, number: int, values: Sequence[float], flagged: bool) -> str:
    """Write the volume, or the median of many."""
    if not values:
        words = "not found"
    elif len(values) == 1:
        words = millilitres(values[0])
    else:
        words = f"median {millilitres(statistics.median(values))}, n = {len(values)}"
    colour = ALERT if flagged else INK if values else FAINT
    return rows.remark(number, f"{words}{', outside range' if flagged else ''}", colour)


def _positive(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value) and value > 0]


@dataclass(frozen=True)
class Pair:
    """One organ, old against new."""

    name: str
    """Of the organ, for people."""
    old: float | None
    """0 to 1; None without an old model."""
    new: float
    """0 to 1."""
    bad: bool = False
    """Whether the change speaks against the new model."""
    remark: str = ""
    """Shown where a mouse rests on it."""


def pair_chart(title: str, pairs: Sequence[Pair]) -> str:
    """Draw old (ring) and new (dot) of each organ on an axis from 0 to 1, joined by a line.

    Where the new one is worse beyond the rule, line and dot have the colour of alerts.
    """
    rows = _narrow([each.name for each in pairs], 1.0)
    return rows.chart(title, [_pair(rows, k, each) for k, each in enumerate(pairs)])


def _pair(rows: Rows, number: int, pair: Pair) -> str:
    colour = ALERT if pair.bad else EDGE
    y, new = rows.y(number), rows.x(pair.new)
    parts = []
    words = f"{pair.new:.3f}"
    if pair.old is not None:
        old = rows.x(pair.old)
        words = f"{pair.old:.3f} → {words}"
        parts.append(line((old, y), (new, y), colour, width=2))
        parts.append(circle((old, y), 4.5, "#fff", edge=INK, width=1.3))
    parts.append(circle((new, y), 4.5, colour, remark=pair.remark or pair.name))
    parts.append(rows.remark(number, words, ALERT if pair.bad else INK))
    return "".join(parts)


@dataclass(frozen=True)
class Strip:
    """One organ's evidence over all scans."""

    name: str
    """Of the organ, for people."""
    taken: Sequence[float]
    """Values of the scans whose label was accepted."""
    refused: Sequence[float]
    """Values of the others."""


def strip_chart(title: str, strips: Sequence[Strip], most: float = 1.0) -> str:
    """Draw every scan's value of each organ, 0 to `most`: above accepted, below refused."""
    rows = _narrow([each.name for each in strips], most)
    return rows.chart(title, [_strip(rows, k, each) for k, each in enumerate(strips)])


def _strip(rows: Rows, number: int, strip: Strip) -> str:
    """Draw the values as short upright lines, accepted ones above the middle."""
    y = rows.y(number)
    parts = [rows.remark(number, f"{len(strip.taken)} / {len(strip.refused)}")]
    for values, colour, top in ((strip.taken, EDGE, y - 9), (strip.refused, ALERT, y + 1)):
        xs = [rows.x(value) for value in values]
        parts += [line((x, top), (x, top + 8), colour, width=2, opacity=0.55) for x in xs]
    return "".join(parts)


def _narrow(names: Sequence[str], most: float) -> Rows:
    """Return rows for charts of which two stand beside each other, from 0 to `most`."""
    axis = Axis("", 0.0, most, marks=tuple(most * quarter for quarter in QUARTERS))
    return Rows(names, axis, 24, 620, 150, 125)
