from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from flare_core.report.charts.matrix import BETTER, WORSE, radar_chart, significance_map

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", text)]


def polygons(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    found = (numbers(p.attrib["points"]) for p in root.iter(f"{SVG}polygon"))
    return [list(zip(p[::2], p[1::2], strict=True)) for p in found]


def squares(root: ElementTree.Element, colour: str, cell: int) -> set[tuple[int, int]]:
    """Return (row, column) of the filled squares, from runs like M x y h w v 16 h -w z."""
    frame = next(r for r in root.iter(f"{SVG}rect") if r.attrib.get("fill") == "none")
    left, top = float(frame.attrib["x"]), float(frame.attrib["y"])
    filled = set()
    for path in (p for p in root.iter(f"{SVG}path") if p.attrib["fill"] == colour):
        for x, y, width in re.findall(r"M([\d.]+) ([\d.]+)h(\d+)", path.attrib["d"]):
            row, column = round((float(y) - top) / cell), round((float(x) - left) / cell)
            filled |= {(row, column + i) for i in range(int(width) // cell)}
    return filled


def test_the_radar_reaches_as_far_as_teams_are_beaten():
    root = parsed(radar_chart("t", ["A", "B", "C", "D"], 10, [("x", [10, 0, 5, 10])]))
    (*rings, rim, shape) = polygons(root)
    assert len(rings) == 3
    centre = (250.0, 205.0)
    reach = [math.dist(p, centre) / math.dist(r, centre) for p, r in zip(shape, rim, strict=True)]
    assert reach == pytest.approx([1, 0, 0.5, 1], abs=0.01)
    assert shape[0][0] == 250 and shape[0][1] < 205  # the first spoke points up


def test_the_map_fills_better_and_worse():
    better = np.zeros((4, 4), bool)
    better[0, 1:] = True
    better[1, 3] = True
    root = parsed(significance_map("t", list("abcd"), better))
    assert squares(root, BETTER, 16) == {(0, 1), (0, 2), (0, 3), (1, 3)}
    assert squares(root, WORSE, 16) == {(1, 0), (2, 0), (3, 0), (3, 1)}
