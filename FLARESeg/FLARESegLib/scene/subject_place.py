"""Where a node is in the subject hierarchy: beside its CT, below the same study and patient."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, volumeNode: slicer.vtkMRMLNode) -> None:
    """Put a node below the same parent as a volume; does nothing where it is there already."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    invalid = hierarchy.GetInvalidItemID()
    volume_item = hierarchy.GetItemByDataNode(volumeNode)
    parent = hierarchy.GetSceneItemID()
    if volume_item != invalid:
        parent = hierarchy.GetItemParent(volume_item)
    item = hierarchy.GetItemByDataNode(node)
    if item == invalid:  # Slicer's own plugins make it; a scene without them has none
        hierarchy.CreateItem(parent, node)
    elif hierarchy.GetItemParent(item) != parent:
        hierarchy.SetItemParent(item, parent)


def ancestor_attribute(node: slicer.vtkMRMLNode, level: str, attribute: str) -> str:
    """Return an attribute of the node's patient or study, empty if there is none.

    Parameters
    ----------
    node : vtkMRMLNode
        Any node of a scene.
    level : str
        ``Patient`` or ``Study``.
    attribute : str
        Such as ``DICOM.PatientID``.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if not item:
        return ""
    ancestor = hierarchy.GetItemAncestorAtLevel(item, level)
    return hierarchy.GetItemAttribute(ancestor, attribute) if ancestor else ""


def own_attribute(node: slicer.vtkMRMLNode, attribute: str) -> str:
    """Return an attribute of the node's own item, such as ``DICOM.Modality``; empty without one."""
    scene = node.GetScene()
    if scene is None:
        return ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return hierarchy.GetItemAttribute(item, attribute) if item else ""
