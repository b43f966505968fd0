from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from core.datasets.made_dataset import (
    ALL_13,
    GEOMETRY,
    Maker,
    label_map,
    make_flare21,
    make_flare24_task1,
)
from flare_core.anatomy.label_schemes import FLARE23, SCHEMES
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.datasets.flare.labels import (
    annotated_in,
    has_our_numbers,
    organ_labels,
    write_organ_labels,
)
from flare_core.datasets.flare.sides import split_sides
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, read_volume, write_labels
from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.label_map import label_counts
from flare_core.imaging.volume import Volume

SIDES = (2, 13)


def test_label_counts_are_those_written(tmp_path):
    path = Maker(tmp_path).labels("a", ALL_13)
    counts = label_counts(path)
    assert {v: n for v, n in enumerate(counts) if v and n} == ALL_13
    assert sum(counts) == 480


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ([14], {"lesion"}),
        ([2, 13], {"liver", "right_kidney", "left_kidney", "spleen", "pancreas"}),
        ([1, 14], {"liver", "right_kidney", "left_kidney", "spleen", "pancreas", "lesion"}),
        ([], set()),
    ],
)
def test_what_values_tell_about_a_partly_labelled_file(values, keys):
    assert set(annotated_in(FLARE23, values)) == keys


def test_one_rare_organ_tells_that_all_13_were_looked_for():
    assert len(annotated_in(FLARE23, [0, 7])) == 13
    assert len(annotated_in(FLARE23, [0, 7, 14])) == 14


def test_whose_numbers_are_ours():
    assert {key for key in SCHEMES if has_our_numbers(key)} == {"flare22", "flare23"}


def test_task1_lesions_are_not_livers(tmp_path):
    make_flare24_task1(tmp_path)
    case = next(c for c in find_dataset(tmp_path).cases if c.name == "covid_1")
    ours = organ_labels(case).array
    assert np.unique(ours).tolist() == [0, 14]
    assert np.count_nonzero(ours) == 6


def test_healthy_scans_have_an_empty_label_map(tmp_path):
    make_flare24_task1(tmp_path)
    cases = {case.name: case for case in find_dataset(tmp_path).cases}
    empty = organ_labels(cases["healthy_1"])
    assert empty.array.shape == GEOMETRY.shape
    assert not empty.array.any()
    assert empty.geometry.same_grid(GEOMETRY, 1e-3)
    with pytest.raises(InputError, match="a labelled case"):
        organ_labels(cases["amos_0001"])


def test_flare21_gets_sides_and_keeps_the_other_organs(tmp_path):
    make_flare21(tmp_path)
    case = find_dataset(tmp_path).labelled[0]
    write_organ_labels(case, tmp_path / "ours.nii.gz")
    ours = read_labels(tmp_path / "ours.nii.gz")
    theirs = read_labels(case.labels)
    for value in (1, 3, 4):
        assert np.array_equal(ours.array == value, theirs.array == value)
    assert np.array_equal(np.isin(ours.array, SIDES), theirs.array == 2)
    assert ours.geometry.same_grid(theirs.geometry)


def test_a_label_map_on_another_grid_is_refused_with_the_difference(tmp_path):
    make_flare21(tmp_path)
    case = find_dataset(tmp_path).labelled[0]
    moved = Geometry(GEOMETRY.shape, (5.0, 1.5, 2.5), GEOMETRY.origin_mm, GEOMETRY.direction)
    write_labels(case.labels, Volume(label_map({1: 5}).array, moved))
    with pytest.raises(InputError, match="spacing 5 x 1.5 x 2.5 mm instead of 5 x 1.5 x 2 mm"):
        organ_labels(case)


def test_an_unknown_value_is_refused(tmp_path):
    make_flare21(tmp_path)
    case = find_dataset(tmp_path).labelled[0]
    write_labels(case.labels, label_map({5: 3}))
    with pytest.raises(InputError, match="label value 5"):
        organ_labels(case)


# --- sides: a made body whose right and left are known, in every storage order

BODY = Geometry(
    (20, 30, 60),
    (5.0, 6.0, 6.0),
    (-177.0, -90.0, 0.0),
    ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
)
"""Towards superior, posterior, left; x = 0 (LPS) between columns 29 and 30."""

STORED = [AxisMap(o, f) for o in permutations(range(3)) for f in product((False, True), repeat=3)]


def body(shift: int = 0) -> Volume:
    hu = np.full(BODY.shape, -1000, np.int16)
    hu[:, 5:25, 8 + shift : 52 + shift] = 40
    return Volume(hu, BODY)


def kidneys(*columns: slice) -> Volume:
    labels = np.zeros(BODY.shape, np.uint8)
    for each in columns:
        labels[6:14, 14:20, each] = 2
    return Volume(labels, BODY)


RIGHT, LEFT = slice(16, 23), slice(38, 45)


def stored_as(axes: AxisMap, volume: Volume) -> Volume:
    return Volume(np.ascontiguousarray(axes.apply(volume.array)), volume.geometry.permuted(axes))


def never() -> Volume:
    raise AssertionError("the scan is not needed here")


@pytest.mark.parametrize("axes", STORED[::7])
def test_two_kidneys_are_told_apart_in_any_storage_order(axes):
    split = split_sides(stored_as(axes, kidneys(RIGHT, LEFT)), SIDES, never)
    expected = kidneys(RIGHT).array + (kidneys(LEFT).array // 2) * 13
    assert np.array_equal(split.array, stored_as(axes, Volume(expected, BODY)).array)


@pytest.mark.parametrize("axes", STORED[::11])
@pytest.mark.parametrize(("place", "number"), [(RIGHT, 2), (LEFT, 13)])
def test_a_lone_kidney_is_told_by_the_body(axes, place, number):
    split = split_sides(
        stored_as(axes, kidneys(place)), SIDES, lambda: stored_as(axes, body(shift=-4))
    )
    assert set(np.unique(split.array)) == {0, number}


def test_a_kidney_in_two_pieces_stays_one():
    labels = kidneys(slice(38, 41), slice(43, 46))
    assert set(np.unique(split_sides(labels, SIDES, body).array)) == {0, 13}


def test_a_horseshoe_kidney_is_cut_in_the_middle():
    split = split_sides(kidneys(slice(18, 42)), SIDES, body).array
    assert set(np.unique(split[..., :30])) == {0, 2}
    assert set(np.unique(split[..., 30:])) == {0, 13}


def test_a_crumb_near_the_middle_follows_its_side():
    labels = kidneys(RIGHT, LEFT)
    labels.array[2, 10, 27] = 2
    labels.array[2, 10, 32] = 2
    split = split_sides(labels, SIDES, never).array
    assert (split[2, 10, 27], split[2, 10, 32]) == (2, 13)


def test_no_kidney_changes_nothing():
    empty = kidneys()
    assert split_sides(empty, SIDES, never) is empty


def test_sides_of_real_kidneys(real_data):
    labels = read_labels(real_data / "labels" / "hcc009thick.nii.gz")
    for gone in (None, 2, 13):  # both kidneys, then each one alone
        truth = np.where(labels.array == gone, 0, labels.array) if gone else labels.array
        merged = np.where(truth == 13, 2, truth).astype(np.uint8)
        split = split_sides(
            labels.with_array(merged),
            SIDES,
            lambda: read_volume(real_data / "ct" / "hcc009thick.nii.gz"),
        )
        assert np.array_equal(split.array, truth)
