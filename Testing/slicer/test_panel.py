"""FLARESeg's panel, put together: what a person sees after a run, a change, a return."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from FLARESegLib.scene.results import FACT, result_of
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.statistics.measures import Measured

import slicer
from flare_core.errors import InputError

pytest_plugins = ["panel_double"]
LAYOUTS = slicer.vtkMRMLLayoutNode


@pytest.fixture
def ct(add_volume, small_ct):
    """A CT on display, and the labels of its organs."""
    array, labels = small_ct
    volume = add_volume(array, name="CT")
    volume.CreateDefaultDisplayNodes()
    return volume, labels


@pytest.fixture
def done(bench, ct):
    """The panel after a run."""
    bench.panel.enter()
    node = bench.apply().finish(ct[1])
    bench.until(lambda: bench.ui.chartButton.enabled)
    bench.settle()
    return node


def visible(node):
    return bool(node.GetDisplayNode().GetVisibility())


def test_a_run_fills_every_section(bench, done):
    assert bench.ui.outputSelector.currentNode() is done
    assert len(bench.ui.statisticsTable.texts(0)) == 13
    assert bench.ui.reviewTable.texts(2)[0] == "Liver"
    ticks = bench.ui.reviewTable.item(0, 0).brush  # boxes are hardly seen on a dark table's own
    assert ticks.color().lightness() == bench.ui.reviewTable.palette.window().color().lightness()
    assert bench.ui.show3DButton.enabled and bench.ui.editButton.enabled
    assert bench.ui.applyButton.text == "Apply"


def test_a_run_that_ends_while_another_module_is_open_is_there_at_the_return(bench, ct):
    bench.panel.enter()
    run = bench.apply()
    bench.panel.exit()
    node = run.finish(ct[1])
    bench.settle()
    bench.panel.enter()
    bench.settle()
    assert bench.ui.outputSelector.currentNode() is node
    assert bench.ui.statisticsTable.rowCount == 13 and bench.ui.reviewTable.rowCount == 13
    assert bench.ui.show3DButton.enabled and bench.ui.editButton.enabled
    assert bench.ui.applyButton.text == "Apply"


def test_it_is_there_too_when_another_ct_was_put_on_display_meanwhile(bench, ct, add_volume):
    bench.panel.enter()
    run = bench.apply()
    bench.panel.exit()
    other = add_volume(np.full((6, 6, 6), -1000, np.int16), name="other")
    bench._set_layers(background=other)
    node = run.finish(ct[1])
    bench.settle()
    bench.panel.enter()
    bench.settle()
    assert bench.ui.inputSelector.currentNode() is ct[0]
    assert bench.ui.outputSelector.currentNode() is node
    assert bench.manager.background is ct[0]
    assert bench.ui.statisticsTable.rowCount == 13


def test_a_result_that_was_removed_before_the_return_is_no_trouble(bench, ct):
    bench.panel.enter()
    run = bench.apply()
    bench.panel.exit()
    node = run.finish(ct[1])
    bench.settle()
    bench.scene.RemoveNode(node)
    bench.panel.enter()
    bench.settle()
    assert bench.ui.outputSelector.currentNode() is None
    assert bench.ui.statisticsTable.rowCount == 0


def test_a_scene_that_is_closed_meanwhile_leaves_an_empty_panel(bench, ct):
    bench.panel.enter()
    run = bench.apply()
    bench.panel.exit()
    run.finish(ct[1])
    bench.panel.scene_closes()
    bench.scene.Clear(0)
    bench.parameters.inputVolume = bench.parameters.outputSegmentation = None
    bench.settle()
    bench.panel.enter()
    assert bench.ui.statisticsTable.rowCount == bench.ui.reviewTable.rowCount == 0
    assert "No CT is loaded" in bench.ui.messageLabel.text


def test_a_run_that_goes_on_keeps_its_ct_chosen(bench, ct, add_volume):
    bench.panel.enter()
    bench.apply()
    bench.panel.exit()
    other = add_volume(np.full((6, 6, 6), -1000, np.int16), name="other")
    bench._set_layers(background=other)
    bench.panel.enter()
    assert bench.ui.inputSelector.currentNode() is ct[0]
    assert bench.ui.applyButton.text == "Cancel"


# --- several CTs


def test_choosing_a_ct_brings_it_and_its_result_to_the_views(bench, done, ct, add_volume):
    other = add_volume(np.full((6, 6, 6), -1000, np.int16), name="other")
    bench.ui.inputSelector.setCurrentNode(other)
    bench.settle()
    assert bench.manager.background is other
    assert not visible(done)
    assert bench.ui.outputSelector.currentNode() is None
    assert bench.ui.statisticsTable.rowCount == 0
    bench.ui.inputSelector.setCurrentNode(ct[0])
    bench.settle()
    assert bench.manager.background is ct[0]
    assert visible(done) and bench.ui.outputSelector.currentNode() is done
    assert bench.ui.statisticsTable.rowCount == 13


def test_a_result_of_another_ct_does_not_cover_the_one_that_is_looked_at(
    bench, ct, add_volume, small_ct
):
    bench.panel.enter()
    run = bench.apply()
    other = add_volume(small_ct[0], name="other")
    bench.ui.inputSelector.setCurrentNode(other)
    node = run.finish(ct[1])
    bench.settle()
    assert not visible(node) and result_of(ct[0]) is node
    assert bench.manager.background is other
    assert bench.ui.inputSelector.currentNode() is other


def test_segmentations_of_other_modules_stay_as_they_are(bench, ct, scene, add_volume):
    foreign = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "theirs")
    foreign.CreateDefaultDisplayNodes()
    bench.panel.enter()
    bench.ui.inputSelector.setCurrentNode(add_volume(ct[1].astype(np.int16), name="other"))
    assert visible(foreign)


# --- the window


def test_a_ct_that_nobody_windowed_gets_a_window_for_the_abdomen(bench, ct):
    display = ct[0].GetDisplayNode()
    display.SetAutoWindowLevel(True)
    bench.panel.enter()
    bench.settle()
    assert (display.GetWindow(), display.GetLevel()) == (400, 40)
    assert "width 400" in bench.ui.messageLabel.text
    bench.ui.messageLabel.emit("linkActivated(QString)", "window-as-before")
    assert display.GetAutoWindowLevel()
    assert bench.ui.messageLabel.text == ""
    bench.panel.exit()
    bench.panel.enter()
    assert display.GetAutoWindowLevel()  # whoever went back is not asked again


def test_a_ct_that_is_chosen_while_it_is_loaded_gets_its_window_afterwards(bench, ct):
    """Slicer's reader asks for the automatic window when its node is in the scene already."""
    display = ct[0].GetDisplayNode()
    display.SetAutoWindowLevel(True)
    bench.panel.enter()
    bench.settle()
    display.SetAutoWindowLevel(True)
    bench.until(lambda: not display.GetAutoWindowLevel())
    assert (display.GetWindow(), display.GetLevel()) == (400, 40)


