from __future__ import annotations

import numpy as np

from core.report.scene_builder import lopsided
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.report.case.field_of_view import field_of_view

SLICES = range(5, 25, 5)


def test_the_body_fills_the_view_and_the_thin_table_is_left_out():
    scan, _ = lopsided()
    scan.array[:, 97:99] = 300
    shown = field_of_view(scan, Box((5, 20, 20), (25, 70, 100)), SLICES)
    assert shown.start[1] <= 8
    assert 92 <= shown.stop[1] < 97
    assert shown.start[2] <= 9
    assert shown.stop[2] >= 112


def test_organs_stay_inside_even_where_there_is_no_body():
    scan, _ = lopsided()
    air = scan.with_array(np.full_like(scan.array, -1000))
    organs = Box((5, 20, 20), (25, 70, 100))
    assert field_of_view(air, organs, SLICES).union(organs) == field_of_view(air, organs, SLICES)


def test_a_flat_organ_still_gets_some_height():
    scan = Volume(np.full((100, 40, 40), 40, np.int16), Geometry((100, 40, 40), (3.0, 5.0, 5.0)))
    shown = field_of_view(scan, Box((50, 10, 10), (51, 20, 20)), [50])
    assert shown.shape[0] * 3.0 >= 200
