from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION
from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.belief import ClassScores
from flare_core.segment.stroke_history import Stroke, StrokeHistory, corrected_labels

GRID = Geometry((20, 40, 40), (3.0, 2.0, 2.0))
LIVER, SPLEEN = 1, 3


def block(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[z, y, x] = True
    return mask


ORGAN = block(slice(5, 15), slice(8, 32), slice(5, 18))
OTHER = block(slice(5, 15), slice(8, 32), slice(24, 36))


@pytest.fixture(scope="module")
def scan() -> Volume:
    noise = np.random.default_rng(0).normal(0, 8, GRID.shape)
    return Volume((np.where(ORGAN | OTHER, 100, -90) + noise).astype(np.int16), GRID)


@pytest.fixture
def labels() -> np.ndarray:
    """Liver and spleen, each without its upper half."""
    made = np.zeros(GRID.shape, np.uint8)
    made[ORGAN], made[OTHER] = LIVER, SPLEEN
    made[:, :18] = 0
    return made


MISSING = Stroke.of_mask(LIVER, True, block(slice(10, 11), slice(11, 14), slice(7, 16)))
WRONG = Stroke.of_mask(LIVER, False, block(slice(10, 11), slice(26, 29), slice(7, 16)))
SPLEEN_TOO = Stroke.of_mask(SPLEEN, True, block(slice(10, 11), slice(11, 14), slice(26, 34)))


def test_undo_and_redo_walk_through_the_strokes_and_a_new_one_ends_redo() -> None:
    both = StrokeHistory().draw(MISSING).draw(WRONG)
    back = both.undo()
    assert back.strokes == (MISSING,) and back.undone == (WRONG,)
    assert back.redo().strokes == (MISSING, WRONG)
    assert back.draw(SPLEEN_TOO).redo().strokes == (MISSING, SPLEEN_TOO)
    nothing = back.undo()
    assert nothing.undo() is nothing and both.redo() is both
    assert nothing.redo().redo().strokes == both.strokes


def test_any_stroke_can_be_taken_back() -> None:
    history = StrokeHistory().draw(MISSING).draw(WRONG).draw(SPLEEN_TOO)
    assert history.without(1).strokes == (MISSING, SPLEEN_TOO)
    with pytest.raises(InputError, match="0 to 2"):
        history.without(3)


def test_where_strokes_meet_the_later_one_counts() -> None:
    over = Stroke(LIVER, False, MISSING.voxels)
    belongs, outside = StrokeHistory().draw(MISSING).draw(over).marked(LIVER, GRID.shape)
    assert not belongs.any() and outside.sum() == len(MISSING.voxels)


def test_a_stroke_without_a_voxel_is_none() -> None:
    empty = Stroke.of_mask(LIVER, True, np.zeros(GRID.shape, bool))
    assert not StrokeHistory().draw(empty).strokes


def test_taking_a_stroke_back_gives_exactly_what_was_before(scan, labels) -> None:
    one = StrokeHistory().draw(MISSING)
    first = corrected_labels(scan, labels, one)
    second = corrected_labels(scan, labels, one.draw(WRONG))
    assert (first != labels).any() and (second != first).any()
    assert (corrected_labels(scan, labels, one.draw(WRONG).undo()) == first).all()
    assert (corrected_labels(scan, labels, one.undo()) == labels).all()


def test_strokes_of_two_organs_correct_both(scan, labels) -> None:
    history = StrokeHistory().draw(MISSING).draw(SPLEEN_TOO)
    new = corrected_labels(scan, labels, history)
    assert history.organs == (LIVER, SPLEEN)
    assert (new[tuple(MISSING.voxels.T)] == LIVER).all()
    assert (new[tuple(SPLEEN_TOO.voxels.T)] == SPLEEN).all()
    for number, organ in ((LIVER, ORGAN), (SPLEEN, OTHER)):
        assert ((new == number) & organ).sum() > 1.3 * ((labels == number) & organ).sum()


def test_a_reviewed_organ_loses_nothing_and_another_one_may(scan, labels) -> None:
    theirs = Stroke.of_mask(LIVER, True, labels == SPLEEN)
    safe = corrected_labels(
        scan, labels, StrokeHistory().draw(theirs).draw(MISSING), protected=(SPLEEN,)
    )
    assert ((safe == SPLEEN) == (labels == SPLEEN)).all()
    taken = corrected_labels(scan, labels, StrokeHistory().draw(theirs))
    assert not (taken == SPLEEN).any()


def test_axes_of_any_order_give_the_same_voxels(scan, labels) -> None:
    straight = corrected_labels(scan, labels, StrokeHistory().draw(MISSING))
    turned = Volume(
        np.ascontiguousarray(scan.array[::-1].transpose(2, 0, 1)),
        Geometry(
            (40, 20, 40), (2.0, 3.0, 2.0), (0.0, 0.0, 57.0),
            ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
        ),
    )  # fmt: skip
    z, y, x = MISSING.voxels.T
    stroke = Stroke(LIVER, True, np.stack([x, 19 - z, y], axis=1))
    other = corrected_labels(
        turned, np.ascontiguousarray(labels[::-1].transpose(2, 0, 1)), StrokeHistory().draw(stroke)
    )
    assert (other.transpose(1, 2, 0)[::-1] == straight).all()


def test_scores_of_the_network_are_used(scan, labels) -> None:
    doubt = np.zeros((2, *GRID.shape), np.float16)
    doubt[1] = 0.9 * (labels == LIVER) + 0.45 * (ORGAN & (labels == 0))
    doubt[0] = 1 - doubt[1]
    sure = np.stack([labels != LIVER, labels == LIVER]).astype(np.float16)
    gain = [
        np.count_nonzero(
            corrected_labels(
                scan, labels, StrokeHistory().draw(MISSING),
                scores=ClassScores(each, (0, LIVER), GRID),
            ) == LIVER
        )
        for each in (sure, doubt)
    ]  # fmt: skip
    assert gain[1] > gain[0]


def test_a_lesion_is_drawn_over_its_organ_and_taken_back(scan, labels) -> None:
    spot = block(slice(9, 12), slice(21, 26), slice(9, 14))
    hu = Volume(np.where(spot, 40, scan.array).astype(np.int16), GRID)
    drawn = StrokeHistory().draw(
        Stroke.of_mask(LESION.id, True, block(slice(10, 11), slice(23, 24), slice(9, 14)))
    )
    found = corrected_labels(hu, labels, drawn)
    assert (found == LESION.id).sum() > 30
    assert set(np.unique(found[found != labels])) == {LESION.id}
    assert (corrected_labels(hu, labels, drawn.undo()) == labels).all()
    wrong = Stroke.of_mask(LESION.id, False, block(slice(10, 11), slice(23, 24), slice(11, 12)))
    assert (corrected_labels(hu, found, StrokeHistory().draw(wrong)) == labels).all()


def test_an_organ_is_seen_whole_and_its_lesions_stay_over_it(scan, labels) -> None:
    tumour = block(slice(8, 12), slice(19, 26), slice(8, 15))
    plain = corrected_labels(scan, labels, StrokeHistory().draw(MISSING))
    over = np.where(tumour, np.uint8(LESION.id), labels)
    found = corrected_labels(scan, over, StrokeHistory().draw(MISSING))
    assert ((found == LESION.id) == tumour).all()
    assert (found[~tumour] == plain[~tumour]).all()
    there = Stroke.of_mask(LIVER, True, tumour)
    assert (corrected_labels(scan, over, StrokeHistory().draw(there))[tumour] == LESION.id).all()
