"""Some against each other: a matrix of pairs, and a radar of a few over several measures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flare_core.report.charts.svg import (
    COLOURS,
    EDGE,
    FAINT,
    GRID,
    Place,
    line,
    names_width,
    polygon,
    rectangle,
    shortened,
    svg,
    text,
)
from flare_core.wording import many

BETTER, WORSE, SELF = EDGE, "#f0c9a8", "#d0d3d6"


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
    height = 420
    most = max(1, most)
    parts = _web(axes, most)
    parts.append(text((480, height - 20), f"centre: 0, rim: {many(most, 'team')}", FAINT))
    for number, (name, values) in enumerate(teams):
        colour = COLOURS[number % len(COLOURS)]
        shape = [_spoke(a, v / most, len(axes)) for a, v in enumerate(values)]
        parts.append(polygon(shape, colour, edge=colour, width=2, opacity=0.08))
        parts.append(rectangle((480, 24 + 24 * number), (12, 12), colour))
        parts.append(text((500, 35 + 24 * number), shortened(name)))
    return svg((640, height), title, "".join(parts))


def _web(axes: Sequence[str], most: int) -> list[str]:
    """Draw rings at the quarters, and the spokes with their names."""
    rings = [
        polygon([_spoke(a, share, len(axes)) for a in range(len(axes))], "none", edge=GRID)
        for share in (0.25, 0.5, 0.75, 1.0)
    ]
    centre = _spoke(0, 0.0, len(axes))
    for number, name in enumerate(axes):
        rim, (x, y) = _spoke(number, 1.0, len(axes)), _spoke(number, 1.13, len(axes))
        anchor = "middle" if abs(x - centre[0]) < 8 else "start" if x > centre[0] else "end"
        rings.append(line(centre, rim, GRID) + text((x, y + 4), name, anchor=anchor))
    return rings


def _spoke(number: int, share: float, count: int) -> Place:
    """Return the place at a share of a spoke's length; the first one points up."""
    angle = 2 * math.pi * number / count - math.pi / 2
    return 250 + 140 * share * math.cos(angle), 205 + 140 * share * math.sin(angle)


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
    px = 12 if cell >= 16 else 10
    left, side = names_width(teams), cell * len(teams)
    same = np.eye(len(teams), dtype=bool)
    parts = [
        _cells(mask, colour, left, cell)
        for mask, colour in ((better, BETTER), (better.T, WORSE), (same, SELF))
    ]
    parts.append(rectangle((left, left), (side, side), "none", edge=FAINT))
    for number, name in enumerate(teams):
        at = left + cell * (number + 0.5) + px / 3
        parts.append(text((left - 6, at), shortened(name), anchor="end", px=px))
        parts.append(text((at, left - 6), shortened(name), px=px, upwards=True))
    return svg((left + side + 12, left + side + 12), title, "".join(parts))


def _cells(mask: npt.NDArray[np.bool_], colour: str, corner: float, cell: int) -> str:
    """Fill the squares of a mask (row, column): one path, one piece for each run in a row."""
    pieces = []
    for row, marked in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2).tolist():
            x, y, across = corner + cell * start, corner + cell * row, cell * (stop - start)
            pieces.append(f"M{x:.1f} {y:.1f}h{across}v{cell}h-{across}z")
    return f'<path d="{"".join(pieces)}" fill="{colour}"/>' if pieces else ""
