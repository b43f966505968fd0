"""What strokes make of the labels lands in the right segments, and goes again."""

from __future__ import annotations

import time

import numpy as np
import pytest
from FLARESegLib.correction.current_labels import voxels_of
from FLARESegLib.correction.scribbles import (
    BELONGS,
    OUTSIDE,
    drawn,
    make_scribbles,
    set_part,
    show_strokes,
    with_drawn,
)
from FLARESegLib.correction.stroke_segments import StrokeSegments, start_steps
from FLARESegLib.scene.lesion_segments import made_by_us
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids
from FLARESegLib.scene.volumes import finish, node_volume

from flare_core.anatomy.organs import LESION
from flare_core.imaging.geometry import Box
from flare_core.segment.lesion_list import list_lesions
from flare_core.segment.stroke_history import StrokeHistory
from scene_nodes import show_result

PLACE = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 50], [0, 0, 3, -30], [0, 0, 0, 1]])
SHAPE = (12, 30, 32)
ALL = Box.of_shape(SHAPE)
LIVER = 1


def block(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[z, y, x] = True
    return mask


ORGAN = block(slice(1, 11), slice(4, 26), slice(4, 26))
OLD = block(slice(3, 5), slice(8, 12), slice(8, 12))
BESIDE = block(slice(3, 5), slice(8, 12), slice(12, 15))
APART = block(slice(8, 10), slice(18, 22), slice(16, 22))
BETWEEN = block(slice(3, 10), slice(8, 22), slice(15, 17))


class Scene:
    def __init__(self, volume):
        self.volume = volume
        labels = np.zeros(SHAPE, np.uint8)
        labels[ORGAN], labels[OLD] = LIVER, LESION.id
        image = node_volume(volume)
        lesions = [each.to_dict() for each in list_lesions(image, image.with_array(labels))]
        self.node = show_result(volume, labels, lesions=lesions)
        self.start = finish(start_steps(self.node, volume))
        self.segments = StrokeSegments(self.node, volume, self.start)

    def write(self, *lesions: np.ndarray) -> None:
        """Say that these are the lesions now."""
        labels = np.where(ORGAN, np.uint8(LIVER), np.uint8(0))
        for mask in lesions:
            labels[mask] = LESION.id
        self.segments.write(labels, ALL)

    def lesions(self) -> dict[str, np.ndarray]:
        return {number: self.mask(number) for number in identify(self.node).lesions}

    def mask(self, number: str) -> np.ndarray:
        mask = np.zeros(SHAPE, bool)
        mask[tuple(voxels_of(self.node, number, self.volume).T)] = True
        return mask

    def liver(self) -> np.ndarray:
        return self.mask(organ_segment_ids(self.node)["liver"])


@pytest.fixture
def shown(add_volume):
    return Scene(add_volume(np.where(ORGAN, 100, -90).astype(np.int16), PLACE))


def same(found: dict[str, np.ndarray], *wanted: np.ndarray) -> bool:
    return len(found) == len(wanted) and all(
        any((mask == each).all() for mask in found.values()) for each in wanted
    )


def test_a_start_knows_lesions_and_what_lies_under_them(shown):
    assert (shown.start.labels == LESION.id).sum() == OLD.sum()
    assert (shown.start.organs[OLD] == LIVER).all()
    assert [len(places) for places in shown.start.lesions.values()] == [OLD.sum()]
    inside, outside = np.array([[4, 9, 9]], np.int32), np.array([[9, 19, 19]], np.int32)
    assert shown.segments.lesions_at(inside) == Box((3, 8, 8), (5, 12, 12))
    assert shown.segments.lesions_at(outside).empty


def test_pieces_go_to_the_lesion_they_touch_and_others_are_new(shown):
    shown.write(OLD | BESIDE, APART)
    assert same(shown.lesions(), OLD | BESIDE, APART)
    assert (shown.mask(made_by_us(shown.node)[1]) == (OLD | BESIDE)).all()
    assert (shown.liver() == ORGAN).all()


def test_a_new_lesion_keeps_its_segment_while_it_changes_and_goes_when_it_joins(shown):
    shown.write(OLD, APART)
    (new,) = shown.lesions().keys() - made_by_us(shown.node).keys() - {made_by_us(shown.node)[1]}
    shown.node.GetSegmentation().GetSegment(new).SetName("Metastasis")
    less = APART & ~block(slice(9, 10), slice(0, 30), slice(0, 32))
    shown.write(OLD, less)
    assert (shown.mask(new) == less).all()
    assert shown.node.GetSegmentation().GetSegment(new).GetName() == "Metastasis"
    shown.write(OLD | BESIDE | BETWEEN | APART)
    assert same(shown.lesions(), OLD | BESIDE | BETWEEN | APART)
    shown.segments.restore()
    assert same(shown.lesions(), OLD) and (shown.liver() == ORGAN).all()


def test_lesions_that_a_person_deletes_meanwhile_stay_away_and_new_ones_come(shown):
    shown.write(OLD, APART)
    for number in shown.lesions():
        shown.node.GetSegmentation().RemoveSegment(number)
    shown.write(OLD | BESIDE, APART)
    assert same(shown.lesions(), BESIDE, APART)
    shown.segments.restore()
    assert not shown.lesions()


def test_a_lesion_without_a_voxel_goes_when_strokes_are_settled(shown):
    shown.write()
    assert same(shown.lesions(), np.zeros(SHAPE, bool))
    shown.segments.tidy()
    assert not shown.lesions() and (shown.liver() == ORGAN).all()


def test_where_a_lesion_was_no_part_of_its_organ_the_organ_gets_the_place_and_gives_it_back(
    add_volume,
):
    volume = add_volume(np.where(ORGAN, 100, -90).astype(np.int16), PLACE)
    labels = np.where(ORGAN, np.uint8(LIVER), np.uint8(0))
    labels[OLD] = LESION.id
    node = show_result(volume, labels)  # without the list of lesions: a hole in the liver
    segments = StrokeSegments(node, volume, finish(start_steps(node, volume)))
    liver = organ_segment_ids(node)["liver"]
    segments.write(np.where(ORGAN, np.uint8(LIVER), np.uint8(0)), ALL)
    assert len(voxels_of(node, liver, volume)) == ORGAN.sum()
    segments.restore()
    assert len(voxels_of(node, liver, volume)) == (ORGAN & ~OLD).sum()


def test_a_stroke_in_a_large_scan_holds_the_thread_for_a_moment(add_volume):
    shape = (120, 512, 512)
    image = np.full(shape, -90, np.int16)
    labels = np.zeros(shape, np.uint8)
    labels[40:60, 200:260, 200:260] = LIVER
    volume = add_volume(image, PLACE)
    node = show_result(volume, labels)
    segments = StrokeSegments(node, volume, finish(start_steps(node, volume)))
    scratch = make_scribbles(volume, {BELONGS: "Belongs", OUTSIDE: "Does not belong"})
    box = Box((45, 205, 205), (55, 270, 270))
    set_part(
        scratch, BELONGS, np.ones((1, 4, 30), bool), Box((50, 230, 240), (51, 234, 270)), volume
    )
    more = labels[box.slices].copy()
    more[2:8, 20:40, 30:60] = LIVER
    history = StrokeHistory()
    begin = time.thread_time()
    history = with_drawn(history, LIVER, *drawn(scratch, volume), shape)
    segments.write(more, box)
    show_strokes(scratch, volume, history)
    segments.restore()
    assert time.thread_time() - begin < 0.25  # 0.5 s where each looks at the whole scan
    assert len(history.strokes[0].voxels) == 120
    assert len(voxels_of(node, organ_segment_ids(node)["liver"], volume)) == 20 * 60 * 60
