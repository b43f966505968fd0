"""A chart of organ volumes: a row for each organ, its volume against the band of usual volumes.

A liver has 300 times the volume of an adrenal gland, so the axis is not mL: 100 % is the middle of
an organ's usual range. Organs without a range, or not found, are left out. One that the scan's edge
cuts is a diamond and says so: the band is that of a whole organ.

Rows, because names are long: `scene.axis_names` writes them beside the axis. Slicer's own nodes
know numbers only, so the series carry numbers and names as well, for the legend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import vtk

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ
from FLARESegLib.qt.translation import _
from FLARESegLib.scene.axis_names import NAMES_ATTRIBUTE

if TYPE_CHECKING:
    from flare_core.segment.statistics import StatisticsRow

CHART_ROLE = "FLARESeg.volumeChart"
"""Node reference from the segmentation to its chart."""
DATA_ROLE = "FLARESeg.data"
"""Node reference from the chart to its table."""
POSITION, NAME = "Row", "Organ"
VOLUME, USUAL = "Volume [%]", "Usual [%]"
"""Columns of that table; every organ has a column of its own with the row of its marker."""
EACH = 3
"""Lines of the table for an organ: from, to, and a gap that ends its band."""

TITLE_POINTS, AXIS_POINTS = 16, 13
"""Size of the chart's words, so that they fit into a view that is a third of a screen wide."""
BAND = (0.8, 0.8, 0.8)
BAND_WIDTH, MARKER_SIZE = 10.0, 12.0
LEAST_RANGE = 200.0
"""The axis reaches this many percent at least."""
LEGEND_SPACE = 1.6
"""The axis is this much longer where a legend stands in it, so that it hides nothing."""
LIGHTER = 0.35
"""How far the colour of a left organ goes towards white: both of a pair have one in the table."""

Values = dict[str, list[float]]
Colour = tuple[float, float, float]


def chart_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode, rows: Sequence[StatisticsRow]
) -> Generator[float, None, slicer.vtkMRMLPlotChartNode]:
    """Draw the volumes of statistics into the segmentation's chart in short steps; return it."""
    volumes = {row.organ: row.value for row in rows if row.measure == "volume" and row.value > 0}
    cut = {row.organ for row in rows if row.measure == "touches_border" and row.value == 1.0}
    return (yield from draw_steps(segmentationNode, volumes, cut))


def draw_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumes_ml: Mapping[str, float],
    cut: Collection[str] = (),
) -> Generator[float, None, slicer.vtkMRMLPlotChartNode]:
    """Draw volumes (organ key -> mL) into the segmentation's chart, made if it is not there.

    The chart tells of its change once, at the end: a plot view draws everything anew each time.
    """
    organs = [o for o in ALL_TARGETS if o.volume_range_ml is not None and o.key in volumes_ml]
    chart = _chart_of(segmentationNode)
    yield 0.1
    was_modifying = chart.StartModify()
    try:
        table = chart.GetNodeReference(DATA_ROLE)
        drop_series(chart)
        yield 0.2
        highest = _fill(table, organs, volumes_ml)
        yield 0.3
        if organs:
            _add_band(chart, table)
        for place, target in enumerate(organs):
            _add_marker(chart, table, target, len(organs) - place, cut=target.key in cut)
            yield 0.3 + 0.7 * place / len(organs)
        _set_axes(chart, organs, highest, cut)
    finally:
        chart.EndModify(was_modifying)
    return chart


def label_of(target: Organ, *, cut: bool) -> str:
    """Return what stands beside an organ's row."""
    return _("{organ} (cut)").format(organ=target.name) if cut else target.name


def colour_of(target: Organ) -> Colour:
    """Return an organ's colour, RGB 0 to 1; that of a left one is lighter than the right one's."""
    share = LIGHTER if target.key.startswith("left_") else 0.0
    red, green, blue = ((1 - share) * part / 255 + share for part in target.colour)
    return red, green, blue


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
    chart.SetTitle(_("Organ volumes (grey: usual in adults)"))
    chart.SetYAxisTitle("")
    chart.SetTitleFontSize(TITLE_POINTS)
    chart.SetAxisTitleFontSize(AXIS_POINTS)
    return chart


