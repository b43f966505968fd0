"""What the panel asks of Slicer's views; each does nothing where there are no views."""

from __future__ import annotations

from typing import Any

import slicer

CT = "vtkMRMLScalarVolumeNode"


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


def jump_slices(ras: tuple[float, float, float]) -> None:
    """Have every slice view go through a point (mm), in its middle."""
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, mode)


def show_chart(chart_node: Any) -> None:
    """Show a chart in a layout with a plot view."""
    if slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(chart_node)


def reset_3d() -> None:
    """Have the 3D views look at all that is in them."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def copy_text(text: str) -> None:
    """Put a text into the clipboard."""
    slicer.app.clipboard().setText(text)
