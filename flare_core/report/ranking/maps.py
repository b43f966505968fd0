"""Teams against each other on the ranking page: a radar and a map of pairs, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from flare_core.report.ranking.charts import GRID, points, shortened, svg
from flare_core.report.svg import FAINT

COLOURS = ("#1c6e8c", "#b1560f", "#5b3a8e", "#3d7a35", "#b0336b")
"""Of the teams in the radar plot: apart in hue and in lightness."""
BETTER, WORSE, SELF = "#1c6e8c", "#f0c9a8", "#d0d3d6"


def radar_chart(
    title: str, axes: Sequence[str], most: int, teams: Sequence[tuple[str, Sequence[int]]]
) -> str:
    """Draw how many teams each of some teams beats, one spoke a metric.

    Parameters
    ----------
    title : str
        What is shown.
    axes : sequence of str
        Names of the metrics.
    most : int
        Value at the rim: the number of other teams.
    teams : sequence of (name, values)
        At most five; a value for each axis.
    """
    width, height, radius = 640, 420, 140
    centre = (250.0, 205.0)
    most = max(1, most)

    def point(axis: int, value: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(axes) - math.pi / 2
        reach = radius * value / most
        return centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)

    parts = []
    for share in (0.25, 0.5, 0.75, 1.0):
        rim = points([point(a, most * share) for a in range(len(axes))])
        parts.append(f'<polygon points="{rim}" fill="none" stroke="{GRID}"/>')
    for axis, name in enumerate(axes):
        (x, y), (tx, ty) = point(axis, most), point(axis, most * 1.13)
        anchor = "middle" if abs(tx - centre[0]) < 8 else "start" if tx > centre[0] else "end"
        parts.append(
            f'<line x1="{centre[0]}" y1="{centre[1]}" x2="{x:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
            f'<text x="{tx:.1f}" y="{ty + 4:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    parts.append(
        f'<text x="480" y="{height - 20}" fill="{FAINT}">centre: 0, rim: {most} teams</text>'
    )
    for number, (name, values) in enumerate(teams):
        colour = COLOURS[number % len(COLOURS)]
        shape = points([point(a, v) for a, v in enumerate(values)])
        parts.append(
            f'<polygon points="{shape}" fill="{colour}" fill-opacity="0.08" stroke="{colour}" '
            f'stroke-width="2" stroke-linejoin="round"/>'
            f'<rect x="480" y="{24 + 24 * number}" width="12" height="12" fill="{colour}"/>'
            f'<text x="500" y="{35 + 24 * number}">{escape(shortened(name))}</text>'
        )
    return svg(title, width, height, "".join(parts))


def significance_map(title: str, teams: Sequence[str], better: npt.NDArray[np.bool_]) -> str:
    """Draw a square for each pair: is the row's team significantly better than the column's?

    Parameters
    ----------
    title : str
        What is compared.
    teams : sequence of str
        In the order of the ranking.
    better : bool (team, team)
        In the same order; row better than column.
    """
    cell = 16 if len(teams) <= 25 else 12
    left = 16 + 7.2 * max(min(len(name), 18) for name in teams)
    side = cell * len(teams)
    same = np.eye(len(teams), dtype=bool)
    parts = [
        _cells(mask, colour, left, left, cell)
        for mask, colour in ((better, BETTER), (better.T, WORSE), (same, SELF))
    ]
    parts.append(
        f'<rect x="{left:.1f}" y="{left:.1f}" width="{side}" height="{side}" fill="none" '
        f'stroke="{FAINT}"/>'
    )
    size = 12 if cell >= 16 else 10
    for number, name in enumerate(teams):
        at = left + cell * (number + 0.5) + size / 3
        text = escape(shortened(name))
        parts.append(
            f'<text x="{left - 6:.1f}" y="{at:.1f}" text-anchor="end" font-size="{size}">{text}'
            f'</text><text transform="translate({at:.1f} {left - 6:.1f}) rotate(-90)" '
            f'font-size="{size}">{text}</text>'
        )
    return svg(title, left + side + 12, left + side + 12, "".join(parts))


def _cells(mask: npt.NDArray[np.bool_], colour: str, left: float, top: float, cell: int) -> str:
    """Fill the squares of a mask (row, column): one path, one piece for each run in a row."""
    pieces = []
    for row, marked in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            across = cell * int(stop - start)
            pieces.append(
                f"M{left + cell * int(start):.1f} {top + cell * row:.1f}h{across}v{cell}h-{across}z"
            )
    return f'<path d="{"".join(pieces)}" fill="{colour}"/>' if pieces else ""
