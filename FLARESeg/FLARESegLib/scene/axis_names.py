"""Names instead of numbers beside an axis of a chart.

A chart node of Slicer has numbers only. Where the application lets us reach the plot itself, the
names are written there, and the legend, which would say them a second time, goes; elsewhere the
legend stays. A plot view shows one chart after another, so names go when another chart comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import vtk

NAMES_ATTRIBUTE = "FLARESeg.rowNames"
"""Attribute of a chart node: position on the left axis -> name, as JSON."""


FOLLOWED = vtk.vtkCommand.UserEvent + 0x464C41
"""An event that never comes: whoever has an observer of it is followed.

The observer lives as long as the node, whether Python holds it or not, and no file keeps it. Python
itself cannot tell: it gives the next object the `id` of one that is gone.
"""


def follow_names(plot_view: Any, view_node: Any) -> bool:
    """Name the rows of the chart that a plot view shows, and of those that it will show.

    Parameters
    ----------
    plot_view : qMRMLPlotView
        Its ``chart()`` is the plot, a vtkChartXY.
    view_node : vtkMRMLPlotViewNode
        Says which chart it shows.

    Returns
    -------
    bool
        Whether this application lets us.
    """
    chart = getattr(plot_view, "chart", None)
    plot = chart() if callable(chart) else None
    if plot is None or view_node is None:
        return False
    if not view_node.HasObserver(FOLLOWED):
        view_node.AddObserver(FOLLOWED, _nothing)
        view_node.AddObserver(view_node.PlotChartNodeChangedEvent, follower(plot))
    return name_rows(plot, view_node.GetPlotChartNode())


def _nothing(view_node: Any, event: str) -> None:
    """Stand for an observer."""


def follower(plot: vtk.vtkChartXY) -> Callable[[Any, str], None]:
    """Return what a plot's view node calls when another chart comes.

    It must not hold the node that calls it: Python would take the two for garbage that only keeps
    itself alive, and take the function apart while the node, which the scene keeps, still calls it.
    Slicer crashed at the close of a scene after a chart.
    """

    def follow(view_node: Any, event: str) -> None:
        name_rows(plot, view_node.GetPlotChartNode())

    return follow


def name_rows(plot: vtk.vtkChartXY, chart_node: Any) -> bool:
    """Write a chart's names beside the plot's left axis, numbers where it has none.

    Returns
    -------
    bool
        Whether it has names.
    """
    text = chart_node.GetAttribute(NAMES_ATTRIBUTE) if chart_node is not None else None
    names: Mapping[str, str] = json.loads(text) if text else {}
    axis = plot.GetAxis(vtk.vtkAxis.LEFT)
    if not names:
        axis.SetCustomTickPositions(None, None)
        return False
    positions, labels = vtk.vtkDoubleArray(), vtk.vtkStringArray()
    for position, name in sorted(names.items(), key=lambda item: float(item[0])):
        positions.InsertNextValue(float(position))
        labels.InsertNextValue(name)
    axis.SetCustomTickPositions(positions, labels)
    return True
