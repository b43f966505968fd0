"""Stray pieces and mixed-up sides, on label maps whose truth is built in patient space."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_core.anatomy.organs import ALL_TARGETS, ORGANS, Organ, organ
from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.postprocess import (
    MIRRORED,
    clean_up,
    correct_sides,
    keep_components,
    organ_boxes,
)

LIVER, RK, SPLEEN, AORTA, IVC, RA, LA, LK = 1, 2, 3, 5, 6, 7, 8, 13
LESION = 14

# Centre and half size of boxes, LPS (x, y, z) mm: x grows to the patient's left.
BODY = {
    LIVER: ((-70, 0, 40), (50, 40, 40)),
    SPLEEN: ((95, 20, 50), (20, 25, 25)),
    AORTA: ((12, 40, 0), (9, 9, 90)),
    IVC: ((-22, 35, 0), (9, 9, 90)),
    RK: ((-62, 60, -40), (22, 20, 35)),
    LK: ((66, 60, -30), (22, 20, 35)),
    RA: ((-34, 54, 22), (6, 6, 8)),
    LA: ((38, 54, 22), (6, 6, 8)),
}
CANONICAL = Geometry((40, 60, 80), (5.0, 3.0, 4.0), (-158.0, -90.0, -98.0))


def rotated(degrees):
    """The canonical grid turned about two axes around its centre: no array axis is a body axis."""
    a = np.radians(degrees)
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = turn_z @ turn_x
    rows = np.asarray(CANONICAL.direction) @ turn.T
    centre = CANONICAL.voxel_to_lps((np.asarray(CANONICAL.shape) - 1) / 2)
    origin = centre + turn @ (np.asarray(CANONICAL.origin_mm) - centre)
    direction = tuple(tuple(float(v) for v in row) for row in rows)
    return Geometry(CANONICAL.shape, CANONICAL.spacing_mm, tuple(map(float, origin)), direction)


GRIDS = {
    "canonical": CANONICAL,
    "x_flipped": CANONICAL.permuted(AxisMap((0, 1, 2), (False, False, True))),
    "all_flipped": CANONICAL.permuted(AxisMap((0, 1, 2), (True, True, True))),
    "sagittal": CANONICAL.permuted(AxisMap((2, 0, 1), (True, False, False))),
    "oblique": rotated(15.0),
}


def build(geometry, parts=BODY):
    """A label map in which each voxel is labelled by where it is in the patient."""
    index = np.stack(np.indices(geometry.shape), axis=-1)
    places = geometry.voxel_to_lps(index)
    array = np.zeros(geometry.shape, np.uint8)
    for number, (centre, half) in parts.items():
        array[(np.abs(places - np.array(centre)) <= half).all(axis=-1)] = number
    return Volume(array, geometry)


def renumber(labels, changes):
    table = np.arange(256, dtype=np.uint8)
    for old, new in changes.items():
        table[old] = new
    return labels.with_array(table[labels.array])


SWAPPED = {RK: LK, LK: RK, RA: LA, LA: RA}
EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


@EVERY_GRID
def test_right_labels_stay(grid):
    truth = build(grid)
    assert set(np.unique(truth.array)) == {0, *BODY}
    fixed, notes = correct_sides(truth)
    assert fixed is truth
    assert notes == ()


@EVERY_GRID
def test_swapped_organs_are_swapped_back(grid):
    truth = build(grid)
    fixed, notes = correct_sides(renumber(truth, SWAPPED))
    np.testing.assert_array_equal(fixed.array, truth.array)
    assert len(notes) == 4
    assert "labelled right kidney lay on the patient's left and became left kidney" in notes[0]


@EVERY_GRID
def test_both_kidneys_called_right(grid):
    truth = build(grid)
    fixed, _ = clean_up(renumber(truth, {LK: RK}))
    np.testing.assert_array_equal(fixed.array, truth.array)


def test_input_is_left_alone():
    mixed = renumber(build(CANONICAL), SWAPPED)
    before = mixed.array.copy()
    mixed.array.flags.writeable = False
    clean_up(mixed)
    np.testing.assert_array_equal(mixed.array, before)


def test_a_part_of_the_other_side_inside_a_kidney_comes_home():
    truth = build(CANONICAL)
    mixed = truth.array.copy()
    z, y, x = np.argwhere(truth.array == RK)[0]
    mixed[z : z + 4, y : y + 4, x : x + 3][mixed[z : z + 4, y : y + 4, x : x + 3] == RK] = LK
    assert (mixed == LK).sum() > (truth.array == LK).sum()
    fixed, _ = clean_up(truth.with_array(mixed))
    np.testing.assert_array_equal(fixed.array, truth.array)


def test_situs_inversus_stays_and_is_named():
    mirrored = {n: ((-x, y, z), half) for n, ((x, y, z), half) in BODY.items()}
    truth = build(CANONICAL, mirrored)
    fixed, notes = correct_sides(truth)
    assert fixed is truth
    assert notes == (MIRRORED,)


def test_vessels_on_unusual_sides_stop_it():
    """A cava left of the aorta, a variant or an error: either way no ground to stand on."""
    parts = {**BODY, AORTA: BODY[IVC], IVC: BODY[AORTA]}
    mixed = renumber(build(CANONICAL, parts), {LK: RK})
    fixed, notes = correct_sides(mixed)
    assert fixed is mixed
    assert notes == ()


@pytest.mark.parametrize("present", [(), (AORTA,), (LIVER,), (SPLEEN,), (LIVER, AORTA)])
def test_without_landmarks_nothing_changes(present):
    parts = {n: BODY[n] for n in (*present, RK, LK)}
    mixed = renumber(build(CANONICAL, parts), {LK: RK})
    assert correct_sides(mixed)[0] is mixed


def test_liver_and_spleen_are_enough_for_kidneys():
    parts = {n: BODY[n] for n in (LIVER, SPLEEN, RK, LK)}
    truth = build(CANONICAL, parts)
    fixed, _ = correct_sides(renumber(truth, {RK: LK, LK: RK}))
    np.testing.assert_array_equal(fixed.array, truth.array)


def test_a_horseshoe_kidney_stays_whole():
    parts = {n: BODY[n] for n in (LIVER, SPLEEN, AORTA, IVC, RK)}
    labels = build(CANONICAL, {**parts, LK: ((30, 60, -60), (100, 12, 9))})
    horseshoe = renumber(labels, {LK: RK})
    assert correct_sides(horseshoe)[0] is horseshoe


@pytest.mark.parametrize("x_mm", [-4, 2, 8])
def test_a_piece_near_the_middle_stays(x_mm):
    parts = {n: BODY[n] for n in (LIVER, SPLEEN, AORTA, IVC)}
    labels = build(CANONICAL, {**parts, RA: ((x_mm, 70, 22), (6, 6, 8))})
    assert (labels.array == RA).any()
    assert correct_sides(labels)[0] is labels


def test_scoliosis_the_middle_follows_the_vessels():
    """Both kidneys right of the body's mean middle, but on either side of the vessels there."""
    parts = {
        LIVER: BODY[LIVER],
        SPLEEN: BODY[SPLEEN],
        RK: ((-115, 60, -60), (16, 20, 25)),
        LK: ((-35, 60, -60), (16, 20, 25)),
    }
    labels = build(CANONICAL, parts).array.copy()
    upper = build(CANONICAL, {AORTA: BODY[AORTA], IVC: BODY[IVC]}).array
    shifted = {AORTA: ((-62, 40, 0), (9, 9, 90)), IVC: ((-92, 35, 0), (6, 9, 90))}
    lower = build(CANONICAL, shifted).array
    height = CANONICAL.voxel_to_lps(np.stack(np.indices(CANONICAL.shape), axis=-1))[..., 2]
    vessels = np.where(height < -10, lower, upper)
    labels[(labels == 0) & (vessels > 0)] = vessels[(labels == 0) & (vessels > 0)]
    truth = Volume(labels, CANONICAL)
    assert correct_sides(truth)[0] is truth
    fixed, _ = correct_sides(renumber(truth, {RK: LK, LK: RK}))
    np.testing.assert_array_equal(fixed.array, truth.array)


