"""Belongs, Does not belong: what a person presses and sees, with the real solver behind."""

from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.correction.editor import Editor
from FLARESegLib.correction.scribbles import BELONGS, OUTSIDE
from FLARESegLib.scene.volumes import node_volume
from stroke_worker import StrokeWorker

from flare_core.anatomy.organs import LESION
from flare_core.segment.belief import ClassScores
from scene_nodes import set_mask

pytest_plugins = ["panel_double"]

SHAPE = (12, 20, 24)
MARKED = np.zeros(SHAPE, bool)
MARKED[5, 6:8, 4:10] = True
KIDNEY, LIVER = 2, 1


@pytest.fixture
def brush(monkeypatch):
    """What the editor was told to paint in: (node, segment)."""
    held: list[tuple] = []
    monkeypatch.setattr(Editor, "paint", lambda self, node, volume, part: held.append((node, part)))
    return held


@pytest.fixture
def desk(bench, brush, add_volume, small_ct, tmp_path):
    """The panel after a run, its correction section, and a worker that follows strokes."""
    array, labels = small_ct
    volume = add_volume(array, np.diag([-2.0, -2.0, 3.0, 1.0]), name="CT")
    volume.CreateDefaultDisplayNodes()
    place = bench.logic.workplace
    place.worker, place.temporary = StrokeWorker(bench.loop), tmp_path
    bench.panel.enter()
    bench.node, bench.volume = bench.apply().finish(labels), volume
    bench.until(lambda: bench.ui.chartButton.enabled)
    bench.settle()
    bench.panel.correction.review.choose("liver")
    return bench


def draw(desk, side, mask):
    session = desk.panel.correction.strokes.session
    set_mask(session.scratch, side, mask, desk.volume)
    before = session.history
    desk.until(lambda: session.history is not before and not session.busy)


def now(desk):
    return current_labels(desk.node, desk.volume).array


def segmentations(desk):
    return desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")


def asked(desk, command):
    """What the worker was asked of this kind."""
    return [each for each in desk.logic.workplace.worker.requests if each["command"] == command]


def test_scores_that_are_gone_are_made_again_and_the_strokes_followed_with_them(desk, brush):
    worker = desk.logic.workplace.worker
    grid = node_volume(desk.volume).canonical()[0].geometry
    away = np.stack([np.ones(grid.shape), np.zeros(grid.shape)]).astype(np.float16)
    worker.makes = ClassScores(away, (0, LIVER), grid)
    worker.hold_scores = True
    desk.ui.outsideButton.click()
    desk.until(lambda: brush and worker.held)
    assert "being worked out again (0 %)" in desk.ui.strokesLabel.text
    draw(desk, OUTSIDE, MARKED)  # strokes wait for no scores
    assert "being worked out again" in desk.ui.strokesLabel.text
    session = desk.panel.correction.strokes.session
    assert session.with_scores is False
    worker.held.pop()()
    desk.until(lambda: session.with_scores and not session.busy)
    assert (now(desk)[MARKED] == 0).all()
    assert "worked out" not in desk.ui.strokesLabel.text
    assert len(asked(desk, "correct")) == 2
    assert asked(desk, "correct")[1]["scan"] == asked(desk, "scores")[1]["scan"]


def test_scores_that_cannot_be_made_are_said_and_strokes_go_on(desk, brush, monkeypatch):
    worker = desk.logic.workplace.worker
    error = {"event": "error", "kind": "input", "argument": "x", "came": "y", "legal": "z",
             "action": "Install it."}  # fmt: skip
    monkeypatch.setattr(worker, "_scores", lambda fields: dict(error) if fields["recompute"]
                        else {"event": "scores", "there": False})  # fmt: skip
    desk.ui.outsideButton.click()
    desk.until(lambda: "cannot be worked out again" in desk.ui.strokesLabel.text)
    assert "Install it." in desk.ui.strokesLabel.text
    draw(desk, OUTSIDE, MARKED)
    assert (now(desk)[MARKED] == 0).all()


def test_the_brush_is_in_the_hand_of_whoever_presses(desk, brush):
    assert desk.ui.belongsButton.enabled and not desk.ui.undoStrokeButton.enabled
    desk.ui.belongsButton.click()
    desk.until(lambda: brush)
    assert brush[-1][1] == BELONGS and brush[-1][0].GetHideFromEditors()
    assert desk.ui.belongsButton.checked and not desk.ui.outsideButton.checked
    desk.ui.outsideButton.click()
    assert brush[-1][1] == OUTSIDE and brush[-1][0] is brush[0][0]
    assert desk.ui.outsideButton.checked and not desk.ui.belongsButton.checked
    assert "Liver" in desk.ui.strokesLabel.text and desk.ui.strokesLabel.visible