def _fill(
    table: slicer.vtkMRMLTableNode, organs: Sequence[Organ], volumes_ml: Mapping[str, float]
) -> float:
    """Write the columns of the chart, NaN where a series has no point; return the largest %."""
    columns: Values = {title: [] for title in (POSITION, VOLUME, USUAL)}
    nothing = math.nan
    for place, target in enumerate(organs):
        low, high = target.volume_range_ml or (nothing, nothing)
        percent, row = 200 / (low + high), float(len(organs) - place)
        columns[POSITION] += [row, row, nothing]
        columns[VOLUME] += [volumes_ml[target.key] * percent, nothing, nothing]
        columns[USUAL] += [low * percent, high * percent, nothing]
        marker = [nothing] * (EACH * len(organs))
        marker[EACH * place] = row
        columns[target.name] = marker
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    names = vtk.vtkStringArray()
    names.SetName(NAME)
    for target in organs:
        for _line in range(EACH):
            names.InsertNextValue(f"{target.name}: {volumes_ml[target.key]:.1f} mL")
    table.AddColumn(names)
    for title, values in columns.items():
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(title)
        for value in values:
            numbers.InsertNextValue(value)
        table.AddColumn(numbers)
    table.EndModify(was_modifying)
    known = [v for v in (*columns[VOLUME], *columns[USUAL]) if not math.isnan(v)]
    return max(known, default=0.0)


def _add_band(chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode) -> None:
    """Add the bands of usual volumes: one thick line, with a gap after each organ."""
    kind = slicer.vtkMRMLPlotSeriesNode
    series = _new_series(table, _("Usual range"), USUAL, POSITION)
    series.SetColor(*BAND)
    series.SetLineStyle(kind.LineStyleSolid)
    series.SetLineWidth(BAND_WIDTH)
    series.SetMarkerStyle(kind.MarkerStyleNone)
    _put(chart, series)


def _add_marker(
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode,
    target: Organ,
    row: int,
    *,
    cut: bool,
) -> None:
    """Add an organ's marker: a circle, a square for a left organ, a diamond for a cut one."""
    kind = slicer.vtkMRMLPlotSeriesNode
    style = kind.MarkerStyleSquare if target.key.startswith("left_") else kind.MarkerStyleCircle
    series = _new_series(table, f"{row} {label_of(target, cut=cut)}", VOLUME, target.name)
    series.SetColor(*colour_of(target))
    series.SetLineStyle(kind.LineStyleNone)
    series.SetMarkerStyle(kind.MarkerStyleDiamond if cut else style)
    series.SetMarkerSize(MARKER_SIZE)
    _put(chart, series)


def _set_axes(
    chart: slicer.vtkMRMLPlotChartNode,
    organs: Sequence[Organ],
    highest: float,
    cut: Collection[str],
) -> None:
    """Say how far the axes reach and what the rows are called."""
    names = {
        str(len(organs) - place): label_of(target, cut=target.key in cut)
        for place, target in enumerate(organs)
    }
    chart.SetXAxisTitle(_("Volume, % of the middle of the usual range"))
    chart.SetAttribute(NAMES_ATTRIBUTE, json.dumps(names))
    chart.SetLegendVisibility(True)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0.0, LEGEND_SPACE * max(LEAST_RANGE, 1.05 * highest))
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.5, max(1, len(organs)) + 0.5)


def _new_series(
    table: slicer.vtkMRMLTableNode, name: str, x_column: str, y_column: str
) -> slicer.vtkMRMLPlotSeriesNode:
    """Return a series that is in no scene yet: a scatter plot, whose points know where they are."""
    series = slicer.vtkMRMLPlotSeriesNode()
    series.SetName(name)
    series.SetHideFromEditors(True)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetXColumnName(x_column)
    series.SetYColumnName(y_column)
    series.SetLabelColumnName(NAME)
    series.SetAndObserveTableNodeID(table.GetID())
    return series


def _put(chart: slicer.vtkMRMLPlotChartNode, series: slicer.vtkMRMLPlotSeriesNode) -> None:
    """Put a series that is complete into the scene and into the chart."""
    chart.GetScene().AddNode(series)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())


def drop_series(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Remove a chart's series from the scene."""
    count = chart.GetNumberOfPlotSeriesNodes()
    series = [chart.GetNthPlotSeriesNode(n) for n in range(count)]
    chart.RemoveAllPlotSeriesNodeIDs()
    for node in series:
        if node is not None:
            chart.GetScene().RemoveNode(node)