def test_the_window_is_not_said_over_what_came_meanwhile(bench, ct):
    ct[0].GetDisplayNode().SetAutoWindowLevel(True)
    bench.panel.enter()
    bench.apply().fail(InputError("volume 'CT'", "an MR", "a CT", "Choose the CT."))
    bench.settle()
    assert "an MR" in bench.ui.messageLabel.text


def test_a_window_that_somebody_chose_stays(bench, ct):
    display = ct[0].GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1500, -500)
    bench.panel.enter()
    bench.settle()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -500)
    assert bench.ui.messageLabel.text == ""


def test_what_is_no_ct_keeps_its_window(bench, add_volume):
    mr = add_volume(np.arange(512, dtype=np.int16).reshape(8, 8, 8), name="MR")
    mr.CreateDefaultDisplayNodes()
    mr.GetDisplayNode().SetAutoWindowLevel(True)
    bench.panel.enter()
    bench.settle()
    assert mr.GetDisplayNode().GetAutoWindowLevel()


def test_an_mr_is_called_one_as_soon_as_it_is_chosen(bench, scene, add_volume):
    mr = add_volume(np.full((6, 6, 6), 300, np.int16), name="T1")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), mr)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    bench.panel.enter()
    bench.settle()
    assert "an MR, as DICOM says" in bench.ui.messageLabel.text
    assert "1024" not in bench.ui.messageLabel.text


