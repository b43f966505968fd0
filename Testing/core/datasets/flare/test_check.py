from __future__ import annotations

import shutil

import numpy as np
import pytest

from core.datasets.made_dataset import (
    ALL_13,
    GEOMETRY,
    MAKERS,
    Maker,
    label_map,
    make_flare22,
    make_flare23,
    scan,
)
from flare_core.datasets.flare.check import check_dataset
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.imaging.files import read_labels, read_volume, write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.spread.here import in_processes


def problems(folder, **choices):
    found = check_dataset(find_dataset(folder, **choices))
    return [(f.kind, f.where, f.what) for f in found if f.wrong]


@pytest.fixture
def plain(tmp_path):
    maker = Maker(tmp_path)
    for name in ("a", "b", "c"):
        maker.scan(f"images/{name}_0000")
        maker.labels(f"labels/{name}", ALL_13)
    return tmp_path


@pytest.mark.parametrize("edition", MAKERS)
def test_a_sound_data_set_has_no_problem(tmp_path, edition):
    MAKERS[edition](tmp_path)
    assert problems(tmp_path) == []


def test_two_processes_find_the_same(plain):
    (plain / "labels" / "b.nii.gz").write_bytes(b"no image")
    steps = []
    dataset = find_dataset(plain)
    alone = check_dataset(dataset)
    together = check_dataset(
        dataset, spread=in_processes(2), on_done=lambda *step: steps.append(step)
    )
    assert together == alone
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_doubled_scans_are_found_under_other_names_and_packing(plain):
    shutil.copy(plain / "images" / "a_0000.nii.gz", plain / "images" / "d_0000.nii.gz")
    write_volume(plain / "images" / "e.nii", read_volume(plain / "images" / "a_0000.nii.gz"))
    assert problems(plain) == [("doubled", "a", "the same scan is there 3 times: a, d, e")]


def test_unreadable_scans_and_labels(plain):
    whole = (plain / "images" / "a_0000.nii.gz").read_bytes()
    (plain / "images" / "a_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    (plain / "labels" / "b.nii.gz").write_bytes(b"")
    flat = Volume(np.full(GEOMETRY.shape, 40, np.int16), GEOMETRY)
    write_volume(plain / "images" / "c_0000.nii.gz", flat)
    first, second, third = problems(plain)
    assert first[:2] == ("unreadable", "a")
    assert "truncated" in first[2]
    assert second == ("unreadable", "b", "labels/b.nii.gz: an empty file")
    assert third[:2] == ("unreadable", "c")
    assert "constant image" in third[2]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"spacing_mm": (5.0, 1.5, 2.1)}, "spacing 5 x 1.5 x 2.1 mm instead of 5 x 1.5 x 2 mm"),
        ({"origin_mm": (30.0, -80.0, -298.0)}, "origin 30 x -80 x -298 mm"),
        ({"direction": ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))}, "axes point"),
        ({"shape": (6, 8, 9)}, "shape 6 x 8 x 9 voxels instead of 6 x 8 x 10 voxels"),
    ],
)
def test_off_grid_labels_say_how(plain, changes, difference):
    fields = {name: getattr(GEOMETRY, name) for name in GEOMETRY.__dataclass_fields__}
    grid = Geometry(**(fields | changes))
    z, y, x = grid.shape
    write_labels(plain / "labels" / "a.nii.gz", Volume(label_map(ALL_13).array[:z, :y, :x], grid))
    found = [one for one in problems(plain) if one[0] == "off-grid"]
    assert [(kind, where) for kind, where, _ in found] == [("off-grid", "a")]
    assert difference in found[0][2]


def test_a_shift_of_less_than_a_voxels_rounding_is_no_problem(plain):
    grid = Geometry(GEOMETRY.shape, GEOMETRY.spacing_mm, (30.0, -80.1, -300.0), GEOMETRY.direction)
    write_labels(plain / "labels" / "a.nii.gz", Volume(label_map(ALL_13).array, grid))
    assert problems(plain) == []


def test_unknown_values_are_counted(plain):
    Maker(plain).labels("labels/a", {**ALL_13, 14: 3, 99: 2})
    assert problems(plain) == [
        (
            "mislabelled",
            "a",
            "label value 14 (3 voxels), 99 (2 voxels); only 0 to 13 are known "
            "(FLARE22, FLARE24 and FLARE25 task 2: 13 organs)",
        )
    ]


def test_numbers_of_another_model(plain):
    for name in ("a", "b", "c"):
        Maker(plain).labels(f"labels/{name}", {5: 9, 99: 2})  # liver, a vertebra or so
    assert len(problems(plain)) == 3
    assert problems(plain, scheme="totalsegmentator") == []


def test_values_that_are_no_label_numbers(plain):
    array = scan(1).array
    write_volume(plain / "labels" / "a.nii.gz", Volume(array, GEOMETRY))
    write_volume(plain / "labels" / "b.nii.gz", Volume(array / 7.0, GEOMETRY))
    assert [(kind, where) for kind, where, _ in problems(plain)] == [
        ("mislabelled", "a"),
        ("mislabelled", "b"),
    ]


def test_organs_that_are_not_claimed(plain):
    (plain / "cases.json").write_text('{"a": {"annotated": ["liver", "spleen", "pancreas"]}}')
    Maker(plain).labels("labels/a", {1: 9, 3: 4, 5: 2, 9: 1})
    found = check_dataset(find_dataset(plain))
    assert [(f.kind, f.what) for f in found if f.where == "a"] == [
        ("mislabelled", "labels of Aorta, Gallbladder, which the case does not claim to annotate"),
        ("note", "annotated, but not there: Pancreas"),
    ]


def test_an_empty_label_map_is_wrong_where_all_is_annotated_and_unusual_where_not(tmp_path):
    make_flare22(tmp_path / "22")
    make_flare23(tmp_path / "23")
    Maker(tmp_path / "22").labels("Tuning/labels/FLARETs_0001", {})
    Maker(tmp_path / "23").labels("labelsTr4/FLARE23_0002", {})
    assert problems(tmp_path / "22") == [
        ("mislabelled", "tuning-FLARETs_0001", "the label map is empty")
    ]
    assert problems(tmp_path / "23") == []
    notes = [f for f in check_dataset(find_dataset(tmp_path / "23")) if f.kind == "note"]
    assert ("FLARE23_0002", "the label map is empty") in [(f.where, f.what) for f in notes]


def test_exchanged_sides_are_found_in_patient_space(plain):
    path = plain / "labels" / "a.nii.gz"
    labels = read_labels(path)
    table = np.arange(256, dtype=np.uint8)
    table[[2, 13]] = 13, 2
    write_labels(path, labels.with_array(table[labels.array]))
    assert problems(plain) == [
        ("mislabelled", "a", "the right kidney lies to the left of the left one: sides exchanged")
    ]


def test_what_listing_found_comes_first(plain):
    (plain / "images" / "a_0000.nii.gz").unlink()
    (plain / "labels" / "b.nii.gz").write_bytes(b"")
    assert [kind for kind, _, _ in problems(plain)] == ["missing", "unreadable"]