def test_only_organs_asked_for_are_touched():
    mixed = renumber(build(CANONICAL), SWAPPED)
    fixed, notes = correct_sides(mixed, [organ("liver"), organ("right_adrenal_gland")])
    changed = np.unique(mixed.array[fixed.array != mixed.array])
    assert changed.tolist() == [RA]
    assert len(notes) == 1


def flat(array):
    return Volume(array, Geometry(array.shape, (5.0, 0.7, 0.8)))


def test_largest_piece_only_for_the_liver():
    array = np.zeros((3, 6, 9), np.uint8)
    array[0, 0, :4] = LIVER
    array[2, 4, :5] = LIVER
    kept = keep_components(flat(array)).array
    assert kept[0].sum() == 0
    assert (kept[2, 4, :5] == LIVER).all()
    assert (kept > 0).sum() == 5


def test_pieces_of_a_tenth_stay_for_kidneys():
    array = np.zeros((3, 8, 44), np.uint8)
    array[0, 0, :40] = RK
    array[2, 2, :4] = RK  # exactly a tenth
    array[2, 6, :3] = RK
    kept = keep_components(flat(array)).array
    assert (kept == RK).sum() == 44
    assert kept[2, 6].sum() == 0


def test_every_piece_of_a_lesion_stays():
    array = np.zeros((3, 8, 44), np.uint8)
    array[0, 0, :40] = LESION
    array[2, 6, 0] = LESION
    np.testing.assert_array_equal(keep_components(flat(array)).array, array)


