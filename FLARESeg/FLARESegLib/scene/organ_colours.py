"""The scene's colour table of organs, which gives Slicer's own exports the organ ids as values.

Slicer numbers segments by their order when it exports them, unless the segmentation refers to a
colour table: then a segment gets the index of the colour with its terminology or its name. One
table serves all results of a scene.
"""

from __future__ import annotations

import slicer
from flare_core.anatomy.organs import ALL_TARGETS
from flare_core.anatomy.terminology import terminology_text

NAME = "FLARESeg organs"
ATTRIBUTE = "FLARESeg.colours"
"""Marks the table, whatever the person calls it."""
KIND = "vtkMRMLColorTableNode"


def use_organ_colours(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Let a segmentation's exports have the organ ids as label values."""
    table = _found(segmentationNode.GetScene()) or _made(segmentationNode.GetScene())
    segmentationNode.SetLabelmapConversionColorTableNodeID(table.GetID())


def drop_unused_colours(scene: slicer.vtkMRMLScene) -> None:
    """Remove the table if no segmentation refers to it any more."""
    table = _found(scene)
    kind = "vtkMRMLSegmentationNode"
    nodes = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    used = {node.GetLabelmapConversionColorTableNodeID() for node in nodes}
    if table is not None and table.GetID() not in used:
        storage = table.GetStorageNode()
        if storage is not None:
            scene.RemoveNode(storage)
        scene.RemoveNode(table)


def _found(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode | None:
    """Return the scene's table."""
    count = scene.GetNumberOfNodesByClass(KIND)
    tables = [scene.GetNthNodeByClass(n, KIND) for n in range(count)]
    return next((table for table in tables if table.GetAttribute(ATTRIBUTE)), None)


def _made(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """Add the table to a scene."""
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(scene.GenerateUniqueName(NAME))
    table.SetAttribute(ATTRIBUTE, "1")
    table.SetAttribute("Category", "Segmentations")
    table.SetNumberOfColors(len(ALL_TARGETS) + 1)
    table.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    for target in ALL_TARGETS:
        red, green, blue = (part / 255 for part in target.colour)
        table.SetColor(target.id, target.name, red, green, blue, 1.0)
        if hasattr(table, "SetTerminologyFromString"):  # newer than Slicer 5.8
            table.SetTerminologyFromString(target.id, terminology_text(target))
    table.GetLookupTable().SetRange(0, len(ALL_TARGETS))
    if not hasattr(table, "SetColorDefined"):  # Slicer 5.10 and older; newer ones know by names
        table.SetNamesInitialised(True)
    scene.AddNode(table)
    return table
