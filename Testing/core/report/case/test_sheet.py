from __future__ import annotations

import pytest

from flare_core.imaging.geometry import Geometry
from flare_core.report.case.panel import AXIAL, CORONAL, SAGITTAL, Plane
from flare_core.report.case.sheet import GAP, MARGIN, TITLE_HEIGHT, WIDTH, lay_out

PLANES = [
    *(Plane(AXIAL, z) for z in range(10)),
    *(Plane(CORONAL, y) for y in range(3)),
    *(Plane(SAGITTAL, x) for x in range(2)),
]
GRIDS = [
    Geometry((100, 250, 350), (2.5, 1.0, 1.0)),
    Geometry((20, 60, 80), (10.0, 4.0, 5.0)),
    Geometry((900, 50, 60), (2.0, 6.0, 6.0)),
    Geometry((3, 400, 100), (5.0, 1.0, 1.0)),
]


@pytest.mark.parametrize("geometry", GRIDS, ids=repr)
def test_panels_stay_on_the_sheet_and_apart(geometry):
    cells = lay_out(geometry, PLANES)
    assert [cell.plane for cell in cells] == PLANES
    for number, cell in enumerate(cells):
        assert cell.left >= MARGIN
        assert cell.left + cell.width <= MARGIN + WIDTH + 1
        assert cell.top >= TITLE_HEIGHT
        for other in cells[:number]:
            beside = abs(cell.left - other.left) >= min(cell.width, other.width) + GAP - 2
            below = cell.top >= other.top + other.height + GAP
            assert beside or below


@pytest.mark.parametrize("geometry", GRIDS, ids=repr)
def test_pixels_are_square_millimetres_at_one_scale(geometry):
    cells = lay_out(geometry, PLANES)
    for kinds in ((AXIAL,), (CORONAL, SAGITTAL)):
        group = [cell for cell in cells if cell.plane.axis in kinds]
        scales = [
            pixels / mm
            for cell in group
            for pixels, mm in zip(
                (cell.height, cell.width), cell.plane.size_mm(geometry), strict=True
            )
            if pixels > 20
        ]
        assert max(scales) == pytest.approx(min(scales), rel=0.03)


def test_the_width_is_used():
    cells = lay_out(GRIDS[0], PLANES)
    assert sum(cell.width for cell in cells[:4]) + 3 * GAP == pytest.approx(WIDTH, abs=4)
    assert sum(cell.width for cell in cells[10:]) + 4 * GAP == pytest.approx(WIDTH, abs=4)