def test_a_stroke_changes_the_organ_and_goes_back(desk, brush):
    before = now(desk)
    desk.ui.outsideButton.click()
    desk.until(lambda: brush)
    draw(desk, OUTSIDE, MARKED)
    assert (now(desk)[MARKED] == 0).all() and "1 stroke." in desk.ui.strokesLabel.text
    assert desk.ui.undoStrokeButton.enabled and not desk.ui.redoStrokeButton.enabled
    desk.ui.undoStrokeButton.click()
    desk.until(lambda: np.array_equal(now(desk), before))
    assert desk.ui.redoStrokeButton.enabled and not desk.ui.undoStrokeButton.enabled
    desk.ui.redoStrokeButton.click()
    desk.until(lambda: (now(desk)[MARKED] == 0).all())


def test_the_change_is_seen_as_a_change_by_hand(desk, brush):
    desk.ui.outsideButton.click()
    desk.until(lambda: brush)
    draw(desk, OUTSIDE, MARKED)
    desk.until(lambda: "mL" in desk.ui.reviewTable.texts(3)[0])


def test_another_organ_gets_strokes_of_its_own(desk, brush):
    desk.ui.belongsButton.click()
    desk.until(lambda: brush)
    first = desk.panel.correction.strokes.session
    desk.panel.correction.review.choose("right_kidney")
    desk.ui.belongsButton.click()
    desk.until(lambda: len(brush) == 2)
    second = desk.panel.correction.strokes.session
    assert second is not first and second.organ.id == KIDNEY
    assert first.scratch is None and segmentations(desk) == 2


def test_a_reviewed_organ_is_protected(desk, brush):
    desk.panel.correction.review.tick("right_kidney")
    desk.ui.belongsButton.click()
    desk.until(lambda: brush)
    draw(desk, BELONGS, MARKED)
    assert asked(desk, "correct")[-1]["protected"] == ["right_kidney"]


def test_nothing_is_left_when_the_editor_the_result_or_the_panel_goes(desk, brush, tmp_path):
    for leave in (
        lambda: desk.panel.correction.show(None, None),
        desk.panel.correction.cleanup,
    ):
        desk.panel.correction.show(desk.node, desk.volume)
        desk.panel.correction.review.choose("liver")
        count = len(brush)
        desk.ui.outsideButton.click()
        desk.until(lambda count=count: len(brush) > count)
        draw(desk, OUTSIDE, MARKED)
        leave()
        assert segmentations(desk) == 1 and desk.panel.correction.strokes.session is None
        assert not list(tmp_path.glob("flareseg*"))
        assert not desk.ui.strokesLabel.visible and not desk.ui.outsideButton.checked


def test_without_a_result_there_is_nothing_to_press(bench):
    for button in ("belongsButton", "outsideButton", "drawLesionButton"):
        assert not getattr(bench.ui, button).enabled
    bench.panel.correction.strokes.draw(BELONGS)
    assert bench.panel.correction.strokes.session is None


def test_a_lesion_is_drawn_and_the_list_of_lesions_follows(desk, brush):
    worker = desk.logic.workplace.worker
    before = len(worker.requests)
    desk.ui.drawLesionButton.click()
    desk.until(lambda: brush)
    assert "longest diameter" in desk.ui.strokesLabel.text and desk.ui.belongsButton.checked
    draw(desk, BELONGS, MARKED)
    assert (now(desk)[MARKED] == LESION.id).all()
    desk.until(lambda: desk.ui.lesionTable.rowCount == 1)
    assert desk.ui.lesionTable.texts(1) == ["Liver"]
    assert [each["command"] for each in worker.requests[before:]] == ["correct"], "no scores"
    session = desk.panel.correction.strokes.session
    desk.ui.outsideButton.click()
    assert desk.panel.correction.strokes.session is session and session.organ == LESION
    desk.ui.undoStrokeButton.click()
    desk.until(lambda: not (now(desk) == LESION.id).any())
    desk.until(lambda: desk.ui.lesionTable.rowCount == 0)


def test_the_row_of_an_organ_that_is_chosen_ends_the_drawing_of_lesions(desk, brush):
    desk.ui.drawLesionButton.click()
    desk.until(lambda: brush)
    desk.panel.correction.review.choose("right_kidney")
    desk.ui.belongsButton.click()
    desk.until(lambda: len(brush) == 2)
    assert desk.panel.correction.strokes.session.organ.id == KIDNEY
