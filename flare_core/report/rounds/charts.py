"""Charts of the self-training page: old against new, evidence of every scan, training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from flare_core.report.svg import ALERT, FAINT, INK

WIDTH = 620
NAME_WIDTH = 150
ROW = 24
AXIS_HEIGHT = 34
GRID = "#e6e6e6"
GOOD = "#1b6f8c"
"""Taken, or better. Told from `ALERT` by people who see no red or green."""
PLOT_HEIGHT = 220
MARGIN = 44
COLOURS = ("#1b6f8c", "#a84300", "#5b8c2a", "#7b5ea7", "#b08d00", "#4a4a4a", "#c2588f", "#2aa198")
"""Of lines in one plot; from the ninth on they repeat, dashed."""
TICKS = 5


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


@dataclass(frozen=True)
class Strip:
    """One organ's evidence over all scans."""

    name: str
    """Of the organ, for people."""
    taken: Sequence[float]
    """Values of the scans whose label was accepted."""
    refused: Sequence[float]
    """Values of the others."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    """What it is."""
    points: Sequence[tuple[float, float | None]]
    """(step, value), None where it is not defined."""


def pair_chart(title: str, pairs: Sequence[Pair]) -> str:
    """Draw old (ring) and new (dot) of each organ on an axis from 0 to 1, joined by a line.

    Where the new one is worse beyond the rule, line and dot have the colour of alerts.
    """
    rows = [_pair(each, ROW * number) for number, each in enumerate(pairs)]
    return _framed(title, len(pairs), rows, 1.0)


def strip_chart(title: str, strips: Sequence[Strip], most: float = 1.0) -> str:
    """Draw every scan's value of each organ: above the line accepted, below it refused."""
    rows = [_strip(each, ROW * number, most) for number, each in enumerate(strips)]
    return _framed(title, len(strips), rows, most)


def line_chart(title: str, lines: Sequence[Line], *, least: float | None = None) -> str:
    """Draw curves over steps, with a legend; None points break a curve.

    Parameters
    ----------
    least : float, optional
        Where the value axis begins; the smallest value if None.
    """
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    if not known:
        return ""
    x_most = max(x for x, _ in known) or 1.0
    low = min(y for _, y in known) if least is None else least
    high = max(y for _, y in known)
    high = high if high > low else low + 1.0
    plot = _Plot(x_most, low, high)
    drawn = "".join(_curve(line, number, plot) for number, line in enumerate(lines))
    keys = "".join(_key(line.name, number) for number, line in enumerate(lines))
    height = PLOT_HEIGHT + 2 * MARGIN + 18 * math.ceil(len(lines) / 4)
    return _svg(title, height, plot.axes() + drawn + keys)


@dataclass(frozen=True)
class _Plot:
    """From steps and values to pixels."""

    x_most: float
    """Last step."""
    low: float
    """Value at the bottom."""
    high: float
    """Value at the top."""

    def x(self, step: float) -> float:
        """Return the pixel of a step."""
        return MARGIN + step / self.x_most * (WIDTH - MARGIN - 14)

    def y(self, value: float) -> float:
        """Return the pixel of a value."""
        return MARGIN + PLOT_HEIGHT * (1 - (value - self.low) / (self.high - self.low))

    def axes(self) -> str:
        """Draw grid lines with their numbers."""
        parts = []
        for k in range(TICKS):
            value = self.low + (self.high - self.low) * k / (TICKS - 1)
            step = self.x_most * k / (TICKS - 1)
            parts.append(
                f'<line x1="{MARGIN}" x2="{WIDTH - 14}" y1="{self.y(value):.1f}" '
                f'y2="{self.y(value):.1f}" stroke="{GRID}"/>'
                f'<text x="{MARGIN - 6}" y="{self.y(value) + 4:.1f}" text-anchor="end" '
                f'fill="{FAINT}">{value:.2f}</text>'
                f'<text x="{self.x(step):.1f}" y="{MARGIN + PLOT_HEIGHT + 18}" '
                f'text-anchor="middle" fill="{FAINT}">{step:.0f}</text>'
            )
        return "".join(parts)