# --- chart and 3D


def test_a_chart_leaves_the_3d_view_and_show_3d_brings_one_back(bench, done):
    bench.ui.chartButton.click()
    bench.until(lambda: bench.manager.charts)
    assert bench.manager.layout == LAYOUTS.SlicerLayoutConventionalPlotView
    bench.manager.setLayout(LAYOUTS.SlicerLayoutFourUpPlotView)  # by the person: 3D is gone
    bench.ui.show3DButton.emit("toggled(bool)", True)
    bench.until(lambda: not bench.panel.show_3d.busy)
    assert bench.manager.layout == LAYOUTS.SlicerLayoutConventionalPlotView
    assert done.GetDisplayNode().GetVisibility3D() and bench.manager.resets == 1


def test_a_chart_without_names_on_the_axis_keeps_its_legend(bench, done):
    bench.ui.chartButton.click()
    bench.until(lambda: bench.manager.charts)
    assert bench.manager.charts[0].GetLegendVisibility()


# --- tables


def test_the_tables_fit_into_a_dock(bench, done):
    for table in (bench.ui.statisticsTable, bench.ui.reviewTable):
        assert table.width_needed() < 420 - 60  # what is left is the stretching column's
    assert bench.ui.statisticsTable.heads[2].text() == "usual mL"
    bench.ui.allMeasuresButton.emit("toggled(bool)", True)
    assert bench.ui.statisticsTable.hidden == set()


def test_unchanged_says_so_in_words_and_not_as_a_volume(bench, done):
    assert bench.ui.reviewTable.texts(3)[0] == "no"
    assert "no voxel" in bench.ui.reviewTable.texts(3)


# --- review


def row_of(bench, key):
    return bench.panel.correction.review.keys.index(key)


def ready(bench):
    bench.ui.authorEdit.text, bench.ui.patientEdit.text = "Ada", "P1"


def test_a_deleted_organ_that_is_ticked_is_asked_about(bench, done):
    ready(bench)
    bench.panel.correction.review.tick("liver")
    bench.panel.correction.review.tick("spleen")
    assert bench.ui.addButton.enabled
    done.GetSegmentation().RemoveSegment(organ_segment_ids(done)["spleen"])
    bench.until(lambda: not bench.ui.addButton.enabled)
    assert "Spleen has no voxel" in bench.ui.addButton.toolTip
    bench.panel.correction.review.say_absent("spleen")
    assert bench.ui.addButton.enabled
    summary = bench.panel.correction.summary()
    assert "does not have, and models learn that: Spleen" in summary
    assert "Reviewed: Liver\n" in summary and "Patient: P1" in summary


def test_absent_and_reviewed_go_together(bench, done):
    review = bench.panel.correction.review
    review.say_absent("pancreas")
    assert review.reviewed == review.absent == ("pancreas",)
    review.tick("pancreas", reviewed=False)
    assert review.absent == ()
    ready(bench)
    review.say_absent("liver")
    assert "has voxels" in bench.ui.addButton.toolTip


def test_a_statement_is_there_when_the_case_comes_back(bench, ct, done):
    done.SetAttribute(FACT + "absent", '["gallbladder"]')
    bench.panel.correction.show(done, ct[0])
    assert bench.panel.correction.review.absent == ("gallbladder",)


