"""What the panel asks of Slicer's views; each does nothing where there are no views."""

from __future__ import annotations

from typing import Any

import slicer
from FLARESegLib.scene.axis_names import follow_names

CT = "vtkMRMLScalarVolumeNode"
WINDOW_HU, LEVEL_HU = 400.0, 40.0
"""Shows an abdomen: organs grey, bone white, lungs black."""
WINDOW_ATTRIBUTE = "FLARESeg.window"
"""Attribute of a volume whose window this module has set."""
ABDOMEN, AUTOMATIC = "abdomen", "automatic"
"""Its values: set, or taken back by a person, which is for good."""
AIR_HU = -500.0
"""A CT has voxels below; MR, PET and masks have none, and a window of their own suits them."""


def shown_volume() -> Any:
    """Return the volume a person looks at, else the newest in the scene, else None.

    The newest one was most likely just loaded in order to be segmented.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if node is not None and node.GetClassName() == CT:
            return node
    nodes = [n for n in slicer.util.getNodesByClass(CT) if n.GetClassName() == CT]
    return nodes[-1] if nodes else None


def show_volume(volume: Any) -> None:
    """Bring a volume into the slice views, fitted to them; one that is there stays as it is."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    there = [each.GetBackgroundVolumeID() == volume.GetID() for each in composites]
    if not all(there) and slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)


def never_windowed(volume: Any) -> bool:
    """Whether this module has not given a volume a window yet."""
    return volume.GetAttribute(WINDOW_ATTRIBUTE) is None


def set_abdominal_window(volume: Any) -> bool:
    """Give a CT that nobody has windowed a window that shows an abdomen; return whether it did.

    Slicer's automatic window covers all densities from air to metal, which leaves organs grey in
    grey. A window that a person, a file or DICOM has set stays as it is.
    """
    display, image = volume.GetDisplayNode(), volume.GetImageData()
    refused = volume.GetAttribute(WINDOW_ATTRIBUTE) == AUTOMATIC
    if refused or display is None or image is None or not display.GetAutoWindowLevel():
        return False
    if image.GetScalarRange()[0] > AIR_HU:
        return False
    volume.SetAttribute(WINDOW_ATTRIBUTE, ABDOMEN)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW_HU, LEVEL_HU)
    return True


def undo_window(volume: Any) -> None:
    """Go back to Slicer's automatic window; it is not taken away again."""
    if volume is not None and volume.GetDisplayNode() is not None:
        volume.SetAttribute(WINDOW_ATTRIBUTE, AUTOMATIC)
        volume.GetDisplayNode().SetAutoWindowLevel(True)


def jump_slices(ras: tuple[float, float, float]) -> None:
    """Have every slice view go through a point (mm), in its middle."""
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, mode)


def show_chart(chart_node: Any) -> None:
    """Show a chart in a layout with a plot view; a 3D view that is there stays there."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    if not _plot_shown(manager) and _3d_shown(manager):
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    slicer.modules.plots.logic().ShowChartInLayout(chart_node)
    named = [
        follow_names(widget.plotView(), widget.mrmlPlotViewNode())
        for widget in (manager.plotWidget(n) for n in range(manager.plotViewCount))
    ]
    if any(named):
        _drop_legend(chart_node)


def show_3d_view() -> None:
    """Have a 3D view on the screen: a chart, or a layout of slices alone, may have replaced it."""
    manager = slicer.app.layoutManager()
    if manager is None or _3d_shown(manager):
        return
    layouts = slicer.vtkMRMLLayoutNode
    plot = _plot_shown(manager)
    manager.setLayout(
        layouts.SlicerLayoutConventionalPlotView if plot else layouts.SlicerLayoutFourUpView
    )


def reset_3d() -> None:
    """Have the 3D views look at all that is in them."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def copy_text(text: str) -> None:
    """Put a text into the clipboard."""
    slicer.app.clipboard().setText(text)


def _plot_shown(manager: Any) -> bool:
    """Whether the layout has a plot view; views of other layouts are there, but hidden."""
    return any(not manager.plotWidget(n).isHidden() for n in range(manager.plotViewCount))


def _3d_shown(manager: Any) -> bool:
    """Whether the layout has a 3D view."""
    return any(not manager.threeDWidget(n).isHidden() for n in range(manager.threeDViewCount))


def _drop_legend(chart_node: Any) -> None:
    """Take the legend away, and the space that was kept for it."""
    from FLARESegLib.statistics.chart import LEGEND_SPACE

    if chart_node.GetLegendVisibility():
        low, high = chart_node.GetXAxisRange()
        chart_node.SetLegendVisibility(False)
        chart_node.SetXAxisRange(low, high / LEGEND_SPACE)
