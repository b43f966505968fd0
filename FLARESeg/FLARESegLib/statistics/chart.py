"""A chart of organ volumes: bars against the band of usual volumes, each organ in its colour.

A liver has 300 times the volume of an adrenal gland, so the axis is not mL: 100 % is the middle of
an organ's usual range. Organs without a range, or not found, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import vtk

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ

CHART_ROLE = "FLARESeg.volumeChart"
"""Node reference from the segmentation to its chart."""
DATA_ROLE = "FLARESeg.data"
"""Node reference from the chart to its table."""
POSITION, NAME = "Position", "Organ"
VOLUME, LOW, HIGH = "Volume [%]", "Usual from [%]", "Usual to [%]"
"""Columns of that table."""

GREY, BAND = (0.75, 0.75, 0.75), (0.35, 0.35, 0.35)
"""Of the bars and of the band."""
MARKER_SIZE, BAND_WIDTH = 12.0, 2.0
LEGEND_SPACE = 1.45
"""The axis is this much longer than the bars need, so that the legend hides none."""

Values = dict[str, list[float]]


def draw_volumes(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumes_ml: Mapping[str, float]
) -> slicer.vtkMRMLPlotChartNode:
    """Draw volumes (organ key -> mL) into the segmentation's chart, made if it is not there."""
    organs = [o for o in ALL_TARGETS if o.volume_range_ml is not None and o.key in volumes_ml]
    chart = _chart_of(segmentationNode)
    table = chart.GetNodeReference(DATA_ROLE)
    _fill(table, organs, volumes_ml)
    _drop_series(chart)
    kind = slicer.vtkMRMLPlotSeriesNode
    if organs:
        _add_series(chart, table, "Volume", VOLUME, kind.PlotTypeScatterBar, GREY)
        for name, column in (("Usual from", LOW), ("Usual to", HIGH)):
            # A scatter plot with lines: Slicer's line plots count from 0 and ignore positions.
            series = _add_series(chart, table, name, column, kind.PlotTypeScatter, BAND)
            series.SetLineStyle(kind.LineStyleDash)
            series.SetLineWidth(BAND_WIDTH)
    for place, target in enumerate(organs, 1):
        red, green, blue = (part / 255 for part in target.colour)
        name = f"{place} {target.name}"  # sides share a colour
        series = _add_series(
            chart, table, name, target.name, kind.PlotTypeScatter, (red, green, blue)
        )
        series.SetMarkerStyle(kind.MarkerStyleCircle)
        series.SetMarkerSize(MARKER_SIZE)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0.5, max(1, len(organs)) * LEGEND_SPACE + 0.5)
    return chart


def remove_chart(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the chart, its series and its table from the scene."""
    chart = segmentationNode.GetNodeReference(CHART_ROLE)
    if chart is None or chart.GetScene() is None:
        return
    scene = chart.GetScene()
    _drop_series(chart)
    scene.RemoveNode(chart.GetNodeReference(DATA_ROLE))
    scene.RemoveNode(chart)


def _chart_of(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLPlotChartNode:
    """Return the segmentation's chart, a new one with a table if there is none."""
    chart = segmentationNode.GetNodeReference(CHART_ROLE)
    if chart is not None:
        return chart
    scene = segmentationNode.GetScene()
    name = f"{segmentationNode.GetName()} volumes"
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(name))
    table = slicer.vtkMRMLTableNode()
    table.SetName(f"{name} (data)")
    table.SetHideFromEditors(True)
    scene.AddNode(table)
    chart.SetNodeReferenceID(DATA_ROLE, table.GetID())
    segmentationNode.SetNodeReferenceID(CHART_ROLE, chart.GetID())
    chart.SetTitle("Organ volumes and the usual range of adults")
    chart.SetXAxisTitle("Organ (numbers as in the legend)")
    chart.SetYAxisTitle("Volume, % of the middle of the usual range")
    return chart


def _fill(
    table: slicer.vtkMRMLTableNode, organs: Sequence[Organ], volumes_ml: Mapping[str, float]
) -> None:
    """Write the columns of the chart; each organ has one for its marker, NaN at the others."""
    percent = {o.key: 100 / _middle(o) for o in organs}
    columns: Values = {
        POSITION: [float(n) for n in range(1, len(organs) + 1)],
        VOLUME: [volumes_ml[o.key] * percent[o.key] for o in organs],
        LOW: [(o.volume_range_ml or (0, 0))[0] * percent[o.key] for o in organs],
        HIGH: [(o.volume_range_ml or (0, 0))[1] * percent[o.key] for o in organs],
    }
    for place, target in enumerate(organs):
        column = [math.nan] * len(organs)
        column[place] = columns[VOLUME][place]
        columns[target.name] = column
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    names = vtk.vtkStringArray()
    names.SetName(NAME)
    for target in organs:
        names.InsertNextValue(f"{target.name}: {volumes_ml[target.key]:.1f} mL")
    table.AddColumn(names)
    for title, values in columns.items():
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(title)
        for value in values:
            numbers.InsertNextValue(value)
        table.AddColumn(numbers)
    table.EndModify(was_modifying)


def _middle(target: Organ) -> float:
    """Return the middle of an organ's usual range, mL."""
    low, high = target.volume_range_ml or (math.nan, math.nan)
    return (low + high) / 2


def _add_series(
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode,
    name: str,
    column: str,
    kind: int,
    colour: tuple[float, float, float],
) -> slicer.vtkMRMLPlotSeriesNode:
    """Add a series of a column over the organs' positions."""
    series = chart.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(POSITION)
    series.SetYColumnName(column)
    series.SetLabelColumnName(NAME)
    series.SetPlotType(kind)
    series.SetColor(*colour)
    series.SetHideFromEditors(True)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


def _drop_series(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Remove a chart's series from the scene."""
    count = chart.GetNumberOfPlotSeriesNodes()
    series = [chart.GetNthPlotSeriesNode(n) for n in range(count)]
    chart.RemoveAllPlotSeriesNodeIDs()
    for node in series:
        if node is not None:
            chart.GetScene().RemoveNode(node)
