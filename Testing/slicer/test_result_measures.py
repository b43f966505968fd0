from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer")

from FLARESegLib.qt.event_loop import PlainLoop  # noqa: E402
from FLARESegLib.scene.segment_identity import organ_segment_ids  # noqa: E402
from FLARESegLib.statistics import measures as result_measures  # noqa: E402
from FLARESegLib.statistics.measures import ResultMeasures, measured_organs  # noqa: E402

from flare_core.anatomy.organs import parse_organs  # noqa: E402
from flare_core.segment.statistics import StatisticsRow  # noqa: E402
from scene_nodes import show_result  # noqa: E402

ASKED = parse_organs("liver,spleen,pancreas,kidneys")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(result_measures, "QUIET_S", 0.05)


@pytest.fixture
def watched(quick, add_volume, small_ct):
    """Volume, segmentation, the measures that watch it, and all that was told."""
    array, labels = small_ct
    volume = add_volume(array)
    node = show_result(volume, labels, ASKED)
    loop, told = PlainLoop(), []
    measures = ResultMeasures(loop)
    measures.measured.connect(lambda segmentation, measured: told.append(measured))
    yield volume, node, measures, told, loop
    measures.forget()


def until(loop, condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        loop.pump(0.02)


def erase(node, key):
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.ClearSegment(node, organ_segment_ids(node)[key])
    node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)


def volumes(measured):
    return {row.organ: row.value for row in measured.rows if row.measure == "volume"}


def test_a_result_without_numbers_is_measured(watched):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    until(loop, lambda: told)
    assert set(volumes(told[0])) == {target.key for target in ASKED}
    assert volumes(told[0])["liver"] == pytest.approx(6 * 10 * 9 / 1000)
    assert volumes(told[0])["pancreas"] == 0
    assert all(change.changed_voxels == 0 for change in told[0].changes)


def test_an_edit_is_measured_once_when_it_is_quiet(watched):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    until(loop, lambda: told)
    for _ in range(3):
        erase(node, "spleen")
    until(loop, lambda: len(told) == 2)
    loop.pump(0.3)
    assert len(told) == 2
    assert volumes(told[1])["spleen"] == 0
    changed = {change.organ: change.changed_voxels for change in told[1].changes}
    assert changed["spleen"] == 3 * 4 * 4 and changed["liver"] == 0


def test_a_new_name_is_told_soon_and_a_new_surface_is_no_reason_to_measure(watched):
    volume, node, measures, told, loop = watched
    edits = []
    measures.edited.connect(lambda: edits.append(1))
    measures.watch(node, volume)
    until(loop, lambda: told)
    segment = node.GetSegmentation().GetSegment(organ_segment_ids(node)["spleen"])
    segment.AddRepresentation("Closed surface", vtk.vtkPolyData())
    until(loop, lambda: edits)
    loop.pump(0.3)
    assert len(told) == 1
    segment.SetName("Pancreas")
    until(loop, lambda: len(told) == 2)
    assert volumes(told[1])["pancreas"] > 0 and volumes(told[1])["spleen"] == 0
    until(loop, lambda: len(edits) == 2)


def test_a_doubt_that_is_settled_is_measured_again(watched):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    until(loop, lambda: told)
    number = node.GetSegmentation().AddEmptySegment("", "Spleen")
    until(loop, lambda: len(told) == 2)
    assert told[1].problem
    node.GetSegmentation().GetSegment(number).SetName("My finding")
    until(loop, lambda: len(told) == 3)
    assert not told[2].problem


def test_numbers_of_a_run_are_told_at_once_and_not_measured_again(watched):
    volume, node, measures, told, loop = watched
    rows = ("rows of the run",)
    measures.remember(node, rows)
    measures.watch(node, volume)
    assert [measured.rows for measured in told] == [rows]
    loop.pump(0.2)
    assert len(told) == 1
    measures.watch(None, None)
    measures.watch(node, volume)
    assert len(told) == 2


def test_numbers_from_before_an_edit_that_nobody_watched_are_not_told(watched):
    volume, node, measures, told, loop = watched
    measures.remember(node, (StatisticsRow("liver", "volume", 4711.0, "mL", None),))
    erase(node, "liver")
    measures.watch(node, volume)
    until(loop, lambda: told)
    assert volumes(told[0])["liver"] == 0


def test_what_cannot_be_measured_says_why(watched):
    volume, node, measures, told, loop = watched
    segment = node.GetSegmentation().GetSegment(organ_segment_ids(node)["spleen"])
    segment.SetName("Liver")  # the name of another organ that is there too
    measures.watch(node, volume)
    until(loop, lambda: told)
    assert told[0].rows == () and told[0].problem


def test_nothing_is_told_of_what_is_watched_no_more(watched):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    measures.watch(None, None)
    loop.pump(0.3)
    assert told == []
    erase(node, "liver")
    loop.pump(0.3)
    assert told == []


def test_a_volume_that_was_removed_ends_it_quietly(watched, scene):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    until(loop, lambda: told)
    erase(node, "liver")
    scene.RemoveNode(volume)
    loop.pump(0.3)
    assert len(told) == 1


def test_organs_to_measure_are_those_asked_for_and_those_there(watched, scene):
    _, node, _, _, _ = watched
    assert [target.key for target in measured_organs(node)] == [t.key for t in ASKED]
    foreign = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert measured_organs(foreign) == ()
    node.SetAttribute("FLARESeg.absent", '["gallbladder"]')  # what a person said has a row too
    assert "gallbladder" in [target.key for target in measured_organs(node)]


def test_measuring_compares_with_what_the_model_said():
    from flare_core.imaging.geometry import Geometry
    from flare_core.imaging.volume import Volume

    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:4, 1:5] = 1
    grid = Geometry(labels.shape, (1.0, 1.0, 1.0))
    kept = labels.copy()
    kept[1, 1, 1] = 0
    measured = result_measures.measure(
        Volume(labels.astype(np.int16), grid), Volume(labels, grid), ASKED[:1], kept
    )
    assert [change.added_voxels for change in measured.changes] == [1]
    assert volumes(measured)["liver"] == pytest.approx(0.024)


def test_confidence_stays_with_organs_that_nobody_changed(watched):
    volume, node, measures, told, loop = watched
    measures.watch(node, volume)
    until(loop, lambda: told)
    said = tuple(
        replace(row, value=0.83) if row.measure == "confidence" else row for row in told[-1].rows
    )
    measures.remember(node, said)
    measures.watch(node, volume)
    erase(node, "spleen")
    before = len(told)
    until(loop, lambda: len(told) > before and volumes(told[-1])["spleen"] == 0)
    sure = {row.organ: row.value for row in told[-1].rows if row.measure == "confidence"}
    assert sure["liver"] == 0.83 and math.isnan(sure["spleen"])
