from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.scribbles import (
    BELONGS,
    OUTSIDE,
    drawn,
    make_scribbles,
    remove_scribbles,
    show_strokes,
    with_drawn,
)

from flare_core.segment.stroke_history import Stroke, StrokeHistory
from scene_nodes import set_mask

NAMES = {BELONGS: "Belongs", OUTSIDE: "Does not belong"}
PLACE = np.array([[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]])
SHAPE = (12, 20, 24)
LIVER = 1


def block(*spans: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[spans] = True
    return mask


ONE, TWO = block(slice(4, 5), slice(5, 8), slice(5, 9)), block(slice(4, 5), slice(12, 14))


@pytest.fixture
def volume(add_volume, small_ct):
    return add_volume(small_ct[0], PLACE)


@pytest.fixture
def scratch(volume):
    return make_scribbles(volume, NAMES)


def read(scratch, volume, history=None):
    return with_drawn(history or StrokeHistory(), LIVER, *drawn(scratch, volume), SHAPE)


def test_it_is_hidden_not_saved_and_leaves_nothing(scene, volume):
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    node = make_scribbles(volume, NAMES)
    assert node.GetHideFromEditors() and not node.GetSaveWithScene()
    assert [node.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)] == [
        "Belongs", "Does not belong",
    ]  # fmt: skip
    remove_scribbles(node)
    remove_scribbles(node)
    after = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    assert after == before


def test_what_is_drawn_comes_back_voxel_by_voxel(scratch, volume):
    set_mask(scratch, BELONGS, ONE, volume)
    set_mask(scratch, OUTSIDE, TWO, volume)
    belongs, outside = drawn(scratch, volume)
    assert np.array_equal(belongs, np.argwhere(ONE))
    assert np.array_equal(outside, np.argwhere(TWO))


def test_strokes_follow_a_transform_of_the_ct(volume, add_transform):
    turn = np.eye(4)
    turn[:3, 3] = 7, -3, 11
    add_transform(volume, turn)
    node = make_scribbles(volume, NAMES)
    set_mask(node, BELONGS, ONE, volume)
    assert np.array_equal(drawn(node, volume)[0], np.argwhere(ONE))


def test_each_look_finds_only_the_new_stroke(scratch, volume):
    set_mask(scratch, BELONGS, ONE, volume)
    first = read(scratch, volume)
    set_mask(scratch, BELONGS, ONE | TWO, volume)
    second = read(scratch, volume, first)
    assert len(first.strokes) == 1 and second.strokes[0] is first.strokes[0]
    assert np.array_equal(second.strokes[1].voxels, np.argwhere(TWO))
    assert read(scratch, volume, second) is second


def test_what_is_erased_leaves_its_stroke(scratch, volume):
    set_mask(scratch, BELONGS, ONE | TWO, volume)
    both = read(scratch, volume)
    set_mask(scratch, BELONGS, ONE, volume)
    assert np.array_equal(read(scratch, volume, both).strokes[0].voxels, np.argwhere(ONE))
    set_mask(scratch, BELONGS, np.zeros(SHAPE, bool), volume)
    assert not read(scratch, volume, both).strokes


def test_drawing_over_the_other_kind_is_a_stroke_that_can_be_undone(scratch, volume):
    set_mask(scratch, BELONGS, ONE, volume)
    history = read(scratch, volume)
    set_mask(scratch, BELONGS, np.zeros(SHAPE, bool), volume)
    set_mask(scratch, OUTSIDE, ONE, volume)
    history = read(scratch, volume, history)
    assert [stroke.belongs for stroke in history.strokes] == [True, False]
    show_strokes(scratch, volume, history.undo())
    belongs, outside = drawn(scratch, volume)
    assert np.array_equal(belongs, np.argwhere(ONE)) and not len(outside)


def test_a_history_is_shown_as_it_counts(scratch, volume):
    history = StrokeHistory().draw(Stroke.of_mask(LIVER, True, ONE | TWO))
    show_strokes(scratch, volume, history.draw(Stroke.of_mask(LIVER, False, TWO)))
    belongs, outside = drawn(scratch, volume)
    assert np.array_equal(belongs, np.argwhere(ONE))
    assert np.array_equal(outside, np.argwhere(TWO))
    show_strokes(scratch, volume, StrokeHistory())
    assert not any(len(each) for each in drawn(scratch, volume))
