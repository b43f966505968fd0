"""Slicer's Segment Editor inside the panel, made when it is first needed.

It is the same widget as in the module Segment Editor, with undo. Inside the panel, because whoever
corrects goes to and fro between statistics, editor and review; with a parameter node of its own,
because the module's choices are none of our business.
"""

from __future__ import annotations

from typing import Any

import slicer

UNDO_STATES = 10
"""As many as in Slicer's own module."""

NODE_TAG, STROKES_TAG = "FLARESeg", "FLARESegStrokes"
"""Singleton tags of the editor's parameter nodes: for editing, and for strokes."""

STROKE_MM = "4.0"
"""Diameter of the brush for strokes, as in the measurements of what strokes are worth. Slicer's own
is 3 % of the screen's height: 31 mm in a slice that shows an abdomen, more than many organs."""


class Editor:
    """Owns the editor widget.

    Parameters
    ----------
    frame : QWidget
        Where it goes; hidden until then.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._widget: Any = None

    @property
    def open_(self) -> bool:
        """Whether it is there to be used."""
        return self._widget is not None and self._frame.visible

    def open(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        """Show the editor on a segment, with the volume set."""
        self._show(editor_node(), segmentation, volume, segment_id)

    def _show(self, node: Any, segmentation: Any, volume: Any, segment_id: str) -> None:
        if self._widget is None:
            self._widget = self._make()
        self._widget.setMRMLSegmentEditorNode(node)
        self._widget.setSegmentationNode(segmentation)
        self._widget.setSourceVolumeNode(volume)
        if segment_id:
            self._widget.setCurrentSegmentID(segment_id)
        self._take_up()
        self._frame.setVisible(True)

    def paint(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        """Show the editor on a segment with the Paint tool taken up, for strokes in a slice."""
        node = editor_node(STROKES_TAG)
        node.SetOverwriteMode(node.OverwriteAllSegments)  # a voxel belongs, or it does not
        if node.GetAttribute("BrushAbsoluteDiameter") is None:  # else: as the person has left it
            node.SetAttribute("BrushDiameterIsRelative", "0")
            node.SetAttribute("BrushAbsoluteDiameter", STROKE_MM)
        self._show(node, segmentation, volume, segment_id)
        self._widget.setActiveEffectByName("Paint")
        effect = self._widget.activeEffect()
        if effect is not None:  # none while the segmentation is not shown
            effect.setCommonParameter("BrushSphere", 0)

    def leave(self) -> None:
        """Put the tools down, so that clicks in the views belong to other modules."""
        if self._widget is not None:
            self._widget.setActiveEffect(None)
            self._widget.uninstallKeyboardShortcuts()
            self._widget.removeViewObservations()

    def resume(self) -> None:
        """Take the tools up again."""
        if self.open_:
            self._take_up()
            self._widget.updateWidgetFromMRML()

    def close(self) -> None:
        """Hide it and let go of its nodes."""
        self.leave()
        if self._widget is not None:
            self._widget.setSegmentationNode(None)
        self._frame.setVisible(False)

    def _take_up(self) -> None:
        """Let clicks in the views and keys belong to the editor."""
        self._widget.setupViewObservations()
        if slicer.util.mainWindow() is not None:
            self._widget.installKeyboardShortcuts()

    def _make(self) -> Any:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.setMaximumNumberOfUndoStates(UNDO_STATES)
        widget.setMRMLSegmentEditorNode(editor_node())
        widget.setMRMLScene(slicer.mrmlScene)
        widget.segmentationNodeSelectorVisible = False  # the panel has chosen both
        widget.sourceVolumeNodeSelectorVisible = False
        widget.switchToSegmentationsButtonVisible = False
        self._frame.layout().addWidget(widget)
        return widget


def editor_node(tag: str = NODE_TAG) -> Any:
    """Return a parameter node of the editor in the scene; it is made if there is none."""
    kind = "vtkMRMLSegmentEditorNode"
    node = slicer.mrmlScene.GetSingletonNode(tag, kind)
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node = slicer.mrmlScene.AddNode(node)
    return node