def test_a_new_scan_needs_a_patient(bench, done):
    bench.ui.authorEdit.text = "Ada"
    bench.panel.correction.review.tick("liver")
    assert "patient" in bench.ui.addButton.toolTip
    ready(bench)
    assert bench.ui.addButton.enabled


def test_what_is_stored_is_told_and_known_the_next_time(bench, done):
    ready(bench)
    bench.panel.correction.review.tick("liver")
    bench.panel.correction.review.say_absent("pancreas")
    bench.ui.addButton.click()
    bench.until(lambda: "version 1" in bench.ui.correctionMessage.text)
    bench.until(lambda: bench.ui.historyTable.rowCount == 1)
    assert bench.ui.historyTable.texts(2) == ["Ada"]
    assert bench.ui.historyTable.width_needed() < 420 - 60
    bench.ui.patientEdit.text = ""
    assert bench.ui.addButton.enabled  # its patient is in the store


def test_what_writes_to_the_training_set_is_imported_beside_qt(bench, done, monkeypatch):
    """The first press had held Qt's thread for a fifth of a second."""
    correction_panel = sys.modules[type(bench.panel.correction).__module__]
    imported = []
    real = correction_panel._submission

    def noted():
        imported.append(threading.current_thread() is threading.main_thread())
        return real()

    monkeypatch.setattr(correction_panel, "_submission", noted)
    ready(bench)
    bench.panel.correction.review.tick("liver")
    bench.ui.addButton.click()
    assert not bench.ui.addButton.enabled
    bench.until(lambda: "version 1" in bench.ui.correctionMessage.text)
    assert imported == [False]


def test_what_cannot_be_imported_leaves_no_panel_busy(bench, done, monkeypatch):
    def missing():
        raise ImportError("no store")

    monkeypatch.setattr(
        sys.modules[type(bench.panel.correction).__module__], "_submission", missing
    )
    ready(bench)
    bench.panel.correction.review.tick("liver")
    bench.ui.addButton.click()
    with pytest.raises(ImportError):
        bench.until(lambda: "no store" in bench.ui.correctionMessage.text)
    assert "no store" in bench.ui.correctionMessage.text and bench.ui.addButton.enabled


def test_what_is_stored_is_still_told_after_the_next_change(bench, done):
    ready(bench)
    bench.panel.correction.review.tick("liver")
    bench.ui.addButton.click()
    bench.until(lambda: "version 1" in bench.ui.correctionMessage.text)
    done.GetSegmentation().RemoveSegment(organ_segment_ids(done)["spleen"])
    bench.panel.correction.review.tick("spleen")
    bench.until(lambda: "Spleen has no voxel" in bench.ui.addButton.toolTip)  # measured again
    assert "version 1" in bench.ui.correctionMessage.text


def test_a_problem_is_told_until_it_is_over(bench, done):
    correction = bench.panel.correction
    correction.show_measured(Measured((), None, problem="No voxels could be read."))
    assert bench.ui.correctionMessage.text == "No voxels could be read."
    correction.show_measured(Measured((), None))
    assert bench.ui.correctionMessage.text == ""


def test_a_segment_that_is_no_organ_is_offered_as_a_lesion(bench, done):
    number = done.GetSegmentation().AddEmptySegment("", "Metastasis")
    bench.until(lambda: "Metastasis" in bench.ui.extrasLabel.text)
    assert bench.ui.extrasLabel.visible
    assert "Metastasis" in bench.panel.correction.summary().splitlines()[-1]
    bench.ui.extrasLabel.emit("linkActivated(QString)", number)
    assert "lesion" in bench.panel.correction.review.keys
    assert not bench.ui.extrasLabel.visible
    assert done.GetSegmentation().GetSegment(number).GetName() == "Metastasis"


