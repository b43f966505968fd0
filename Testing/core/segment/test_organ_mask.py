from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import OrganMask
from flare_core.segment.organ_mask import closed, seen_voxels

LIVER, SPLEEN = organ("liver").id, organ("spleen").id
GRID = Geometry((12, 40, 40), (3.0, 1.0, 1.0))
BARE = OrganMask(("liver",), outside_hu=-200.0)


def scan(hu: float = 60.0) -> tuple[Volume, Volume]:
    """A block of liver, and everywhere the same tissue."""
    organs = np.zeros(GRID.shape, np.uint8)
    organs[2:10, 8:32, 8:32] = LIVER
    return Volume(np.full(GRID.shape, hu, np.float32), GRID), Volume(organs, GRID)


def test_the_organ_alone_is_seen() -> None:
    image, organs = scan()
    organs.array[2:10, 33:38, 8:32] = SPLEEN
    assert np.array_equal(seen_voxels(image, organs, BARE), organs.array == LIVER)


def test_several_organs_are_seen_as_one() -> None:
    image, organs = scan()
    organs.array[2:10, 33:38, 8:32] = SPLEEN
    both = OrganMask(("liver", "spleen"), outside_hu=-200.0)
    assert np.array_equal(seen_voxels(image, organs, both), organs.array > 0)


def test_nothing_is_seen_where_the_organ_is_not() -> None:
    image, organs = scan()
    organs.array[:] = SPLEEN
    assert not seen_voxels(image, organs, BARE).any()


def test_stray_pieces_are_not_seen() -> None:
    image, organs = scan()
    organs.array[0, :3, :3] = LIVER
    assert not seen_voxels(image, organs, BARE)[0].any()


def test_holes_of_a_slice_are_seen_and_narrow_gaps_with_a_closing() -> None:
    image, organs = scan()
    organs.array[4, 15:25, 15:25] = 0  # a hole in one slice
    organs.array[2:10, 8:32, 20:23] = 0  # a slit of 3 mm through all of it
    kept = seen_voxels(image, organs, BARE)
    assert not kept[6, 10, 21]
    seen = seen_voxels(image, organs, OrganMask(("liver",), outside_hu=-200.0, closing_mm=3.0))
    assert seen[2:10, 8:32, 8:32].all() and seen.sum() == 8 * 24 * 24


def test_dents_are_seen_as_far_as_they_hold_soft_tissue_and_no_other_organ() -> None:
    image, organs = scan()
    organs.array[2:10, 8:16, 14:26] = 0  # a dent 12 mm wide
    organs.array[2:6, 8:16, 14:26] = SPLEEN
    image.array[8:10, 8:16, 14:26] = -100.0  # fat
    shallow = OrganMask(("liver",), outside_hu=-200.0, closing_mm=2.0)
    assert not seen_voxels(image, organs, shallow)[:, 8:14, 18:22].any()
    deep = OrganMask(("liver",), outside_hu=-200.0, closing_mm=2.0, dents_mm=9.0)
    dent = seen_voxels(image, organs, deep)[:, 9:15, 17:23]
    assert dent[6:8].all()
    assert not dent[2:5].any() and not dent[9:].any()


def test_the_edge_is_widened_by_millimetres_of_each_axis() -> None:
    image, organs = scan()
    wide = OrganMask(("liver",), outside_hu=-200.0, widening_mm=(3.0, 2.0, 0.0))
    expected = np.zeros(GRID.shape, bool)
    expected[1:11, 6:34, 8:32] = True
    assert np.array_equal(seen_voxels(image, organs, wide), expected)


def test_an_organ_at_the_scans_edge_is_widened_inside_the_scan() -> None:
    image, organs = scan()
    organs.array[:, :, :] = LIVER
    wide = OrganMask(("liver",), outside_hu=-200.0, closing_mm=5.0, widening_mm=(6.0, 2.0, 2.0))
    assert seen_voxels(image, organs, wide).all()


@pytest.mark.parametrize("radius", [0.0, 1.0, 4.0])
def test_closing_never_takes_voxels_away(radius: float) -> None:
    random = np.random.default_rng(1).random((6, 12, 12)) > 0.6
    assert (closed(random, radius, (3.0, 1.0, 1.0)) >= random).all()


def test_a_hidden_organ_is_not_seen_with_liver_all_around_it() -> None:
    image, organs = scan()
    gallbladder = np.zeros(GRID.shape, bool)
    gallbladder[4:8, 14:22, 14:22] = True
    organs.array[gallbladder] = organ("gallbladder").id
    filled = OrganMask(("liver",), outside_hu=-200.0, widening_mm=(3.0, 2.0, 2.0))
    assert seen_voxels(image, organs, filled)[gallbladder].all()
    seen = seen_voxels(image, organs, replace(filled, hidden=("gallbladder",)))
    assert not seen[gallbladder].any()
    assert seen[2:10, 8:32, 8:32].sum() == 8 * 24 * 24 - gallbladder.sum()


def test_a_small_piece_of_a_hidden_organ_at_the_organs_edge_is_seen() -> None:
    """A tumour of 20 mm at the liver's edge was called gallbladder, and so hidden (hcc011a)."""
    image, organs = scan()
    gallbladder, tumour, far = (np.zeros(GRID.shape, bool) for _ in range(3))
    gallbladder[2:10, 10:30, 32:38] = True
    tumour[5:8, 6:11, 14:18] = True  # bulges out of the liver by two voxels
    far[5:8, 2:5, 34:38] = True
    organs.array[gallbladder | tumour | far] = organ("gallbladder").id
    seen = seen_voxels(image, organs, replace(BARE, hidden=("gallbladder",)))
    assert seen[tumour].all()
    assert not seen[gallbladder].any() and not seen[far].any()


def test_the_piece_of_a_hidden_organ_is_hidden_where_it_is_the_only_one() -> None:
    image, organs = scan()
    organs.array[5:8, 6:11, 14:18] = organ("gallbladder").id
    seen = seen_voxels(image, organs, replace(BARE, hidden=("gallbladder",)))
    assert np.array_equal(seen, organs.array == LIVER)


def test_an_organ_is_not_seen_and_hidden() -> None:
    with pytest.raises(InputError, match="hidden"):
        OrganMask(("liver",), outside_hu=-200.0, hidden=("liver",))
