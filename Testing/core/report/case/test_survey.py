from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.report.scene_builder import AORTA, LIVER, SPLEEN, lopsided
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.report.case.survey import axial_planes, field_of_view, findings, long_planes, survey
from flare_core.segment.lesion_list import EXAMPLE


def labels_of(array: np.ndarray) -> Volume:
    return Volume(array, Geometry(array.shape, (2.0, 1.0, 1.0)))


def test_counts_are_exact_slice_by_slice():
    rng = np.random.default_rng(3)
    array = np.zeros((9, 14, 11), np.uint8)
    array[2:7, 3:12, 1:9] = rng.integers(0, 15, (5, 9, 8))
    counted = survey(labels_of(array)).counts
    for z in range(9):
        assert np.array_equal(counted[z, 1:], np.bincount(array[z].ravel(), minlength=256)[1:])


def test_findings_have_volume_and_say_what_the_scan_cuts():
    _, labels = lopsided()
    rows = {row.organ.key: row for row in findings(survey(labels), ORGANS, 0.015)}
    assert rows["liver"].volume_ml == pytest.approx(14 * 35 * 35 * 0.015)
    assert rows["aorta"].cut and not rows["liver"].cut
    assert rows["stomach"].volume_ml == 0


def test_a_cut_organ_is_never_called_small():
    array = np.zeros((10, 10, 10), np.uint8)
    array[0:3, 4:6, 4:6] = organ("liver").id
    array[5:8, 4:6, 4:6] = organ("spleen").id
    liver, spleen = findings(survey(labels_of(array)), [organ("liver"), organ("spleen")], 0.002)
    assert (liver.verdict, spleen.verdict) == ("", "low")


def test_axial_planes_descend_and_are_spread_over_the_organs():
    _, labels = lopsided()
    planes = axial_planes(survey(labels), 12)
    assert len(planes) == 12
    assert list(planes) == sorted(set(planes), reverse=True)
    assert max(planes) >= 26
    assert min(planes) <= 6
    # More organs at one height, more pictures of it.
    assert sum(12 <= z < 26 for z in planes) > 12 * 14 / 30


def test_every_organ_is_seen_even_one_of_a_single_slice():
    array = np.zeros((200, 20, 20), np.uint8)
    array[10:190, 5:10, 5:10] = LIVER
    array[101, 12:14, 12:14] = SPLEEN
    array[33, 12:14, 12:14] = AORTA
    counted = survey(labels_of(array))
    planes = axial_planes(counted, 8)
    assert len(planes) == 8
    assert {LIVER, SPLEEN, AORTA} <= set(np.unique(array[list(planes)]).tolist())


@pytest.mark.parametrize(("depth", "expected"), [(1, 1), (3, 3), (40, 4)])
def test_few_slices_give_few_planes(depth, expected):
    array = np.zeros((depth, 8, 8), np.uint8)
    array[depth // 2, 3:5, 3:5] = LIVER
    planes = axial_planes(survey(labels_of(array)), 12)
    assert len(planes) == expected
    assert depth // 2 in planes


def test_rows_are_complete():
    array = np.zeros((30, 8, 8), np.uint8)
    array[5:14, 3:5, 3:5] = LIVER
    assert len(axial_planes(survey(labels_of(array)), 12)) == 8


def test_an_empty_label_map_is_looked_at_where_a_body_most_likely_is():
    counted = survey(labels_of(np.zeros((30, 8, 12), np.uint8)))
    assert counted.box == Box((0, 2, 3), (30, 6, 9))
    assert counted.present == ()
    assert len(axial_planes(counted, 12)) == 12
    assert long_planes(counted, 2, (0.0, 0.5, 1.0)) == (3, 6, 8)


def test_long_planes_go_through_the_organs_middles_whatever_their_size():
    array = np.zeros((20, 100, 100), np.uint8)
    array[:, 5:45, 5:95] = LIVER
    array[8:12, 68:72, 40:50] = SPLEEN
    array[8:12, 88:92, 40:50] = AORTA
    assert long_planes(survey(labels_of(array)), 1, (0.0, 0.5, 1.0)) == (24, 70, 90)


def test_one_organ_is_cut_at_several_places():
    array = np.zeros((20, 100, 100), np.uint8)
    array[:, 20:81, 5:95] = LIVER
    assert long_planes(survey(labels_of(array)), 1, (0.1, 0.5, 0.9)) == (26, 50, 74)


def test_an_organs_volume_is_with_the_lesions_that_are_part_of_it():
    _, labels = lopsided()
    counted = survey(labels)
    liver, spleen = organ("liver"), organ("spleen")
    without = findings(counted, [liver, spleen], 0.015)
    beside = replace(EXAMPLE, number=2, organ="spleen", within=False)
    found = findings(counted, [liver, spleen], 0.015, [EXAMPLE, beside])
    assert found[0].volume_ml == pytest.approx(without[0].volume_ml + EXAMPLE.volume_ml)
    assert found[1].volume_ml == without[1].volume_ml


def test_wanted_slices_are_shown_and_cost_only_the_nearest_ones():
    _, labels = lopsided()
    counted = survey(labels)
    usual = axial_planes(counted, 4)
    spare = next(z for z in range(30) if z not in usual)
    planes = axial_planes(counted, 4, [spare])
    assert spare in planes and len(planes) == 4 and len(set(planes) & set(usual)) == 3
    assert list(planes) == sorted(planes, reverse=True)
    assert axial_planes(counted, 4, [usual[0]]) == usual
    many = [z for z in range(30) if z not in usual][:9]
    assert len(axial_planes(counted, 4, many)) == 4


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
