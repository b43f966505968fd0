"""The curves of a run as nodes of the scene: a table and a chart for the loss, and for the DSC.

Both grow in place while the training goes on, and are saved with the scene. Found again by the
run's folder; a chart that a person has removed is made anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import vtk
from FLARESegLib.qt.translation import _
from FLARESegLib.scene.results import nodes_of
from FLARESegLib.statistics.chart import drop_series

import slicer
from flare_core.anatomy.organs import organ
from flare_core.train.rounds.status import Curve, thinned

CHART = "FLARETrain.chart"
"""Attribute of a chart: which run and what it shows."""
DATA_ROLE = "FLARETrain.data"
"""Node reference from the chart to its table."""
STEP = "Step"
MEAN = "Mean"
COLOURS = ((0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16))
LEGEND_SPACE = 0.4
"""The axis is this much longer than the curves, so that the legend hides none of them."""
MEAN_WIDTH, LINE_WIDTH = 4.0, 2.0
FEW_POINTS = 20
"""Up to so many points have markers; a single one would be no line at all."""

Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class PlottedLine:
    """One curve of a chart."""

    column: str
    """Title of its column, which is its name."""
    colour: tuple[float, float, float]
    """RGB, 0 to 1."""
    width: float = LINE_WIDTH
    """Pixels."""


def draw_loss(
    scene: slicer.vtkMRMLScene, run: str, curves: Sequence[Curve]
) -> slicer.vtkMRMLPlotChartNode | None:
    """Draw the loss of the newest round's networks; None before there is one."""
    drawn = [curve for curve in newest(curves) if curve.finite_loss]
    if not drawn:
        return None
    points = {_network(curve): dict(thinned(curve.finite_loss)) for curve in drawn}
    lines = [PlottedLine(name, COLOURS[n % len(COLOURS)]) for n, name in enumerate(points)]
    chart = _made_chart(scene, run, "loss")
    chart.SetTitle(_("{run}: loss, round {round}").format(run=run, round=drawn[0].round))
    chart.SetYAxisTitle(_("Loss"))
    _draw(chart, columns_of(points), lines)
    return chart


def draw_dsc(
    scene: slicer.vtkMRMLScene, run: str, curves: Sequence[Curve]
) -> slicer.vtkMRMLPlotChartNode | None:
    """Draw the DSC of every organ on held-out scans, of the newest round's first network."""
    drawn = [curve for curve in newest(curves) if curve.dsc]
    if not drawn:
        return None
    rows = thinned(drawn[0].dsc)
    keys = list(dict.fromkeys(key for _step, scores in rows for key in scores))
    points = {MEAN: {step: _mean(scores) for step, scores in rows}}
    points |= {
        organ(key).name: {step: scores[key] for step, scores in rows if key in scores}
        for key in keys
    }
    lines = [PlottedLine(MEAN, (0.0, 0.0, 0.0), MEAN_WIDTH)]
    lines += [PlottedLine(organ(key).name, _colour(key)) for key in keys]
    chart = _made_chart(scene, run, "dsc")
    chart.SetTitle(
        _("{run}: DSC on held-out scans, round {round}").format(run=run, round=drawn[0].round)
    )
    chart.SetYAxisTitle(_("DSC"))
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    _draw(chart, columns_of(points), lines)
    return chart


def newest(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves of the last round that has any point."""
    known = [curve.round for curve in curves if curve.loss or curve.dsc]
    return [curve for curve in curves if known and curve.round == max(known)]


def columns_of(points: Mapping[str, Mapping[float, float]]) -> dict[str, list[float]]:
    """Return a table of curves: one column of steps, and one of each curve, NaN between points.

    Examples
    --------
    >>> columns_of({"a": {1.0: 5.0}, "b": {2.0: 6.0}})
    {'Step': [1.0, 2.0], 'a': [5.0, nan], 'b': [nan, 6.0]}
    """
    steps = sorted({step for curve in points.values() for step in curve})
    columns = {name: [curve.get(s, math.nan) for s in steps] for name, curve in points.items()}
    return {STEP: steps, **columns}


def _draw(
    chart: slicer.vtkMRMLPlotChartNode, columns: Columns, lines: Sequence[PlottedLine]
) -> None:
    """Write the columns into the chart's table, and give each line its series."""
    table = chart.GetNodeReference(DATA_ROLE)
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for title, values in columns.items():
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(title)
        for value in values:
            numbers.InsertNextValue(value)
        table.AddColumn(numbers)
    table.EndModify(was_modifying)
    first, last = columns[STEP][0], columns[STEP][-1]
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(first, last + LEGEND_SPACE * max(last - first, 1.0))
    there = [
        chart.GetNthPlotSeriesNode(n).GetYColumnName()
        for n in range(chart.GetNumberOfPlotSeriesNodes())
    ]
    if there != [line.column for line in lines]:
        drop_series(chart)
        for line in lines:
            _add_series(chart, table, line)
    kind = slicer.vtkMRMLPlotSeriesNode
    few = len(columns[STEP]) <= FEW_POINTS
    for n in range(chart.GetNumberOfPlotSeriesNodes()):
        style = kind.MarkerStyleCircle if few else kind.MarkerStyleNone
        chart.GetNthPlotSeriesNode(n).SetMarkerStyle(style)


def _add_series(
    chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode, line: PlottedLine
) -> None:
    kind = slicer.vtkMRMLPlotSeriesNode
    series = chart.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", line.column)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(STEP)
    series.SetYColumnName(line.column)
    series.SetPlotType(kind.PlotTypeScatter)  # line plots of Slicer ignore the steps
    series.SetLineStyle(kind.LineStyleSolid)
    series.SetMarkerStyle(kind.MarkerStyleNone)
    series.SetLineWidth(line.width)
    series.SetColor(*line.colour)
    series.SetHideFromEditors(True)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())


def chart_of(scene: slicer.vtkMRMLScene, run: str, what: str) -> slicer.vtkMRMLPlotChartNode | None:
    """Return the chart of a run's ``loss`` or ``dsc``; None if it was never drawn."""
    for node in nodes_of(scene, "vtkMRMLPlotChartNode"):
        if node.GetAttribute(CHART) == f"{run}|{what}" and node.GetNodeReference(DATA_ROLE):
            return node
    return None


def _made_chart(scene: slicer.vtkMRMLScene, run: str, what: str) -> slicer.vtkMRMLPlotChartNode:
    """Return the chart of a run, a new one with a table if there is none."""
    there = chart_of(scene, run, what)
    if there is not None:
        return there
    name = scene.GenerateUniqueName(f"{run} {what}")
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{chart.GetName()} (data)")
    chart.SetNodeReferenceID(DATA_ROLE, table.GetID())
    chart.SetAttribute(CHART, f"{run}|{what}")
    chart.SetXAxisTitle(_("Step"))
    return chart


def _network(curve: Curve) -> str:
    return _("Network {number}").format(number=curve.fold + 1)


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores) if scores else math.nan


def _colour(key: str) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in organ(key).colour)
    return red, green, blue
