"""Statistics of all time points: one table with a column of time, and a chart of volumes.

In the chart 100 % is an organ's mean over time, as a liver has 300 times the volume of an adrenal
gland.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import vtk

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ
from FLARESegLib.qt.translation import _
from FLARESegLib.scene.subject_place import place_beside
from FLARESegLib.statistics.chart import colour_of

if TYPE_CHECKING:
    from FLARESegLib.scene.time_points import TimePoints

TABLE_ROLE = "FLARESeg.overTime"
"""Node reference from the segmentation to the table."""
CHART_ROLE = "FLARESeg.timeChart"
"""Node reference from the segmentation to the chart."""
DATA_ROLE = "FLARESeg.data"
"""Node reference from the chart to its table."""
POSITION = "Time point"
LINE_WIDTH, MARKER_SIZE = 3.0, 9.0
LEGEND_SPACE = 0.45
"""The axis is this much longer than the curves, so that the legend hides none of them."""

Row = Mapping[str, Any]
"""A row of statistics as a worker sends it: organ, measure, value, unit."""


def show_over_time(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    times: TimePoints,
    rows: Sequence[Sequence[Row]],
) -> slicer.vtkMRMLPlotChartNode:
    """Write the table and draw the chart of all time points; return the chart.

    Parameters
    ----------
    rows : sequence of sequence of mapping
        The statistics of each time point.
    """
    title = f"{times.name or _('time')} [{times.unit}]" if times.unit else times.name or _("time")
    table = _node(segmentationNode, TABLE_ROLE, "vtkMRMLTableNode", _("over time"))
    _fill(table, title, times.values, rows)
    chart = _node(segmentationNode, CHART_ROLE, "vtkMRMLPlotChartNode", _("volumes over time"))
    _draw(chart, title, _positions(times.values), _volumes(rows))
    return chart


def chart_over_time(
    segmentationNode: slicer.vtkMRMLSegmentationNode | None,
) -> slicer.vtkMRMLPlotChartNode | None:
    """Return the chart of a segmentation that has time points; None if it has none."""
    return None if segmentationNode is None else segmentationNode.GetNodeReference(CHART_ROLE)


def _node(
    segmentationNode: slicer.vtkMRMLSegmentationNode, role: str, kind: str, what: str
) -> slicer.vtkMRMLNode:
    """Return the node in a role, a new one if there is none."""
    node = segmentationNode.GetNodeReference(role)
    if node is None:
        scene = segmentationNode.GetScene()
        name = scene.GenerateUniqueName(f"{segmentationNode.GetName()} {what}")
        node = scene.AddNewNodeByClass(kind, name)
        segmentationNode.SetNodeReferenceID(role, node.GetID())
        place_beside(node, segmentationNode)
    return node


def _fill(
    table: slicer.vtkMRMLTableNode,
    title: str,
    values: Sequence[str],
    rows: Sequence[Sequence[Row]],
) -> None:
    """Write a line for each measure of each organ at each time point."""
    lines = [(value, row) for value, found in zip(values, rows, strict=True) for row in found]
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for name, texts in (
        (title, [value for value, _row in lines]),
        ("Organ", [row["organ"] for _value, row in lines]),
        ("Measure", [row["measure"] for _value, row in lines]),
        ("Unit", [row["unit"] for _value, row in lines]),
    ):
        column = vtk.vtkStringArray()
        column.SetName(name)
        for text in texts:
            column.InsertNextValue(text)
        table.AddColumn(column)
    numbers = vtk.vtkDoubleArray()
    numbers.SetName("Value")
    for _value, row in lines:
        numbers.InsertNextValue(math.nan if row["value"] is None else float(row["value"]))
    table.AddColumn(numbers)
    table.EndModify(was_modifying)


def _volumes(rows: Sequence[Sequence[Row]]) -> dict[str, list[float]]:
    """Return organ key -> volume at each time point, mL, of the organs that are ever there.

    NaN where nobody looked for an organ, which is not the same as none of it.
    """
    found: dict[str, list[float]] = {}
    for number, each in enumerate(rows):
        for row in each:
            if row["measure"] == "volume":
                series = found.setdefault(row["organ"], [math.nan] * len(rows))
                if row["value"] is not None:
                    series[number] = float(row["value"])
    return {key: series for key, series in found.items() if any(ml > 0 for ml in series)}


def _positions(values: Sequence[str]) -> list[float]:
    """Return where the time points are on the axis; counted where they are no numbers."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return [float(n) for n in range(1, len(values) + 1)]


def _draw(
    chart: slicer.vtkMRMLPlotChartNode,
    title: str,
    positions: Sequence[float],
    volumes_ml: Mapping[str, Sequence[float]],
) -> None:
    """Draw a curve for each organ; the chart tells of its change once."""
    organs = [target for target in ALL_TARGETS if target.key in volumes_ml]
    was_modifying = chart.StartModify()
    table = _data_of(chart)
    count = chart.GetNumberOfPlotSeriesNodes()
    for node in [chart.GetNthPlotSeriesNode(n) for n in range(count)]:
        chart.GetScene().RemoveNode(node)
    chart.RemoveAllPlotSeriesNodeIDs()
    table.RemoveAllColumns()
    _add_column(table, POSITION, positions)
    for target in organs:
        series = volumes_ml[target.key]
        known = [ml for ml in series if not math.isnan(ml)]
        mean = sum(known) / len(known)
        _add_column(table, target.name, [100 * ml / mean for ml in series])
        _add_curve(chart, table, target)
    first, last = min(positions), max(positions)
    chart.SetTitle(_("Organ volumes over time"))
    chart.SetXAxisTitle(title)
    chart.SetYAxisTitle(_("Volume, % of the organ's mean over time"))
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(first, last + LEGEND_SPACE * max(last - first, 1.0))
    chart.EndModify(was_modifying)


def _data_of(chart: slicer.vtkMRMLPlotChartNode) -> slicer.vtkMRMLTableNode:
    """Return the hidden table of a chart, a new one if there is none."""
    table = chart.GetNodeReference(DATA_ROLE)
    if table is None:
        table = slicer.vtkMRMLTableNode()
        table.SetName(f"{chart.GetName()} (data)")
        table.SetHideFromEditors(True)
        chart.GetScene().AddNode(table)
        chart.SetNodeReferenceID(DATA_ROLE, table.GetID())
    return table


def _add_column(table: slicer.vtkMRMLTableNode, title: str, values: Sequence[float]) -> None:
    column = vtk.vtkDoubleArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    table.AddColumn(column)


def _add_curve(
    chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode, target: Organ
) -> None:
    """Add an organ's curve; those of a pair differ in shade and dashes."""
    kind = slicer.vtkMRMLPlotSeriesNode
    left = target.key.startswith("left_")
    series = kind()
    series.SetName(target.name)
    series.SetHideFromEditors(True)
    series.SetPlotType(kind.PlotTypeScatter)
    series.SetXColumnName(POSITION)
    series.SetYColumnName(target.name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetColor(*colour_of(target))
    series.SetLineStyle(kind.LineStyleDash if left else kind.LineStyleSolid)
    series.SetLineWidth(LINE_WIDTH)
    series.SetMarkerStyle(kind.MarkerStyleSquare if left else kind.MarkerStyleCircle)
    series.SetMarkerSize(MARKER_SIZE)
    chart.GetScene().AddNode(series)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
