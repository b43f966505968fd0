"""The list of lesions against sizes worked out by hand, in any orientation."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.lesion_list import (
    EXAMPLE,
    Lesion,
    in_plane,
    lesion_rows,
    lesions_to_json,
    list_lesions,
    table_text,
)

GRID = Geometry((24, 60, 70), (5.0, 1.0, 1.5), (-40.0, -20.0, 300.0))
MAPS = (
    AxisMap((0, 1, 2), (False, True, True)),
    AxisMap((2, 0, 1), (True, False, True)),
    AxisMap((0, 1, 2), (True, False, False)),
)


def scan() -> tuple[Volume, Volume]:
    """A liver of 100 HU with one lesion of 60 HU, and a lesion of 40 HU on the left, lower."""
    labels, image = np.zeros(GRID.shape, np.uint8), np.full(GRID.shape, -100, np.int16)
    liver = slice(4, 22), slice(5, 50), slice(5, 40)
    labels[liver], image[liver] = organ("liver").id, 100
    spot = slice(14, 18), slice(20, 32), slice(10, 16)  # 12 mm x 9 mm, 4 slices of 5 mm
    labels[spot], image[spot] = LESION.id, 60
    image[15, 20:32, 10:16] = 56
    low = slice(6, 7), slice(20, 24), slice(50, 60)  # touches nothing
    labels[low], image[low] = LESION.id, 40
    return Volume(image, GRID), Volume(labels, GRID)


def test_by_hand() -> None:
    first, second = list_lesions(*scan())
    assert (first.number, first.organ, first.within, first.place) == (1, "liver", True, "Liver")
    assert first.volume_ml == pytest.approx(4 * 12 * 6 * 7.5 / 1000)
    # From outer edge to outer edge: the farthest middles of sides are 11 rows, 9 mm apart.
    assert first.long_axis_mm == pytest.approx(math.hypot(11, 9))
    assert first.hu_mean == pytest.approx(59.0) and first.organ_hu == pytest.approx(100.0)
    assert first.slice_index == 14 and math.isnan(first.certainty)
    assert first.centre_lps_mm == pytest.approx((-40 + 12.5 * 1.5, -20 + 25.5, 300 + 14 * 5.0))
    assert (second.number, second.organ, second.place) == (2, "", "Body")
    assert math.isnan(second.organ_hu) and second.slice_index == 6
    assert second.measurable and second.long_axis_mm == pytest.approx(math.hypot(15, 3))


@pytest.mark.parametrize("axis_map", MAPS)
def test_orientation_of_the_file_does_not_matter(axis_map: AxisMap) -> None:
    image, labels = scan()
    grid = GRID.permuted(axis_map)
    turned = [Volume(axis_map.apply(each.array), grid) for each in (image, labels)]
    for before, after in zip(list_lesions(image, labels), list_lesions(*turned), strict=True):
        assert after.centre_lps_mm == pytest.approx(before.centre_lps_mm)
        assert (after.long_axis_mm, after.short_axis_mm) == (
            before.long_axis_mm,
            before.short_axis_mm,
        )
        axis = axis_map.permutation.index(0)  # where the file keeps the body's axis
        voxel = grid.lps_to_voxel(after.centre_lps_mm)
        assert after.slice_index == round(float(voxel[axis]))


def test_a_disc_has_its_diameter_in_any_direction() -> None:
    y, x = np.mgrid[:80, :80]
    disc = (y - 40) ** 2 + (x - 40) ** 2 <= 30**2
    long_mm, short_mm, middle = in_plane(disc, (0.5, 0.5))
    assert long_mm == pytest.approx(30.5, abs=0.3) and short_mm == pytest.approx(30.5, abs=0.4)
    assert middle == pytest.approx((40, 40), abs=0.6)


@pytest.mark.parametrize("degrees", [0, 30, 75, 120])
def test_an_ellipse_has_its_axes_in_any_direction(degrees: float) -> None:
    a = math.radians(degrees)
    y, x = np.mgrid[:120, :120] - 60.0
    u, v = x * math.cos(a) + y * math.sin(a), y * math.cos(a) - x * math.sin(a)
    long_mm, short_mm, _ = in_plane((u / 50) ** 2 + (v / 20) ** 2 <= 1, (0.8, 0.8))
    assert long_mm == pytest.approx(80.8, abs=1.0)
    assert short_mm == pytest.approx(32.8, abs=1.6)


def test_a_single_voxel_has_a_size() -> None:
    assert in_plane(np.ones((1, 1), bool), (2.0, 2.0))[:2] == (2.0, 2.0)


def test_parts_that_only_meet_elsewhere_are_measured_apart() -> None:
    """A horseshoe: the two ends in one slice are not one long lesion."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[10, 10:14, 10:50] = LESION.id
    labels[10:14, 10:14, 10:14] = labels[10:14, 10:14, 46:50] = LESION.id
    labels[10, 10:14, 20:30] = 0
    labels[9, 10:14, 20:30] = labels[9, 10:14, 19] = labels[9, 10:14, 30] = LESION.id
    (found,) = list_lesions(Volume(np.zeros(GRID.shape, np.int16), GRID), Volume(labels, GRID))
    assert found.long_axis_mm < 32 and found.slice_index == 10


def test_certainty_is_the_mean_probability_of_its_voxels() -> None:
    image, labels = scan()
    coarse = GRID.with_spacing((10.0, 3.0, 3.0))
    low = Volume(np.full(coarse.shape, 0.9, np.float32), coarse)
    first, second = list_lesions(image, labels, probability=(low,))
    assert first.certainty == pytest.approx(0.9) and second.certainty == pytest.approx(0.9)
    elsewhere = replace(coarse, origin_mm=(1000.0, 0.0, 0.0))
    found = list_lesions(image, labels, probability=(Volume(low.array, elsewhere),))
    assert math.isnan(found[0].certainty)


def test_without_lesions_there_is_an_empty_list() -> None:
    image, labels = scan()
    labels.array[labels.array == LESION.id] = 0
    assert list_lesions(image, labels) == ()


def test_other_grids_are_refused() -> None:
    image, labels = scan()
    with pytest.raises(InputError, match="grid of the image"):
        list_lesions(image, Volume(labels.array, replace(GRID, origin_mm=(0.0, 0.0, 0.0))))


def test_json_and_back() -> None:
    rows = lesions_to_json(list_lesions(*scan()))
    assert rows is not None and json.loads(json.dumps(rows)) == rows
    first, second = (Lesion.from_dict(row) for row in rows)
    assert first.place == "Liver" and math.isnan(second.organ_hu)
    assert first.to_dict() == rows[0]
    assert lesions_to_json(None) is None


def test_rows_and_text_name_every_lesion() -> None:
    found = list_lesions(*scan())
    rows = lesion_rows(found)
    assert list(dict.fromkeys(row.organ for row in rows)) == ["lesion_1", "lesion_2"]
    assert {row.note for row in rows if row.organ == "lesion_2"} == {"Body"}
    assert len(table_text(found).splitlines()) == 3
    at = replace(EXAMPLE, within=False)
    assert at.place == "At the liver" and "At the liver" in table_text([at])