def test_a_renamed_segment_is_another_row(bench, ct, done):
    number = done.GetSegmentation().AddEmptySegment("", "My finding")
    bench.until(lambda: "My finding" in bench.ui.extrasLabel.text)
    done.GetSegmentation().GetSegment(number).SetName("Pancreas")
    bench.until(lambda: not bench.ui.extrasLabel.visible)
    assert organ_segment_ids(done)["pancreas"] == number


def test_ticks_stay_when_rows_come(bench, done):
    bench.panel.correction.review.tick("liver")
    number = done.GetSegmentation().AddEmptySegment("", "Tumor")
    bench.until(lambda: "lesion" in bench.panel.correction.review.keys)
    assert bench.panel.correction.review.reviewed == ("liver",)
    done.GetSegmentation().RemoveSegment(number)


# --- words


def test_cancel_that_comes_too_late_says_so(bench, ct):
    bench.panel.enter()
    run = bench.apply()
    run.too_late = True
    bench.ui.applyButton.click()
    assert "Too late" in bench.ui.messageLabel.text
    run.finish(ct[1])
    bench.settle()
    assert "organs in" in bench.ui.messageLabel.text


def test_notes_are_no_success(bench, ct):
    bench.panel.enter()
    bench.apply().finish(ct[1], ("Padding down to -2048 HU counts as air.",))
    bench.settle()
    head, note = bench.ui.messageLabel.text.split("<br>", 1)
    assert "organs in" in head and "Padding" not in head
    assert "Padding" in note
    assert bench.ui.messageLabel.styleSheet == ""


@pytest.mark.parametrize("kind", ["scene_closed", "node_removed", "cancelled", "shutdown"])
def test_what_a_person_did_is_no_error(bench, ct, kind):
    from FLARESegLib.run.failures import Stopped

    bench.panel.enter()
    bench.apply().fail(Stopped(kind))
    assert bench.ui.messageLabel.text.startswith("Stopped")
    assert bench.ui.messageLabel.styleSheet == ""


def test_an_error_is_red(bench, ct):
    bench.panel.enter()
    bench.apply().fail(InputError("volume 'CT'", "an MR", "a CT", "Choose the CT."))
    assert bench.ui.messageLabel.styleSheet


# --- how long Qt is held


def test_after_a_run_nothing_holds_qt_for_long(bench, ct, monkeypatch):
    """Steps come one after the other; none of them takes 100 ms, whatever comes at once."""
    import time

    held = []
    calls = bench.loop.call_later

    def timed(delay, call):
        def measured():
            start = time.thread_time()
            call()
            held.append(1000 * (time.thread_time() - start))

        calls(delay, measured)

    monkeypatch.setattr(bench.loop, "call_later", timed)
    bench.panel.enter()
    run = bench.apply()
    run.finish(ct[1])
    bench.until(lambda: bench.ui.chartButton.enabled)
    bench.ui.chartButton.click()
    bench.until(lambda: bench.manager.charts)
    bench.ui.show3DButton.emit("toggled(bool)", True)
    bench.until(lambda: not bench.panel.show_3d.busy)
    assert len(held) > 5 and max(held) < 100


def test_surfaces_come_one_a_step_and_are_all_there_at_the_end(done):
    from FLARESegLib.scene.surfaces import reveal_steps, surface_steps

    for _ in surface_steps(done):
        pass
    display = done.GetDisplayNode()
    ids = list(organ_segment_ids(done).values())
    display.SetSegmentVisibility3D(ids[0], False)
    shown = []
    for _ in reveal_steps(done):
        shown.append(sum(display.GetSegmentVisibility3D(n) for n in ids))
    assert shown == [0, 1, 2, 3]  # the one that the person had hidden stays hidden
    assert display.GetVisibility3D()


def test_surfaces_that_are_stopped_half_way_hide_no_organ(done):
    from FLARESegLib.scene.surfaces import reveal_steps

    steps = reveal_steps(done)
    next(steps)
    steps.close()
    display = done.GetDisplayNode()
    assert all(display.GetSegmentVisibility3D(n) for n in organ_segment_ids(done).values())
