"""Which parameters the Segment Editor works with: those of a person's editing, or of strokes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from FLARESegLib.correction.editor import STROKES_TAG, Editor, editor_node

import slicer


class Widget:
    """Remembers its parameter node; every other call does nothing."""

    node = effect = None

    def setMRMLSegmentEditorNode(self, node):  # noqa: N802 - Slicer's name
        self.node = node

    def setSegmentationNode(self, segmentation):  # noqa: N802 - Slicer's name
        self.node.SetAndObserveSegmentationNode(segmentation)

    def setActiveEffectByName(self, name):  # noqa: N802 - Slicer's name
        self.effect = name

    def activeEffect(self):  # noqa: N802 - Slicer's name
        return None

    def __getattr__(self, name):
        return lambda *values: None


@pytest.fixture
def editor(scene, monkeypatch):
    widget = Widget()
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "qMRMLSegmentEditorWidget", lambda: widget, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    for kind in (slicer.vtkMRMLSegmentEditorNode, slicer.vtkMRMLSegmentationNode):
        scene.RegisterNodeClass(kind())
    frame = SimpleNamespace(layout=lambda: SimpleNamespace(addWidget=lambda w: None))
    frame.setVisible = lambda on: None
    return Editor(frame), widget


def segmentation_in(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode")


def test_strokes_are_not_confined_to_where_a_person_edits(editor, scene):
    editor, widget = editor
    result, scratch = segmentation_in(scene), segmentation_in(scene)
    editor.open(result, None, "liver")
    mine = widget.node
    mine.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    mine.SetSourceVolumeIntensityMask(True)
    mine.SetOverwriteMode(mine.OverwriteNone)
    editor.paint(scratch, None, "belongs")
    theirs = widget.node
    assert theirs is editor_node(STROKES_TAG) and widget.effect == "Paint"
    assert theirs.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    assert not theirs.GetSourceVolumeIntensityMask()
    assert theirs.GetOverwriteMode() == theirs.OverwriteAllSegments
    editor.open(result, None, "liver")
    assert widget.node is mine and mine.GetSourceVolumeIntensityMask()


def test_a_stroke_takes_its_voxels_from_the_other_side_whatever_was_chosen(editor, scene):
    editor, widget = editor
    scratch = segmentation_in(scene)
    editor.paint(scratch, None, "belongs")
    widget.node.SetOverwriteMode(widget.node.OverwriteNone)
    editor.paint(scratch, None, "outside")
    assert widget.node.GetOverwriteMode() == widget.node.OverwriteAllSegments


def test_strokes_begin_with_a_hand_s_brush_and_keep_the_person_s(editor, scene):
    editor, widget = editor
    scratch = segmentation_in(scene)
    editor.paint(scratch, None, "belongs")
    assert widget.node.GetAttribute("BrushDiameterIsRelative") == "0"
    assert float(widget.node.GetAttribute("BrushAbsoluteDiameter")) == 4.0
    widget.node.SetAttribute("BrushAbsoluteDiameter", "9")
    widget.node.SetAttribute("BrushDiameterIsRelative", "1")
    editor.paint(scratch, None, "outside")
    assert widget.node.GetAttribute("BrushAbsoluteDiameter") == "9"
    assert widget.node.GetAttribute("BrushDiameterIsRelative") == "1"
