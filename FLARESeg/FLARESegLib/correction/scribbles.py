"""The hidden segmentation that a person draws strokes in: one segment belongs, one does not.

Slicer's own tools draw in it (Paint, Erase, undo), so whatever they do to it is read back here as
strokes on the CT's grid. It is never saved and never listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsInt

import numpy as np
import numpy.typing as npt
import vtk

import slicer
from flare_core.imaging.geometry import Box, Index
from flare_core.segment.stroke_history import Stroke, StrokeHistory
from FLARESegLib.correction.current_labels import voxels_of
from FLARESegLib.scene.volumes import as_vtk, ijk_to_ras, image_voxels

BELONGS, OUTSIDE = "belongs", "outside"
"""IDs of the two segments."""
COLOURS = {BELONGS: (0.1, 0.9, 0.2), OUTSIDE: (0.95, 0.15, 0.1)}
EXCLUDE = "SubjectHierarchy.ExcludeFromTree"
"""Slicer's attribute of an item that the module Data does not list."""
FILL = 0.9
"""Opacity: strokes lie over the organs."""

Segmentation = slicer.vtkMRMLSegmentationNode
CtVolume = slicer.vtkMRMLScalarVolumeNode
Places = npt.NDArray[np.int32]


def make_scribbles(volumeNode: CtVolume, names: dict[str, str]) -> Segmentation:
    """Add the scratch segmentation to the CT's scene.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
        The CT; strokes have its grid and its transform.
    names : dict
        What the two segments are called, by `BELONGS` and `OUTSIDE`.
    """
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName("FLARESeg strokes")
    node.SetSaveWithScene(False)
    node = volumeNode.GetScene().AddNode(node)
    _hide(node)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for number, colour in COLOURS.items():
        node.GetSegmentation().AddEmptySegment(number, names[number], colour)
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(FILL)
        display.SetVisibility3D(False)
    return node


def _hide(node: Segmentation) -> None:
    """List a node nowhere.

    Only after it is in the scene: a segmentation without a place in the hierarchy has Slicer write
    an error into its log for every stroke.
    """
    node.SetHideFromEditors(True)
    kind = slicer.vtkMRMLSubjectHierarchyNode
    hierarchy = kind.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if item:
        hierarchy.SetItemAttribute(item, EXCLUDE, "1")


def remove_scribbles(node: Segmentation | None) -> None:
    """Take the scratch segmentation out of the scene, its display too."""
    if node is None or node.GetScene() is None:
        return
    scene, display = node.GetScene(), node.GetDisplayNode()
    scene.RemoveNode(node)
    if display is not None and display.GetScene() is not None:
        scene.RemoveNode(display)


def drawn(node: Segmentation, volumeNode: CtVolume) -> tuple[Places, Places]:
    """Return the voxels (n, 3) that are marked as organ, and those marked as not it."""
    belongs, outside = (voxels_of(node, number, volumeNode) for number in (BELONGS, OUTSIDE))
    return belongs, outside


def with_drawn(
    history: StrokeHistory, organ: int, belongs: Places, outside: Places, shape: tuple[int, ...]
) -> StrokeHistory:
    """Return the history after a person has drawn or erased; itself if nothing was changed.

    New voxels are a new stroke, also those that were marked otherwise; erased ones leave the
    strokes they were in.
    """
    marked = np.concatenate([_flat(belongs, shape), _flat(outside, shape)])
    stays = [np.isin(_flat(stroke.voxels, shape), marked) for stroke in history.strokes]
    if not all(each.all() for each in stays):
        left = [
            stroke if each.all() else Stroke(stroke.organ, stroke.belongs, stroke.voxels[each])
            for stroke, each in zip(history.strokes, stays, strict=True)
        ]
        history = StrokeHistory(tuple(stroke for stroke in left if len(stroke.voxels)))
    for side, places in ((True, belongs), (False, outside)):
        known = history.marked(organ, _index(shape))[0 if side else 1]
        history = history.draw(Stroke(organ, side, places[~known[tuple(places.T)]]))
    return history


def show_strokes(node: Segmentation, volumeNode: CtVolume, history: StrokeHistory) -> None:
    """Draw the strokes of a history, and nothing else, into the scratch segmentation."""
    organ = next(iter(history.organs), 0)
    image = volumeNode.GetImageData()
    belongs, outside = history.marked(organ, _index(image.GetDimensions()[::-1]))
    box = box_around([stroke.voxels for stroke in history.strokes])
    for number, mask in ((BELONGS, belongs), (OUTSIDE, outside)):
        set_part(node, number, mask[box.slices], box, volumeNode)


def box_around(places: Sequence[npt.NDArray[np.signedinteger]]) -> Box:
    """Return the smallest box around voxels, arrays (n, 3) of z, y, x; empty around none."""
    box = Box((0, 0, 0), (0, 0, 0))
    for each in places:
        if len(each):
            box = box.union(Box(_index(each.min(axis=0)), _index(each.max(axis=0) + 1)))
    return box


def set_part(
    node: Segmentation, number: str, part: npt.NDArray[np.bool_], box: Box, volumeNode: CtVolume
) -> None:
    """Give a segment exactly the voxels of a mask that covers a box, and none beside the box.

    Other segments keep their voxels. One modification, so one step of the editor's undo.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    number : str
        The segment's ID.
    part : bool (z, y, x)
        The voxels of the box.
    box : Box
        On the CT's grid. The smaller, the less there is to look at.
    volumeNode : vtkMRMLScalarVolumeNode
        The CT.
    """
    inner = Box.of_mask(part) if part.size else None
    voxels = np.zeros((1, 1, 1), bool) if inner is None else part[inner.slices]
    offset = (0, 0, 0) if inner is None else inner.start
    z, y, x = (first + low for first, low in zip(box.start, offset, strict=True))
    dz, dy, dx = voxels.shape
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(as_vtk(ijk_to_ras(volumeNode)))
    image.SetExtent(x, x + dx - 1, y, y + dy - 1, z, z + dz - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image_voxels(image)[:] = voxels
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, node, number, logic.MODE_REPLACE, None, False, [])
    kind = slicer.vtkSegmentation  # measures and views listen; the logic does not always tell
    node.GetSegmentation().InvokeEvent(kind.SourceRepresentationModified, number)


def _flat(places: Places, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return voxels as single numbers."""
    _, height, width = shape
    z, y, x = places.astype(np.int64).T
    return (z * height + y) * width + x


def _index(shape: Iterable[SupportsInt]) -> Index:
    z, y, x = shape
    return int(z), int(y), int(x)
