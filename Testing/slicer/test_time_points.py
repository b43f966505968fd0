"""A CT with time points (4D): each gets its own segmentation, numbers and place in the chart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from FLARESegLib.correction.corrections import current_labels
from FLARESegLib.run.failures import RunFailed, Stopped
from FLARESegLib.scene.results import nodes_of
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.scene.time_points import Series, time_points_of
from FLARESegLib.scene.volumes import node_volume
from FLARESegLib.statistics.over_time import (
    DATA_ROLE,
    TABLE_ROLE,
    chart_over_time,
    show_over_time,
)

import slicer

pytest_plugins = ["panel_double"]
VALUES = ("0", "35", "70")


@pytest.fixture
def frames(small_ct):
    """HU and labels of three time points; the spleen grows, and the last one has no liver."""
    array, labels = small_ct
    made = []
    for number in range(len(VALUES)):
        mine = labels.copy()
        mine[3 : 6 + number, 6:10, 15:19] = 3
        if number == 2:
            mine[mine == 1] = 0
        made.append((array + np.int16(number), mine))
    return made


@pytest.fixture
def volume(scene, add_volume, frames):
    """The volume on display, played by a browser as Slicer's Sequences module does."""
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "CTs")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for value, (array, _labels) in zip(VALUES, frames, strict=True):
        frame = add_volume(array, name="frame")
        sequence.SetDataNodeAtValue(frame, value)
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "player")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic.UpdateProxyNodesFromSequences(browser)
    volume = browser.GetProxyNode(sequence)
    volume.SetName("CT")
    volume.CreateDefaultDisplayNodes()
    yield volume
    logic.SetMRMLScene(None)


def shown(volume):
    return int(node_volume(volume).array[0, 0, 0]) + 1000


def test_a_volume_of_a_sequence_has_time_points(volume, add_volume, small_ct):
    times = time_points_of(volume)
    assert (times.values, times.name, times.unit) == (VALUES, "time", "s")
    times.show(2)
    assert times.shown == 2 and shown(volume) == 2
    assert time_points_of(add_volume(small_ct[0], name="another")) is None
    assert time_points_of(None) is None


def segment_all(bench, frames, upto=None):
    """Press Apply with all time points wanted, and let the runs come to their ends."""
    bench.panel.enter()
    bench.ui.allTimesBox.checked = True
    bench.ui.applyButton.click()
    for number, (_array, labels) in enumerate(frames[:upto]):
        bench.until(lambda n=number: len(bench.logic.runs) == n + 1)
        bench.logic.runs[number].finish(labels, (f"note {number % 2}",))
        bench.loop.pump(0.05)


def test_the_choice_is_offered_where_there_is_one(bench, volume, add_volume, small_ct):
    bench.panel.enter()
    assert bench.ui.allTimesBox.visible
    assert "3 time points" in bench.ui.allTimesBox.text
    bench.ui.inputSelector.setCurrentNode(add_volume(small_ct[0], name="another"))
    assert not bench.ui.allTimesBox.visible


def test_the_shown_one_alone_is_segmented_unless_all_are_wanted(bench, volume, frames):
    bench.panel.enter()
    bench.apply().finish(frames[0][1])
    bench.settle()
    assert len(bench.logic.runs) == 1
    assert nodes_of(bench.scene, "vtkMRMLSequenceNode")[0].GetNumberOfDataNodes() == 3
    assert len(nodes_of(bench.scene, "vtkMRMLSequenceNode")) == 1


def test_every_time_point_gets_its_own_segmentation(bench, volume, frames):
    times = time_points_of(volume)
    times.show(1)
    segment_all(bench, frames)
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.settle()
    node = bench.ui.outputSelector.currentNode()
    assert times.shown == 1 and shown(volume) == 1  # what was on display is again
    for number in (0, 2, 1):
        times.show(number)
        found = current_labels(node, volume).array
        assert np.array_equal(found, frames[number][1])
    assert len(nodes_of(bench.scene, "vtkMRMLSegmentationNode")) == 1
    assert "note 0<br>note 1" in bench.ui.messageLabel.text


