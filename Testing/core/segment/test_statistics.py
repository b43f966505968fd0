"""Statistics against numbers worked out by hand, in any orientation."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.errors import InputError
from flare_core.imaging.checks import BYTES_PER_VOXEL
from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.confidence import Evidence
from flare_core.segment.lesion_list import list_lesions
from flare_core.segment.postprocess import clean_up
from flare_core.segment.statistics import (
    CSV_COLUMNS,
    MEASURES,
    NOT_FOUND,
    PROBABLY_WRONG,
    hu_values,
    organ_statistics,
    outside_range,
    rows_to_csv,
    rows_to_json,
    table_text,
)

SPLEEN = organ("spleen")
SPACING = (2.5, 0.8, 0.5)


def rotation(degrees):
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    rows = np.eye(3)[::-1] @ (turn @ tilt).T
    return tuple(tuple(float(v) for v in row) for row in rows)


OBLIQUE = Geometry((8, 10, 12), SPACING, (-31.0, 17.0, 400.0), rotation(25.0))


def scan(geometry=OBLIQUE, dtype=np.int16):
    """A spleen of 2 x 3 x 4 voxels with HU 0, 10, ..., 230, and a lone voxel of 1000 HU."""
    labels = np.zeros(geometry.shape, np.uint8)
    image = np.full(geometry.shape, -1000, dtype)
    labels[2:4, 3:6, 4:8] = SPLEEN.id
    image[2:4, 3:6, 4:8] = np.arange(24).reshape(2, 3, 4) * 10
    labels[6, 8, 10] = SPLEEN.id
    image[6, 8, 10] = 1000
    return Volume(image, geometry), Volume(labels, geometry)


def values(rows, key="spleen"):
    return {row.measure: row.value for row in rows if row.organ == key}


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int32])
def test_by_hand(dtype):
    found = values(organ_statistics(*scan(dtype=dtype), [SPLEEN]))
    assert list(found) == [measure.key for measure in MEASURES]
    assert found["volume"] == pytest.approx(25 * 2.5 * 0.8 * 0.5 / 1000)
    assert found["hu_mean"] == pytest.approx((2760 + 1000) / 25)
    # Sum of squares: 100 * (0 + 1 + 4 + ... + 23 * 23) = 432400, and 1000000.
    assert found["hu_sd"] == pytest.approx(math.sqrt((432400 + 1000000) / 25 - 150.4**2))
    assert found["hu_median"] == pytest.approx(120.0)
    assert found["hu_p5"] == pytest.approx(12.0)  # place 0.05 * 24 = 1.2
    assert found["hu_p95"] == pytest.approx(228.0)  # place 22.8
    assert found["components"] == 2
    assert found["touches_border"] == 0


def test_rows_carry_units_and_codes():
    rows = {row.measure: row for row in organ_statistics(*scan(), [SPLEEN])}
    assert (rows["volume"].unit, rows["volume"].code.value) == ("mL", "118565006")
    assert rows["hu_mean"].unit == "[hnsf'U]"
    assert rows["surface"].unit == "cm2"
    assert rows["components"].unit == rows["touches_border"].unit == "1"
    codes = [rows[f"hu_{key}"].code.value for key in ("mean", "median", "sd")]
    assert codes == ["373098007", "373099004", "386136009"]


def test_organs_side_by_side_have_the_same_numbers_in_the_same_order():
    image, labels = scan()
    labels.array[5:7, 1:3, 2:9] = 1
    one, two = (organ_statistics(image, labels, threads=n) for n in (1, 2))
    assert str(one) == str(two)  # NaN is not equal to itself
    assert values(two, "liver")["volume"] > values(two)["volume"] > 0


@pytest.mark.parametrize(
    "axis_map",
    [
        AxisMap((0, 1, 2), (False, False, True)),
        AxisMap((0, 1, 2), (True, True, False)),
        AxisMap((2, 0, 1), (True, False, True)),
    ],
)
def test_orientation_of_the_file_does_not_matter(axis_map):
    image, labels = scan()
    geometry = OBLIQUE.permuted(axis_map)
    turned = [Volume(axis_map.apply(v.array), geometry) for v in (image, labels)]
    expected, found = values(organ_statistics(image, labels)), values(organ_statistics(*turned))
    surface = found.pop("surface")
    assert surface == pytest.approx(expected.pop("surface"), rel=0.03)
    assert {k: v for k, v in found.items() if not math.isnan(v)} == pytest.approx(
        {k: v for k, v in expected.items() if not math.isnan(v)}
    )


def test_direction_changes_nothing_spacing_does():
    image, labels = scan()
    straight = replace(OBLIQUE, direction=Geometry((1, 1, 1), SPACING).direction)
    coarse = replace(OBLIQUE, spacing_mm=(5.0, 1.6, 1.0))
    here = values(organ_statistics(image, labels))
    moved = values(organ_statistics(Volume(image.array, straight), Volume(labels.array, straight)))
    grown = values(organ_statistics(Volume(image.array, coarse), Volume(labels.array, coarse)))
    assert moved["volume"] == here["volume"]
    assert moved["surface"] == here["surface"]
    assert grown["volume"] == pytest.approx(8 * here["volume"])
    assert grown["surface"] == pytest.approx(4 * here["surface"])


def test_ball_has_the_volume_and_surface_of_a_ball():
    spacing, radius = (2.5, 0.8, 0.8), 30.0
    axes = [np.arange(-n, n + 1) * s + 0.2 * s for n, s in zip((14, 42, 42), spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    ball = ((z**2 + y**2 + x**2) <= radius**2).astype(np.uint8) * SPLEEN.id
    geometry = Geometry(ball.shape, spacing, direction=rotation(40.0))
    image = Volume(np.full(ball.shape, 55, np.int16), geometry)
    found = values(organ_statistics(image, Volume(ball, geometry), [SPLEEN]))
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 27, rel=0.01)
    assert found["surface"] == pytest.approx(4 * np.pi * 9, rel=0.05)
    assert found["outside_range"] == 0
    assert (found["hu_sd"], found["hu_p5"], found["hu_p95"]) == (0, 55, 55)


@pytest.mark.parametrize("seed", range(5))
def test_histogram_gives_numpys_numbers(seed):
    random = np.random.default_rng(seed)
    voxels = random.normal(40, 60, 1000 + seed).astype(np.int16)
    voxels[:3] = -3024, 3071, -2048
    found = hu_values(voxels)
    p5, median, p95 = np.percentile(voxels, (5, 50, 95))
    assert found["hu_mean"] == pytest.approx(voxels.mean())
    assert found["hu_sd"] == pytest.approx(voxels.std())
    assert (found["hu_p5"], found["hu_median"], found["hu_p95"]) == pytest.approx((p5, median, p95))
    assert found == pytest.approx(hu_values(voxels.astype(np.float32)))


def test_histogram_of_extremes_does_not_overflow():
    found = hu_values(np.array([-32768, 32767], np.int16))
    assert found["hu_mean"] == -0.5
    assert found["hu_sd"] == 32767.5
    assert hu_values(np.array([7], np.int16))["hu_p95"] == 7


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("place", [0, -1])
def test_each_face_of_the_scan_is_a_border(axis, place):
    labels = np.zeros((5, 6, 7), np.uint8)
    where = [2, 2, 2]
    where[axis] = place
    labels[tuple(where)] = SPLEEN.id
    geometry = Geometry(labels.shape, SPACING)
    rows = organ_statistics(
        Volume(np.zeros(labels.shape, np.int16), geometry), Volume(labels, geometry), [SPLEEN]
    )
    by_measure = {row.measure: row for row in rows}
    assert by_measure["touches_border"].value == 1
    assert "cut" in by_measure["volume"].note
    assert math.isnan(by_measure["outside_range"].value)
    assert "not judged" in by_measure["outside_range"].note


@pytest.mark.parametrize(
    ("outside_hu", "ends_at", "cut"),
    [(-3024, 12, True), (-3024, 10, False), (-1024, 12, False)],  # of the last nothing is known
)
def test_padding_around_a_round_field_of_view_is_a_border_too(outside_hu, ends_at, cut):
    image = np.full((20, 20, 20), 40, np.int16)
    image[:, :, 12:] = outside_hu
    image[10, 10, 11] = -1500  # a streak is no padding
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:ends_at] = organ("liver").id
    geometry = Geometry(labels.shape, (5.0, 5.0, 5.0))
    found = values(organ_statistics(Volume(image, geometry), Volume(labels, geometry)), key="liver")
    assert found["touches_border"] == cut
    assert math.isnan(found["outside_range"]) == cut  # 1 dL is small; cut, nobody knows


def test_absent_organ_says_so_and_invents_nothing():
    rows = {row.measure: row for row in organ_statistics(*scan(), [organ("liver")])}
    assert rows["volume"].value == 0
    assert rows["volume"].note == NOT_FOUND
    assert all(math.isnan(rows[m].value) for m in rows if m.startswith("hu_"))
    assert math.isnan(rows["outside_range"].value)
    assert rows["components"].value == rows["surface"].value == 0


@pytest.mark.parametrize(
    ("volume", "cut", "expected"),
    [
        (81.0, False, 0.0),
        (374.0, False, 0.0),
        (80.9, False, 1.0),
        (374.1, False, 1.0),
        (80.9, True, math.nan),
        (200.0, True, math.nan),
        (374.1, True, 1.0),
    ],
)
def test_outside_range(volume, cut, expected):
    found = outside_range(volume, SPLEEN.volume_range_ml, cut=cut)
    assert found == pytest.approx(expected, nan_ok=True)


def test_outside_range_without_a_range():
    assert math.isnan(outside_range(1.0, None))
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 2, 2] = LESION.id
    geometry = Geometry(labels.shape, SPACING)
    rows = organ_statistics(
        Volume(labels.astype(np.int16), geometry), Volume(labels, geometry), [LESION]
    )
    (row,) = (row for row in rows if row.measure == "outside_range")
    assert row.note.startswith("No range")


def test_labels_that_are_no_whole_numbers_are_refused():
    """They ended in a traceback where there was a lesion, and counted nothing where they missed."""
    geometry = Geometry((4, 5, 6), SPACING)
    labels = np.zeros(geometry.shape, np.float32)
    labels[1:3, 1:4, 1:4] = 14
    image = Volume(np.zeros(geometry.shape, np.int16), geometry)
    for measure in (organ_statistics, list_lesions):
        with pytest.raises(InputError, match="whole numbers") as caught:
            measure(image, Volume(labels, geometry))
        assert caught.value.parts[0] == "labels"


def test_other_grid_is_refused():
    image, labels = scan()
    moved = Volume(labels.array, replace(OBLIQUE, origin_mm=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="grid"):
        organ_statistics(image, moved)


@pytest.mark.parametrize("flipped", [False, True], ids=["x_to_left", "x_to_right"])
@pytest.mark.parametrize("called", ["right_kidney", "left_kidney"])
def test_a_kidney_on_the_patients_right_is_reported_as_right(flipped, called):
    """Whatever the network called it, and whichever way x is stored."""
    grid = Geometry((20, 20, 60), (5.0, 5.0, 4.0), (-118.0, 0.0, 0.0))
    array = np.zeros(grid.shape, np.uint8)
    x_mm = grid.voxel_to_lps([(0, 0, i) for i in range(60)])[:, 0]
    for key, left, right in [
        ("liver", -110, -90),
        ("spleen", 80, 110),
        ("aorta", 4, 20),
        ("inferior_vena_cava", -30, -14),
        (called, -80, -45),  # LPS x below 0 is the patient's right
    ]:
        array[4:16, 4:16, (x_mm > left) & (x_mm < right)] = organ(key).id
    axis_map = AxisMap((0, 1, 2), (False, False, flipped))
    labels = Volume(axis_map.apply(array), grid.permuted(axis_map))
    assert (labels.geometry.direction[2][0] < 0) == flipped
    cleaned, _ = clean_up(labels)
    rows = organ_statistics(labels.with_array(np.zeros(grid.shape, np.int16)), cleaned)
    voxels = 12 * 12 * int(((x_mm > -80) & (x_mm < -45)).sum())
    assert values(rows, "right_kidney")["volume"] == pytest.approx(voxels * 0.1)
    assert values(rows, "left_kidney")["volume"] == 0


def test_csv_reads_back():
    rows = organ_statistics(*scan(), [organ("liver"), SPLEEN])
    text = rows_to_csv(rows)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert len(lines) == 2 * len(MEASURES)
    assert lines[0]["note"] == NOT_FOUND
    assert lines[1]["value"] == ""  # NaN
    spleen = {line["measure"]: line for line in lines if line["organ"] == "spleen"}
    assert spleen["volume"]["value"] == "0.025"
    assert spleen["volume"]["code_value"] == "118565006"
    assert spleen["hu_mean"]["value"] == "150.4"
    assert spleen["components"]["value"] == "2"
    assert "\r" not in text


def test_an_organ_is_measured_with_its_lesions_and_its_volume_without_stands_beside():
    geometry = Geometry((6, 20, 20), (5.0, 2.0, 2.0))
    labels, image = np.zeros(geometry.shape, np.uint8), np.zeros(geometry.shape, np.int16)
    labels[1:5, 2:18, 2:18], image[1:5, 2:18, 2:18] = 1, 100
    labels[2:4, 6:10, 6:10], image[2:4, 6:10, 6:10] = LESION.id, 40
    rows = organ_statistics(Volume(image, geometry), Volume(labels, geometry))
    liver, lesion = values(rows, "liver"), values(rows, "lesion")
    assert liver["volume"] == pytest.approx(4 * 16 * 16 * 0.02)
    assert lesion["volume"] == pytest.approx(2 * 4 * 4 * 0.02)
    assert liver["volume_without_lesions"] == pytest.approx(liver["volume"] - lesion["volume"])
    assert liver["hu_mean"] == pytest.approx((100 * 992 + 40 * 32) / 1024)
    assert math.isnan(lesion["volume_without_lesions"]) and liver["components"] == 1
    assert "lesions in it 0.6 mL" in table_text(rows)


@pytest.mark.parametrize(("inside", "wrong"), [(0.99, False), (0.3, True)])
def test_what_is_probably_wrong_is_marked(inside, wrong):
    evidence = {"spleen": Evidence(0.03, inside, inside)}
    image, labels = scan(replace(OBLIQUE, spacing_mm=(20.0, 20.0, 20.0)))  # 200 mL
    rows = organ_statistics(image, labels, [SPLEEN], evidence=evidence)
    (row,) = (row for row in rows if row.measure == "confidence")
    assert 0 <= row.value <= 1 and (row.note == PROBABLY_WRONG) == wrong
    assert (PROBABLY_WRONG in table_text(rows)) == wrong


def test_json_is_strict():
    rows = organ_statistics(*scan(), [organ("liver"), SPLEEN])
    records = json.loads(json.dumps(rows_to_json(rows), allow_nan=False))
    assert records[1]["value"] is None
    spleen = records[len(MEASURES)]
    assert (spleen["organ"], spleen["measure"]) == ("spleen", "volume")
    assert spleen["code"] == {"scheme": "SCT", "value": "118565006", "meaning": "Volume"}


def test_rounding_happens_only_on_the_way_out():
    (row,) = (row for row in organ_statistics(*scan(), [SPLEEN]) if row.measure == "hu_sd")
    assert row.value != round(row.value, 2)
    assert rows_to_json([row])[0]["value"] == round(row.value, 2)


def test_table_has_a_line_for_each_organ_that_was_asked_for():
    asked = [organ("liver"), SPLEEN]
    lines = table_text(organ_statistics(*scan(), asked), ORGANS).splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["Liver", "not", "found"]
    assert lines[2].startswith("Spleen")
    assert "150.4" in lines[2]
    assert "below the usual 81-374 mL" in lines[2]
    assert table_text(organ_statistics(*scan(), asked)) == "\n".join(lines)


def test_table_columns_stand_under_their_headings():
    heading, _, line = table_text(organ_statistics(*scan(), [organ("liver"), SPLEEN])).splitlines()
    for title, shown in [("Volume mL", "0.0"), ("Median", "120.0"), ("P95", "228.0")]:
        end = heading.index(title) + len(title)
        assert line[:end].endswith(shown)


def test_real_scan_agrees_with_its_table(real_data):
    from flare_core.imaging.files import read_volume

    case = "hcc009thick"
    listed = json.loads((real_data / "cases.json").read_text(encoding="utf-8"))[case]["ml"]
    image = read_volume(real_data / "ct" / f"{case}.nii.gz")
    labels = read_volume(real_data / "labels" / f"{case}.nii.gz")
    rows = organ_statistics(image, labels.with_array(labels.array.astype(np.uint8)), ORGANS)
    assert values(rows, "liver")["volume"] == pytest.approx(listed["liver"], abs=0.06)
    assert values(rows, "left_kidney")["volume"] == pytest.approx(listed["lkidney"], abs=0.06)
    assert values(rows, "right_kidney")["volume"] == pytest.approx(listed["rkidney"], abs=0.06)
    assert 30 < values(rows, "liver")["hu_median"] < 200


def test_clean_up_and_statistics_stay_within_the_estimate_of_memory() -> None:
    """An organ whose box is the whole scan: 9 bytes a voxel, image and label map among them."""
    tracemalloc = pytest.importorskip("tracemalloc")
    array = np.zeros((60, 128, 128), np.uint8)
    array[0], array[-1], array[:, :10], array[20:30, 60:64, 60:64] = 1, 1, 1, 1
    image = np.full(array.shape, 50, np.int16)
    geometry = Geometry(array.shape, (1.0, 0.8, 0.8))
    tracemalloc.start()
    cleaned, _ = clean_up(Volume(array, geometry))
    organ_statistics(Volume(image, geometry), cleaned)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (BYTES_PER_VOXEL - 3) * array.size + 2e6