def _curve(line: Line, number: int, plot: _Plot) -> str:
    colour, dash = _style(number)
    parts, run = [], []
    for x, y in [*line.points, (0.0, None)]:
        if y is not None:
            run.append(f"{plot.x(x):.1f},{plot.y(y):.1f}")
            continue
        if len(run) == 1:
            px, py = run[0].split(",")
            parts.append(f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>')
        elif run:
            parts.append(
                f'<polyline points="{" ".join(run)}" fill="none" stroke="{colour}" '
                f'stroke-width="2"{dash}><title>{escape(line.name)}</title></polyline>'
            )
        run = []
    return "".join(parts)


def _key(name: str, number: int) -> str:
    colour, dash = _style(number)
    x = MARGIN + (number % 4) * (WIDTH - MARGIN) / 4
    y = PLOT_HEIGHT + 2 * MARGIN + 18 * (number // 4)
    return (
        f'<line x1="{x:.1f}" x2="{x + 18:.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" '
        f'stroke-width="2"{dash}/><text x="{x + 24:.1f}" y="{y}">{escape(name)}</text>'
    )


def _style(number: int) -> tuple[str, str]:
    dash = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
    return COLOURS[number % len(COLOURS)], dash


def _pair(pair: Pair, y: int) -> str:
    colour = ALERT if pair.bad else GOOD
    middle = y + ROW / 2
    new = _across(pair.new, 1.0)
    parts = [_name(pair.name, y)]
    text = f"{pair.new:.3f}"
    if pair.old is not None:
        old = _across(pair.old, 1.0)
        text = f"{pair.old:.3f} &#8594; {pair.new:.3f}"
        parts.append(
            f'<line x1="{old:.1f}" x2="{new:.1f}" y1="{middle}" y2="{middle}" stroke="{colour}" '
            f'stroke-width="2"/><circle cx="{old:.1f}" cy="{middle}" r="4.5" fill="#fff" '
            f'stroke="{INK}" stroke-width="1.3"/>'
        )
    parts.append(
        f'<circle cx="{new:.1f}" cy="{middle}" r="4.5" fill="{colour}">'
        f"<title>{escape(pair.remark or pair.name)}</title></circle>"
        f'<text x="{WIDTH - 108}" y="{y + 16}" fill="{ALERT if pair.bad else INK}">{text}</text>'
    )
    return "".join(parts)


def _strip(strip: Strip, y: int, most: float) -> str:
    """Draw the values as short upright lines, accepted ones above the middle."""
    middle = y + ROW / 2
    parts = [_name(strip.name, y)]
    for values, colour, top in (
        (strip.taken, GOOD, middle - 9),
        (strip.refused, ALERT, middle + 1),
    ):
        for value in values:
            x = _across(min(value, most), most)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + 8}" stroke="{colour}" '
                'stroke-width="2" stroke-opacity="0.55"/>'
            )
    counts = f"{len(strip.taken)} / {len(strip.refused)}"
    parts.append(f'<text x="{WIDTH - 108}" y="{y + 16}">{counts}</text>')
    return "".join(parts)


def _name(name: str, y: int) -> str:
    return f'<text x="{NAME_WIDTH - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>'


def _across(value: float, most: float) -> float:
    return NAME_WIDTH + value / most * (WIDTH - NAME_WIDTH - 125)


def _framed(title: str, count: int, rows: Sequence[str], most: float) -> str:
    """Put rows over an axis from 0 to `most`."""
    bottom = ROW * count
    ticks = "".join(
        f'<line x1="{_across(v, most):.1f}" x2="{_across(v, most):.1f}" y1="0" y2="{bottom}" '
        f'stroke="{GRID}"/><text x="{_across(v, most):.1f}" y="{bottom + 18}" '
        f'text-anchor="middle" fill="{FAINT}">{v:g}</text>'
        for v in (most * k / 4 for k in range(5))
    )
    return _svg(title, bottom + AXIS_HEIGHT, ticks + "".join(rows))


def _svg(title: str, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" font-family="sans-serif" '
        f'font-size="12.5" fill="{INK}"><title>{escape(title)}</title>{body}</svg>'
    )


def strips_of(
    rows: Sequence[Mapping[str, object]], decided: Mapping[str, set[str]], measure: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Return organ key -> values of a measure where the label was accepted, and where refused.

    Parameters
    ----------
    rows : sequence of mapping
        Evidence of cases: ``case`` and ``organs`` (key -> measures).
    decided : mapping
        Case -> accepted organs.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        taken = decided.get(str(row["case"]), set())
        organs = row["organs"]
        assert isinstance(organs, Mapping)
        for key, measures in organs.items():
            value = measures[measure]
            if value is not None and measures["volume_ml"]:
                found.setdefault(key, ([], []))[0 if key in taken else 1].append(float(value))
    return found
