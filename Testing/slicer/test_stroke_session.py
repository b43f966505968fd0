from __future__ import annotations

import time

import numpy as np
import pytest
from FLARESegLib.correction.corrections import changes, current_labels
from FLARESegLib.correction.current_labels import voxels_of
from FLARESegLib.correction.scribbles import BELONGS, OUTSIDE
from FLARESegLib.correction.stroke_session import StrokeSession, stroke_target
from FLARESegLib.scene.lesion_segments import made_by_us
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids
from FLARESegLib.scene.volumes import node_volume
from stroke_worker import stroke_place

from flare_core.anatomy.organs import LESION, organ
from flare_core.segment.lesion_list import list_lesions
from scene_nodes import set_mask, show_result

PLACE = np.array([[-2.0, 0, 0, 100], [0, -2.0, 0, 120], [0, 0, 3.0, -40], [0, 0, 0, 1]])
SHAPE = (16, 40, 44)
LIVER, SPLEEN = 1, 3
NAMES = {BELONGS: "Belongs", OUTSIDE: "Does not belong"}


def block(*spans: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[spans] = True
    return mask


ORGAN = block(slice(3, 13), slice(6, 34), slice(4, 22))
NEXT = block(slice(3, 13), slice(6, 34), slice(22, 38))
STROKE = block(slice(8, 9), slice(10, 13), slice(7, 19))
OVER = block(slice(8, 9), slice(10, 13), slice(24, 36))
NOTHING = np.zeros(SHAPE, bool)


class Desk:
    """A result whose liver lacks a half, a session on it, and the worker."""

    def __init__(self, volume, node, labels, place, target=None):
        self.volume, self.node, self.labels, self.place = volume, node, labels, place
        self.reviewed: tuple[str, ...] = ()
        self.told = 0
        target = target or organ("liver")
        self.session = StrokeSession(place, node, volume, target, lambda: self.reviewed)
        self.session.changed.connect(self._count)
        opened: list[int] = []
        self.session.open(NAMES, lambda: opened.append(1))
        self.until(lambda: opened)

    def _count(self) -> None:
        self.told += 1

    def until(self, condition) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            self.place.loop.pump(0.02)

    def draw(self, mask, side=BELONGS, *, wait=True) -> None:
        set_mask(self.session.scratch, side, mask, self.volume)
        before = self.session.history
        self.until(lambda: self.session.history is not before)
        if wait:
            self.rest()

    def rest(self) -> None:
        self.until(lambda: not self.session.busy)

    def now(self) -> np.ndarray:
        return current_labels(self.node, self.volume).array


@pytest.fixture
def desk(add_volume, tmp_path):
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    volume = add_volume((np.where(ORGAN | NEXT, 100, -90) + noise).astype(np.int16), PLACE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[ORGAN], labels[NEXT] = LIVER, SPLEEN
    labels[:, :16][ORGAN[:, :16]] = 0
    made = Desk(volume, show_result(volume, labels), labels, stroke_place(tmp_path))
    yield made
    made.session.close()


def test_one_stroke_brings_back_what_is_missing(desk):
    desk.reviewed = ("spleen",)  # it touches, and looks alike
    desk.draw(STROKE)
    now = desk.now()
    assert ((now == LIVER) & ORGAN).sum() > 1.2 * (desk.labels == LIVER).sum()
    assert (now[STROKE] == LIVER).all() and desk.session.problem is None
    assert {change.organ for change in changes(desk.node) if change.changed_voxels} == {"liver"}


def test_strokes_can_be_taken_back_and_brought_back(desk):
    desk.draw(STROKE)
    once = desk.now()
    desk.draw(block(slice(8, 9), slice(28, 31), slice(7, 19)), OUTSIDE)
    twice = desk.now()
    assert (twice != once).any()
    desk.session.undo()
    desk.rest()
    assert np.array_equal(desk.now(), once)
    desk.session.undo()
    desk.rest()
    assert np.array_equal(desk.now(), desk.labels)
    desk.session.redo()
    desk.rest()
    desk.session.redo()
    desk.rest()
    assert np.array_equal(desk.now(), twice)


def test_a_reviewed_organ_keeps_its_voxels_and_another_gives_them_back_on_undo(desk):
    desk.reviewed = ("spleen",)
    desk.draw(STROKE | OVER)
    assert np.array_equal(desk.now() == SPLEEN, desk.labels == SPLEEN)
    desk.reviewed = ()
    desk.draw(STROKE | OVER | OVER[:, ::-1], wait=True)
    assert (desk.now()[OVER] == LIVER).all()
    desk.session.undo()
    desk.session.undo()
    desk.rest()
    assert np.array_equal(desk.now(), desk.labels)


def test_strokes_drawn_while_others_are_solved_count_and_the_older_answer_does_not(desk):
    desk.place.worker.hold = True
    desk.draw(STROKE, wait=False)
    desk.until(lambda: desk.place.worker.held)
    desk.draw(block(slice(8, 9), slice(28, 31), slice(7, 19)), OUTSIDE, wait=False)
    desk.place.worker.hold = False
    desk.place.worker.held.pop()()
    desk.rest()
    desk.until(lambda: len(desk.place.worker.requests) == 2 and not desk.session.busy)
    now = desk.now()
    assert (now[STROKE] == LIVER).all() and now[8, 29, 10] == 0


def test_a_result_changed_by_hand_is_where_the_next_strokes_start(desk):
    desk.draw(STROKE)
    by_hand = desk.now() == LIVER
    by_hand[:, 30:] = False
    set_mask(desk.node, organ_segment_ids(desk.node)["liver"], by_hand, desk.volume)
    assert not desk.session.history.strokes
    desk.draw(block(slice(5, 6), slice(8, 10), slice(6, 20)))
    assert not (desk.now()[:, 32:] == LIVER).any()
    desk.session.undo()
    desk.rest()
    assert np.array_equal(desk.now() == LIVER, by_hand)


def test_the_scan_of_the_run_is_named_so_that_its_scores_are_found(desk):
    desk.node.SetAttribute("FLARESeg.scan", '"/tmp/gone/volume.nrrd"')
    desk.draw(STROKE)
    asked = desk.place.worker.requests[-1]
    assert asked["scan"] == "/tmp/gone/volume.nrrd" and asked["organ"] == "liver"


def test_what_fails_is_said_and_the_next_stroke_works(desk):
    desk.reviewed = ("toe",)
    desk.draw(STROKE)
    assert desk.session.problem is not None
    assert np.array_equal(desk.now(), desk.labels)
    desk.reviewed = ()
    desk.draw(STROKE | OVER)
    assert desk.session.problem is None and (desk.now()[STROKE] == LIVER).all()


def test_closing_removes_scratch_and_files_and_keeps_what_was_made(desk, scene, tmp_path):
    desk.draw(STROKE)
    made = desk.now()
    desk.session.close()
    kind = "vtkMRMLSegmentationNode"
    assert scene.GetNumberOfNodesByClass(kind) == 1
    assert not list(tmp_path.iterdir())
    assert np.array_equal(desk.now(), made)


def test_a_scene_that_is_closed_meanwhile_is_no_error(desk, scene):
    desk.draw(STROKE, wait=False)
    scene.Clear(0)
    desk.place.loop.pump(0.5)
    desk.session.undo()
    desk.session.close()


def test_strokes_are_about_an_organ_or_lesions():
    assert stroke_target("liver") == organ("liver") and stroke_target("lesion") == LESION
    assert stroke_target("") is None and stroke_target("Metastasis") is None


TUMOUR = block(slice(6, 10), slice(18, 26), slice(6, 14))
ALONG = block(slice(8, 9), slice(21, 23), slice(6, 14))
FALSE = block(slice(5, 7), slice(28, 31), slice(10, 14))


@pytest.fixture
def lesions(add_volume, tmp_path):
    """A liver with a dark tumour that was missed, and a false one that was found."""
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    hu = np.where(TUMOUR, 45, np.where(ORGAN | NEXT, 100, -90)) + noise
    volume = add_volume(hu.astype(np.int16), PLACE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[ORGAN], labels[NEXT] = LIVER, SPLEEN
    labels[FALSE] = LESION.id
    found = list_lesions(node_volume(volume), node_volume(volume).with_array(labels))
    node = show_result(volume, labels, lesions=[lesion.to_dict() for lesion in found])
    made = Desk(volume, node, labels, stroke_place(tmp_path), LESION)
    yield made
    made.session.close()


def segment(desk, number):
    """The voxels of a segment."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(voxels_of(desk.node, number, desk.volume).T)] = True
    return mask


def test_a_lesion_drawn_is_a_segment_of_its_own_and_its_organ_keeps_it(lesions):
    before = set(identify(lesions.node).lesions)
    lesions.draw(ALONG)
    (number,) = set(identify(lesions.node).lesions) - before
    drawn = segment(lesions, number)
    assert 2 * (drawn & TUMOUR).sum() / (drawn.sum() + TUMOUR.sum()) > 0.8
    liver = segment(lesions, organ_segment_ids(lesions.node)["liver"])
    assert (liver == ORGAN).all(), "the liver contains both lesions"
    assert lesions.node.GetSegmentation().GetSegment(number).GetName() == "Drawn lesion 1 (liver)"
    assert made_by_us(lesions.node).keys() == {1}
    assert (lesions.now() == LESION.id).sum() == drawn.sum() + FALSE.sum()


def test_a_lesion_drawn_goes_with_its_stroke_and_comes_again(lesions):
    start = lesions.now()
    lesions.draw(ALONG)
    drawn = lesions.now()
    lesions.session.undo()
    lesions.rest()
    assert np.array_equal(lesions.now(), start) and len(identify(lesions.node).lesions) == 1
    lesions.session.redo()
    lesions.rest()
    assert np.array_equal(lesions.now(), drawn) and len(identify(lesions.node).lesions) == 2


def test_a_stroke_on_a_lesion_that_is_there_lets_it_grow(lesions):
    lesions.session.close()
    half = TUMOUR.copy()
    half[:, :, 10:] = False
    number = made_by_us(lesions.node)[1]
    set_mask(lesions.node, number, half, lesions.volume)
    again = Desk(lesions.volume, lesions.node, lesions.labels, lesions.place, LESION)
    again.draw(ALONG)
    assert identify(lesions.node).lesions == (number,)
    assert (segment(again, number) & TUMOUR).sum() > 1.5 * half.sum()
    again.session.undo()
    again.rest()
    assert (segment(again, number) == half).all()
    again.session.close()


def test_a_false_lesion_goes_and_its_segment_too_once_that_is_settled(lesions):
    number = made_by_us(lesions.node)[1]
    lesions.draw(FALSE & block(slice(5, 6), slice(28, 31), slice(11, 13)), OUTSIDE)
    assert not segment(lesions, number).any() and (lesions.now()[FALSE] == LIVER).all()
    lesions.session.undo()
    lesions.rest()
    assert (segment(lesions, number) == FALSE).all()
    lesions.session.redo()
    lesions.rest()
    lesions.session.close()
    assert not identify(lesions.node).lesions
    assert (segment(lesions, organ_segment_ids(lesions.node)["liver"]) == ORGAN).all()


def test_an_organs_strokes_leave_its_lesions_and_what_it_has_under_them(lesions):
    lesions.session.close()
    liver = organ_segment_ids(lesions.node)["liver"]
    half = ORGAN.copy()
    half[:, :16] = False
    set_mask(lesions.node, liver, half, lesions.volume)
    again = Desk(lesions.volume, lesions.node, lesions.labels, lesions.place)
    again.reviewed = ("spleen",)
    again.draw(STROKE)
    now = segment(again, liver)
    assert now.sum() > 1.2 * half.sum() and now[FALSE].all()
    assert (segment(again, made_by_us(lesions.node)[1]) == FALSE).all()
    again.session.close()