def test_corners_connect():
    array = np.zeros((4, 4, 4), np.uint8)
    for k in range(4):
        array[k, k, k] = SPLEEN
    np.testing.assert_array_equal(keep_components(flat(array)).array, array)


def test_of_two_equal_pieces_one_stays():
    array = np.zeros((1, 3, 9), np.uint8)
    array[0, 0, :3] = SPLEEN
    array[0, 2, :3] = SPLEEN
    assert (keep_components(flat(array)).array == SPLEEN).sum() == 3


def test_a_piece_may_wrap_around_another_organ():
    """The box of one organ holds others: they and their strays are not this organ's business."""
    array = np.full((1, 9, 9), LIVER, np.uint8)
    array[0, 2:7, 2:7] = 0
    array[0, 4, 4] = LIVER
    array[0, 2, 2] = LESION
    kept = keep_components(flat(array)).array
    assert kept[0, 4, 4] == 0
    assert kept[0, 2, 2] == LESION
    assert (kept == LIVER).sum() == (array == LIVER).sum() - 1


def test_organs_not_asked_for_keep_their_strays():
    array = np.zeros((3, 6, 9), np.uint8)
    array[0, 0, :4] = LIVER
    array[2, 4, 0] = LIVER
    assert (keep_components(flat(array), [organ("spleen")]).array == array).all()


def test_organs_side_by_side_keep_what_they_keep_one_after_the_other():
    labels = build(CANONICAL)
    specks = np.random.default_rng(0).random(CANONICAL.shape) < 0.02
    labels.array[specks] = np.arange(specks.sum()) % 13 + 1
    one, two = (keep_components(labels, threads=n).array for n in (1, 2))
    assert np.array_equal(one, two)
    assert np.count_nonzero(one) < np.count_nonzero(labels.array)


def test_boxes_hold_each_organ_and_no_more():
    array = np.zeros((5, 6, 7), np.uint8)
    array[1:3, 2, 6], array[4, 5, 0] = 3, 9
    slices = (slice(1, 3), slice(2, 3), slice(6, 7)), (slice(4, 5), slice(5, 6), slice(0, 1))
    assert organ_boxes(array) == {3: slices[0], 9: slices[1]}
    assert organ_boxes(np.zeros((5, 6, 7), np.uint8)) == {}


def test_empty_map():
    empty = flat(np.zeros((2, 3, 4), np.uint8))
    cleaned, notes = clean_up(empty)
    assert not cleaned.array.any()
    assert notes == ()


def test_sides_come_before_pieces():
    """Pieces first would keep the left adrenal as the right one and lose the true right one."""
    truth = build(CANONICAL, {**BODY, LA: ((38, 54, 22), (8, 8, 12))})
    fixed, _ = clean_up(renumber(truth, {LA: RA}))
    np.testing.assert_array_equal(fixed.array, truth.array)


@pytest.mark.parametrize("case", ["hcc009a", "acrin042", "totalseg_ct"])
def test_real_scans_keep_their_sides_and_get_them_back(real_data, case):
    """`totalseg_ct` is stored RAS."""
    assert case in json.loads((real_data / "cases.json").read_text(encoding="utf-8"))
    truth = read(real_data / "labels" / f"{case}.nii.gz")
    assert correct_sides(truth)[0] is truth
    fixed, notes = correct_sides(renumber(truth, SWAPPED), ALL_TARGETS)
    np.testing.assert_array_equal(fixed.array, truth.array)
    assert notes