def test_what_is_corrected_stays_with_its_time_point(bench, volume, frames, draw):
    from FLARESegLib.scene.segment_identity import organ_segment_ids

    segment_all(bench, frames)
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.settle()
    node, times = bench.ui.outputSelector.currentNode(), time_points_of(volume)
    times.show(1)
    grown = np.zeros_like(frames[1][1])
    grown[1, 2:4, 2:4] = 1
    draw(node, organ_segment_ids(node)["spleen"], grown, over=[])
    times.show(0)
    assert np.array_equal(current_labels(node, volume).array, frames[0][1])
    times.show(1)
    assert np.array_equal(current_labels(node, volume).array == 3, grown == 1)


def test_the_numbers_have_a_column_of_time_and_a_chart(bench, volume, frames):
    segment_all(bench, frames)
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.settle()
    node = bench.ui.outputSelector.currentNode()
    table = node.GetNodeReference(TABLE_ROLE).GetTable()
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert names == ["time [s]", "Organ", "Measure", "Unit", "Value"]
    chart = chart_over_time(node)
    data = chart.GetNodeReference(DATA_ROLE).GetTable()
    spleen = [data.GetColumnByName("Spleen").GetValue(n) for n in range(3)]
    assert sum(spleen) / 3 == pytest.approx(100) and spleen == sorted(spleen)
    assert [data.GetColumnByName("Time point").GetValue(n) for n in range(3)] == [0, 35, 70]
    assert data.GetColumnByName("Liver").GetValue(2) == 0  # not found is no volume
    assert data.GetColumnByName("Pancreas") is None  # never there
    assert bench.manager.charts[-1] is chart
    assert bench.ui.timeChartButton.visible
    shown = len(bench.manager.charts)
    bench.ui.timeChartButton.click()
    assert bench.manager.charts[shown:] == [chart]


def test_a_second_time_replaces_the_first(bench, volume, frames):
    segment_all(bench, frames)
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.logic.runs.clear()
    segment_all(bench, list(reversed(frames)))
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.settle()
    node, times = bench.ui.outputSelector.currentNode(), time_points_of(volume)
    times.show(0)
    assert np.array_equal(current_labels(node, volume).array, frames[2][1])
    assert len(nodes_of(bench.scene, "vtkMRMLSegmentationNode")) == 1
    assert len(nodes_of(bench.scene, "vtkMRMLSequenceNode")) == 2
    assert len(nodes_of(bench.scene, "vtkMRMLPlotChartNode")) == 1


@pytest.mark.parametrize("error", [Stopped("cancelled"), RunFailed("worker_died", "-9")])
def test_what_ends_in_the_middle_leaves_nothing(bench, volume, frames, error):
    times = time_points_of(volume)
    times.show(2)
    segment_all(bench, frames, upto=2)
    bench.until(lambda: len(bench.logic.runs) == 3)
    bench.logic.runs[2].fail(error)
    bench.settle()
    assert nodes_of(bench.scene, "vtkMRMLSegmentationNode") == []
    assert len(nodes_of(bench.scene, "vtkMRMLSequenceNode")) == 1
    assert times.shown == 2 and bench.ui.applyButton.text == "Apply"


def test_a_second_time_that_ends_in_the_middle_leaves_the_first(bench, volume, frames, draw):
    segment_all(bench, frames)
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    bench.logic.runs.clear()
    segment_all(bench, list(reversed(frames)), upto=2)
    bench.until(lambda: len(bench.logic.runs) == 3)
    bench.logic.runs[2].fail(Stopped("cancelled"))
    bench.settle()
    node, times = bench.ui.outputSelector.currentNode(), time_points_of(volume)
    for number in (2, 1, 0):
        times.show(number)
        assert np.array_equal(current_labels(node, volume).array, frames[number][1])
    spleen = organ_segment_ids(node)["spleen"]
    draw(node, spleen, np.zeros(frames[0][1].shape, np.uint8) + (frames[0][1] == 1))
    times.show(1)
    times.show(0)  # what is corrected is kept again
    assert (current_labels(node, volume).array == 3).sum() >= (frames[0][1] == 1).sum()


