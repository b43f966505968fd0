"""The chart of volumes: what its nodes hold, and the names beside a real plot's axis."""

from __future__ import annotations

import gc
import json
import math

import numpy as np
import pytest
import vtk
from FLARESegLib.scene import axis_names
from FLARESegLib.scene.axis_names import NAMES_ATTRIBUTE, follow_names, name_rows
from FLARESegLib.scene.results import nodes_of
from FLARESegLib.scene.volumes import finish
from FLARESegLib.statistics.chart import DATA_ROLE, chart_steps, colour_of, draw_steps

import slicer
from flare_core.anatomy.organs import organ
from flare_core.segment.statistics import StatisticsRow

VOLUMES = {"liver": 1417.5, "spleen": 420.0, "left_adrenal_gland": 2.0, "aorta": 55.0}


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")


def column(chart, title):
    array = chart.GetNodeReference(DATA_ROLE).GetTable().GetColumnByName(title)
    return [array.GetValue(n) for n in range(array.GetNumberOfTuples())]


def series_of(chart):
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def test_each_organ_has_a_row_with_its_volume_and_its_band(node):
    chart = finish(draw_steps(node, VOLUMES))
    rows, percent, usual = (column(chart, t) for t in ("Row", "Volume [%]", "Usual [%]"))
    assert rows[0] == 3 and rows[3] == 2 and rows[6] == 1  # the aorta has no usual range
    assert percent[0] == pytest.approx(100)  # the middle of 825 to 2010
    assert (usual[0] + usual[1]) / 2 == pytest.approx(100)
    assert usual[0] <= percent[0] <= usual[1] and percent[3] > usual[4]
    assert math.isnan(usual[2]) and math.isnan(rows[2])  # a gap ends the band
    assert [each.GetName() for each in series_of(chart)] == [
        "Usual range", "3 Liver", "2 Spleen", "1 Left adrenal gland",
    ]  # fmt: skip
    marker = column(chart, "Spleen")
    assert marker[3] == 2 and math.isnan(marker[0])
    for each in series_of(chart):
        assert each.GetTableNode() is chart.GetNodeReference(DATA_ROLE)
        assert column(chart, each.GetYColumnName()) and column(chart, each.GetXColumnName())


def test_a_pair_has_two_colours_and_two_markers(node):
    right, left = organ("right_kidney"), organ("left_kidney")
    assert right.colour == left.colour and colour_of(right) != colour_of(left)
    chart = finish(draw_steps(node, {"right_kidney": 160.0, "left_kidney": 150.0}))
    one, other = series_of(chart)[1:]
    assert one.GetColor() != other.GetColor()
    assert one.GetMarkerStyle() != other.GetMarkerStyle()
    assert np.round(np.array(one.GetColor()) * 255).tolist() == list(right.colour)


def test_an_organ_that_the_scan_cuts_is_marked(node):
    rows = [StatisticsRow(key, "volume", ml, "mL", None) for key, ml in VOLUMES.items()]
    rows += [
        StatisticsRow("liver", "touches_border", 1.0, "", None),
        StatisticsRow("spleen", "touches_border", 0.0, "", None),
    ]
    chart = finish(chart_steps(node, rows))
    liver, spleen = series_of(chart)[1:3]
    kind = slicer.vtkMRMLPlotSeriesNode
    assert liver.GetMarkerStyle() == kind.MarkerStyleDiamond and "cut" in liver.GetName()
    assert spleen.GetMarkerStyle() == kind.MarkerStyleCircle and "cut" not in spleen.GetName()
    assert "usual range" in chart.GetXAxisTitle()
    assert json.loads(chart.GetAttribute(NAMES_ATTRIBUTE))["3"] == "Liver (cut)"
    whole = finish(draw_steps(node, VOLUMES))
    assert "cut" not in whole.GetXAxisTitle()


def test_drawing_again_leaves_no_old_series_and_tells_once(node, scene):
    chart = finish(draw_steps(node, VOLUMES))
    told = []
    chart.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    steps = draw_steps(node, {"liver": 900.0})
    for _ in steps:
        assert told == []
    assert len(told) == 1
    assert len(nodes_of(scene, "vtkMRMLPlotSeriesNode")) == 2
    assert len(nodes_of(scene, "vtkMRMLPlotChartNode")) == 1
    finish(draw_steps(node, {"aorta": 50.0}))  # nothing that could be compared
    assert nodes_of(scene, "vtkMRMLPlotSeriesNode") == []


def test_the_legend_has_a_place_of_its_own(node):
    chart = finish(draw_steps(node, {"spleen": 900.0}))
    highest = max(v for v in column(chart, "Volume [%]") if not math.isnan(v))
    assert chart.GetXAxisRange()[1] > 1.5 * highest


def test_names_stand_beside_the_axis_and_go_with_the_chart(node, scene):
    chart = finish(draw_steps(node, VOLUMES))
    plot, axis_left = vtk.vtkChartXY(), vtk.vtkAxis.LEFT
    assert name_rows(plot, chart)
    labels = plot.GetAxis(axis_left).GetTickLabels()
    names = [labels.GetValue(n) for n in range(labels.GetNumberOfTuples())]
    assert names == ["Left adrenal gland", "Spleen", "Liver"]
    other = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "of another module")
    assert not name_rows(plot, other)
    assert plot.GetAxis(axis_left).GetTickLabels().GetNumberOfTuples() == 0


def test_a_plot_view_is_followed_from_chart_to_chart(node, scene):
    chart = finish(draw_steps(node, VOLUMES))
    other = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "of another module")
    plot = vtk.vtkChartXY()
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view.SetPlotChartNodeID(chart.GetID())
    assert follow_names(type("PlotView", (), {"chart": lambda self: plot})(), view)
    view.SetPlotChartNodeID(other.GetID())
    assert plot.GetAxis(vtk.vtkAxis.LEFT).GetTickLabels().GetNumberOfTuples() == 0
    view.SetPlotChartNodeID(chart.GetID())
    assert plot.GetAxis(vtk.vtkAxis.LEFT).GetTickLabels().GetNumberOfTuples() == 3


def test_an_application_that_hides_the_plot_keeps_the_legend(node, scene):
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    assert not follow_names(object(), view)


def test_a_view_that_python_has_let_go_of_still_follows(node, scene):
    """Python may forget its own hold of a node that the scene keeps; the node still calls."""
    chart = finish(draw_steps(node, VOLUMES))
    plot = vtk.vtkChartXY()
    scene.AddNewNodeByClass("vtkMRMLPlotViewNode", "view")
    view_of = type("PlotView", (), {"chart": lambda self: plot})
    follow_names(view_of(), scene.GetFirstNodeByName("view"))
    gc.collect()
    scene.GetFirstNodeByName("view").SetPlotChartNodeID(chart.GetID())
    assert plot.GetAxis(vtk.vtkAxis.LEFT).GetTickLabels().GetNumberOfValues() == 3


def test_each_view_is_followed_once_also_where_one_was_before(node, scene, monkeypatch):
    """Python gives a new node the `id` of one that is gone."""
    chart = finish(draw_steps(node, VOLUMES))
    named = []
    monkeypatch.setattr(axis_names, "name_rows", lambda plot, chart: named.append(chart))
    plot_view = type("PlotView", (), {"chart": lambda self: vtk.vtkChartXY()})()
    for _ in range(20):
        view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
        for _ in range(3):
            follow_names(plot_view, view)
        named.clear()
        view.SetPlotChartNodeID(chart.GetID())
        assert named == [chart]
        scene.RemoveNode(view)
        del view
        gc.collect()