def read(path):
    """Read a label map with SimpleITK itself: this test is not about reading."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    columns = np.array(image.GetDirection()).reshape(3, 3)
    direction = tuple(tuple(map(float, columns[:, 2 - axis])) for axis in range(3))
    geometry = Geometry(
        image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin(), direction
    )
    return Volume(SimpleITK.GetArrayFromImage(image), geometry)


def blob(key: str, ml: float, *, cut: bool = False) -> Volume:
    """A cube of one organ in 100 x 100 x 100 mm of 1 mm voxels, at the scan's edge or off it."""
    side = round((1000 * ml) ** (1 / 3))
    array = np.zeros((100, 100, 100), np.uint8)
    start = 0 if cut else 20
    array[start : start + side, 20 : 20 + side, 20 : 20 + side] = organ(key).id
    return Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("target", [each for each in ORGANS if each.key != "liver"])
def test_a_speck_is_no_organ(target: Organ) -> None:
    """A right adrenal gland of 0.00 mL and a gallbladder of 0.02 mL were reported once."""
    assert 0 < target.least_ml < 10
    speck, whole = blob(target.key, 0.5 * target.least_ml), blob(target.key, 2 * target.least_ml)
    assert not clean_up(speck)[0].array.any()
    assert clean_up(whole)[0].array.any()


def test_what_the_scan_cuts_may_be_small() -> None:
    assert clean_up(blob("spleen", 1.0, cut=True))[0].array.any()
    assert not clean_up(blob("spleen", 1.0))[0].array.any()
    assert not clean_up(blob("spleen", 0.1, cut=True))[0].array.any()


def test_a_least_volume_is_far_below_the_usual_ones() -> None:
    for each in ORGANS:
        if each.volume_range_ml is not None:
            assert each.least_ml <= 0.25 * each.volume_range_ml[0], each.key


def ascites_and_liver(geometry: Geometry) -> Volume:
    """A liver, and in the pelvis twice as much of something a network called liver."""
    spare = {number: place for number, place in BODY.items() if number not in (LIVER, RA)}
    parts = {**spare, LIVER: ((-70, 0, 60), (45, 40, 20))}
    labels = build(geometry, parts)
    pelvis = build(geometry, {LIVER: ((0, -20, -85), (80, 50, 12))})
    labels.array[pelvis.array == LIVER] = LIVER
    return labels


def centre_of_liver_mm(labels: Volume) -> float:
    """Height of the liver's middle, LPS z."""
    voxels = np.argwhere(labels.array == LIVER).mean(axis=0)
    return float(labels.geometry.voxel_to_lps(voxels)[2])


@pytest.mark.parametrize("grid", ["canonical", "sagittal", "oblique"])
def test_a_larger_piece_below_the_kidneys_is_not_the_liver(grid: str) -> None:
    """2277 mL of liver were deleted once, and 4654 mL of a pelvic mass kept."""
    labels = ascites_and_liver(GRIDS[grid])
    assert centre_of_liver_mm(keep_components(labels)) == pytest.approx(60, abs=4)


def test_without_kidneys_the_density_tells_fluid_from_liver() -> None:
    labels = ascites_and_liver(CANONICAL)
    labels.array[(labels.array == RK) | (labels.array == LK)] = 0
    assert centre_of_liver_mm(keep_components(labels)) < -60  # nothing speaks against the larger
    hu = np.full(labels.array.shape, 85, np.int16)
    low = labels.geometry.voxel_to_lps(np.argwhere(labels.array >= 0))[:, 2] < -60
    hu[low.reshape(hu.shape)] = 11
    kept = keep_components(labels, image=labels.with_array(hu))
    assert centre_of_liver_mm(kept) == pytest.approx(60, abs=4)
    fatty = keep_components(labels, image=labels.with_array(np.full_like(hu, 11)))
    assert centre_of_liver_mm(fatty) < -60  # both alike: the larger


def test_a_small_dense_speck_does_not_replace_a_cystic_organ() -> None:
    labels = build(CANONICAL, {**BODY, LIVER: ((-70, 0, 40), (50, 40, 40))})
    labels.array[0, 0:2, 0:2] = LIVER
    hu = np.where(labels.array == LIVER, 10, 0).astype(np.int16)
    hu[0] = 90
    kept = keep_components(labels, image=labels.with_array(hu))
    assert centre_of_liver_mm(kept) == pytest.approx(40, abs=5)