def test_cancel_while_a_time_point_is_shown_ends_before_the_next(bench, volume, frames):
    segment_all(bench, frames, upto=1)
    bench.until(lambda: len(bench.logic.runs) == 2)
    bench.logic.runs[1].cancel = lambda reason="cancelled": False  # too late for this one
    bench.ui.applyButton.click()
    assert bench.ui.applyButton.text == "Stopping..."
    bench.logic.runs[1].finish(frames[1][1])
    bench.until(lambda: bench.ui.applyButton.text == "Apply")
    assert len(bench.logic.runs) == 2
    assert nodes_of(bench.scene, "vtkMRMLSegmentationNode") == []


def test_cancel_reaches_the_run_at_work(bench, volume, frames):
    segment_all(bench, frames, upto=1)
    bench.until(lambda: len(bench.logic.runs) == 2)
    cancelled = []
    bench.logic.runs[1].cancel = lambda reason="cancelled": cancelled.append(reason) or True
    bench.ui.applyButton.click()
    assert cancelled == ["cancelled"]


def test_the_bar_is_that_of_all(bench, volume, frames):
    from FLARESegLib.run.facts import RunProgress

    segment_all(bench, frames, upto=1)
    bench.until(lambda: len(bench.logic.runs) == 2)
    bench.logic.runs[1].told["onProgress"](RunProgress("organs", 0.5, 3.0))
    assert bench.ui.progressBar.value == 500


def test_time_points_that_are_no_numbers_are_counted(scene, volume):
    from dataclasses import replace

    times = replace(time_points_of(volume), values=("arterial", "venous"), name="phase", unit="")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    rows = [
        [{"organ": "liver", "measure": "volume", "value": ml, "unit": "mL"}] for ml in (1.0, 3.0)
    ]
    chart = show_over_time(node, times, rows)
    data = chart.GetNodeReference(DATA_ROLE).GetTable()
    assert [data.GetColumnByName("Time point").GetValue(n) for n in range(2)] == [1, 2]
    assert chart.GetXAxisTitle() == "phase"


def test_an_organ_that_nobody_looked_for_is_no_organ_of_0_ml(scene, volume):
    """The mean over time was half of what it is, and the curve fell to the ground."""
    times = time_points_of(volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    row = {"organ": "liver", "measure": "volume", "unit": "mL"}
    rows = [[row | {"value": 4.0}], [], [row | {"value": 0.0}]]
    data = show_over_time(node, times, rows).GetNodeReference(DATA_ROLE).GetTable()
    liver = [data.GetColumnByName("Liver").GetValue(n) for n in range(3)]
    assert liver[0] == 200 and math.isnan(liver[1]) and liver[2] == 0


def test_a_series_that_is_dropped_leaves_no_node(scene, volume):
    before = scene.GetNumberOfNodes()
    Series(volume, time_points_of(volume)).drop()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodes() <= before + 1  # a subject hierarchy stays


def test_the_table_follows_the_time_point_on_display(bench, volume, frames, monkeypatch):
    from FLARESegLib.statistics import measures

    monkeypatch.setattr(measures, "QUIET_S", 0.05)
    segment_all(bench, frames)
    bench.until(lambda: bench.ui.chartButton.enabled)
    bench.settle()

    def spleen():
        table = bench.ui.statisticsTable
        volumes = dict(zip(table.texts(0), table.texts(1), strict=True))
        return volumes.get("Spleen"), volumes.get("Liver")

    first = spleen()
    time_points_of(volume).show(2)
    bench.until(lambda: spleen() != first)
    assert spleen()[1] == "0"  # no liver there
    time_points_of(volume).show(0)
    bench.until(lambda: spleen() == first)


def test_whoever_is_in_another_module_keeps_their_layout(bench, volume, frames):
    segment_all(bench, frames, upto=2)
    bench.until(lambda: len(bench.logic.runs) == 3)
    bench.panel.exit()
    bench.logic.runs[2].finish(frames[2][1])
    bench.until(lambda: not bench.panel.run.busy)
    bench.settle()
    assert bench.manager.charts == []
    bench.panel.enter()
    bench.settle()
    assert bench.ui.timeChartButton.visible
    assert chart_over_time(bench.ui.outputSelector.currentNode()) is not None
