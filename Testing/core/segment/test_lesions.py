"""An organ keeps its tumours, and a finding that touches no organ is none."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION, organ
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.lesions import (
    Piece,
    connected,
    head_to_foot,
    hosted,
    place_lesions,
    whole_organs,
)

GRID = Geometry((20, 40, 40), (3.0, 2.0, 2.0))
LIVER, KIDNEY, GALLBLADDER, AORTA = (
    organ(key).id for key in ("liver", "right_kidney", "gallbladder", "aorta")
)


def organs(**blocks: tuple[slice, slice, slice]) -> Volume:
    """Organ ids; keys are organ keys, later ones over earlier ones."""
    array = np.zeros(GRID.shape, np.uint8)
    for key, place in blocks.items():
        array[place] = organ(key).id
    return Volume(array, GRID)


def box(z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> tuple[slice, slice, slice]:
    return slice(*z), slice(*y), slice(*x)


def mask(*places: tuple[slice, slice, slice]) -> Volume:
    array = np.zeros(GRID.shape, bool)
    for place in places:
        array[place] = True
    return Volume(array, GRID)


def only(place: tuple[slice, slice, slice]) -> Piece:
    (piece,) = connected(mask(place).array)
    return piece


BODY = box((4, 16), (8, 32), (8, 32))
SPOT = box((8, 12), (14, 22), (14, 22))


def keep(labels: Volume) -> Volume:
    return labels


def test_a_hole_is_filled_and_the_lesion_painted_on_top() -> None:
    liver = organs(liver=BODY)
    liver.array[SPOT] = 0
    labels, pieces = place_lesions(liver, mask(SPOT), 0.0, keep)
    assert (labels.array[SPOT] == LESION.id).all()
    assert np.count_nonzero(labels.array == LESION.id) == 4 * 8 * 8
    assert [(p.organ.key, p.within) for p in pieces if p.organ] == [("liver", True)]
    assert np.array_equal(whole_organs(labels, pieces).array == LIVER, organs(liver=BODY).array > 0)


def test_holes_of_a_lesions_slices_are_part_of_it_and_of_the_liver() -> None:
    """Lipiodol in a tumour was neither tumour nor liver (hcc007b); a vessel stays one."""
    lipiodol, vein = box((9, 11), (16, 18), (16, 18)), box((9, 11), (19, 20), (19, 20))
    liver = organs(liver=BODY, inferior_vena_cava=vein)
    liver.array[lipiodol] = 0
    ring = mask(SPOT)
    ring.array[lipiodol] = ring.array[vein] = False
    labels, (piece,) = place_lesions(liver, ring, 0.0, keep)
    assert (labels.array[lipiodol] == LESION.id).all()
    assert (labels.array[vein] == organ("inferior_vena_cava").id).all()
    assert (whole_organs(labels, [piece]).array[lipiodol] == LIVER).all()


def test_a_second_lesion_in_the_first_ones_hole_is_one_with_it() -> None:
    rim = mask(SPOT)
    rim.array[8:12, 15:21, 15:21] = False
    rim.array[9:11, 17:19, 17:19] = True
    _, pieces = place_lesions(organs(liver=BODY), rim, 0.0, keep)
    assert [piece.voxels for piece in pieces] == [4 * 8 * 8]


def test_clean_up_sees_whole_organs() -> None:
    """A lesion through the whole liver must not cost the part behind it."""
    liver = organs(liver=BODY)
    through = box((4, 16), (18, 22), (8, 32))
    liver.array[through] = 0
    seen = []

    def clean(labels: Volume) -> Volume:
        seen.append(len(connected(labels.array == LIVER)))
        return labels

    place_lesions(liver, mask(through), 0.0, clean)
    assert seen == [1]


def test_what_is_called_gallbladder_inside_the_liver_is_liver() -> None:
    labels, pieces = place_lesions(organs(liver=BODY, gallbladder=SPOT), mask(SPOT), 0.0, keep)
    assert [p.organ.key for p in pieces if p.organ] == ["liver"]
    whole = whole_organs(labels, pieces).array
    assert GALLBLADDER not in whole and (whole[BODY] == LIVER).all()


def test_a_lesion_that_takes_a_whole_organ_is_that_organs() -> None:
    kidney = box((6, 14), (10, 18), (10, 18))
    piece = hosted(
        only(kidney), organs(liver=box((6, 14), (10, 18), (18, 32)), right_kidney=kidney)
    )
    assert piece.organ is not None and (piece.organ.key, piece.within) == ("right_kidney", True)


def test_a_mass_that_only_lies_against_the_liver_does_not_make_it_larger() -> None:
    mass = box((0, 20), (0, 40), (33, 40))  # one voxel of fat between them
    labels, pieces = place_lesions(organs(liver=BODY), mask(mass), 0.0, keep)
    assert [(p.organ.key, p.within) for p in pieces if p.organ] == [("liver", False)]
    assert np.array_equal(whole_organs(labels, pieces).array, organs(liver=BODY).array)


def test_a_bulging_tumour_belongs_to_its_kidney() -> None:
    tumour = box((6, 14), (26, 38), (14, 26))  # half of it beyond the organ
    _, pieces = place_lesions(organs(right_kidney=BODY), mask(tumour), 0.0, keep)
    assert [(p.organ.key, p.within) for p in pieces if p.organ] == [("right_kidney", True)]


def test_findings_that_touch_no_organ_or_are_too_small_are_dropped() -> None:
    far, speck = box((0, 2), (36, 38), (36, 38)), box((5, 6), (9, 10), (9, 10))
    labels, pieces = place_lesions(organs(liver=BODY), mask(SPOT, far, speck), 0.1, keep)
    assert len(pieces) == 1 and (labels.array[far] == 0).all()
    assert (labels.array[speck] == LIVER).all()  # 0.012 mL of liver stay liver


def test_what_clean_up_takes_away_cannot_hold_a_lesion() -> None:
    stray = box((0, 3), (0, 6), (0, 6))
    both = organs(liver=BODY)
    both.array[stray] = LIVER

    def clean(labels: Volume) -> Volume:
        array = labels.array.copy()
        array[stray] = 0
        return labels.with_array(array)

    _, pieces = place_lesions(both, mask(box((0, 2), (1, 4), (1, 4))), 0.0, clean)
    assert pieces == ()


def test_a_model_that_knows_no_organ_keeps_every_finding() -> None:
    labels, pieces = place_lesions(organs(), mask(SPOT), 0.0, keep)
    assert len(pieces) == 1 and pieces[0].organ is None
    assert np.count_nonzero(labels.array) == 4 * 8 * 8


def test_a_vessel_is_a_neighbour_only_where_nothing_else_is() -> None:
    beside = box((8, 12), (14, 22), (32, 36))
    vessel = box((0, 20), (14, 22), (36, 40))
    found = hosted(only(beside), organs(liver=BODY, aorta=vessel))
    assert found.organ is not None and found.organ.key == "liver"
    alone = hosted(only(beside), organs(aorta=vessel))
    assert alone.organ is not None and (alone.organ.key, alone.within) == ("aorta", False)


@pytest.mark.parametrize("gap", [0, 1])
def test_touching_bridges_a_rim_of_a_voxel_but_no_more(gap: int) -> None:
    near = box((8, 12), (14, 22), (32 + gap, 38))
    assert hosted(only(near), organs(liver=BODY)).organ is not None
    assert hosted(only(box((8, 12), (14, 22), (35, 38))), organs(liver=BODY)).organ is None


def test_a_spot_that_barely_reaches_an_organ_is_none_of_its_lesions() -> None:
    """Its lowest corner is beside the liver's dome; the rest lies in the heart."""
    spot = box((15, 20), (28, 40), (28, 40))
    assert hosted(only(spot), organs(liver=box((4, 16), (8, 31), (8, 31)))).organ is not None
    assert hosted(only(spot), organs(liver=box((4, 15), (8, 30), (8, 28)))).organ is None


def test_findings_are_numbered_from_head_to_foot_and_from_the_right() -> None:
    high, low = box((16, 18), (0, 2), (30, 32)), box((2, 4), (0, 2), (0, 2))
    left, right = box((8, 10), (0, 2), (30, 32)), box((8, 10), (0, 2), (4, 6))
    found = head_to_foot(connected(mask(low, left, right, high).array))
    assert [p.box for p in found] == [high, right, left, low]


def test_pieces_that_share_a_corner_are_one() -> None:
    assert len(connected(mask(box((0, 2), (0, 2), (0, 2)), box((2, 4), (2, 4), (2, 4))).array)) == 1
    assert connected(np.zeros((3, 3, 3), bool)) == []
