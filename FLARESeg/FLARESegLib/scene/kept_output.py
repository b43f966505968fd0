"""The model's output beside the result that a person corrects.

It is a hidden label map volume, cropped to the organs, that the segmentation refers to: it is saved
with the scene, costs no view anything, and knows its place in the volume's grid by indices, so
that hardening or changing a transform afterwards does not move it against the voxels.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import vtk

import slicer
from flare_core.anatomy.organs import Organ
from flare_core.imaging.geometry import Box, Index
from FLARESegLib.scene.organ_layer import box_of
from FLARESegLib.scene.volumes import image_voxels, slabs

KEPT_ROLE = "FLARESeg.modelOutput"
"""Node reference from the segmentation to the kept output."""
START_ATTRIBUTE = "FLARESeg.start"
"""Where the kept voxels begin in the volume's array: z y x."""
SHAPE_ATTRIBUTE = "FLARESeg.shape"
"""Shape z y x of the volume's array."""
VALUES_ATTRIBUTE = "FLARESeg.values"
"""Organ ids that are in the kept voxels."""

Labels = npt.NDArray[np.uint8]
_NO_VOXELS: Labels = np.zeros((0, 0, 0), np.uint8)


@dataclass(frozen=True, eq=False)
class KeptOutput:
    """What the model said, cropped."""

    array: Labels
    """Organ ids (Z, Y, X) inside `box`; a view on the node."""
    box: Box
    """Which part of the volume's array that is."""
    shape: Index
    """Shape of the volume's array."""
    values: tuple[int, ...]
    """Organ ids that are in it."""

    def whole(self) -> Labels:
        """Return the label map on the volume's whole grid."""
        labels = np.zeros(self.shape, np.uint8)
        labels[self.box.slices] = self.array
        return labels


def keep_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    layer: slicer.vtkOrientedImageData,
    asked: Sequence[Organ],
    found: Collection[int],
    shape: Index,
) -> Generator[None, None, None]:
    """Keep a copy of a model's output in short steps.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
        The result that a person will correct.
    layer : vtkOrientedImageData
        Organ ids; its extent is the part of the volume's grid.
    asked : sequence of Organ
        What the model was asked for; what was kept of other organs stays.
    found : collection of int
        The ids that are in `layer`.
    shape : (int, int, int)
        Shape of the volume's array.
    """
    before = kept_output(segmentationNode)
    drop = {target.id for target in asked}
    if before is not None and (before.shape != shape or drop.issuperset(before.values)):
        before = None
    old = () if before is None else tuple(v for v in before.values if v not in drop)
    box = Box((0, 0, 0), (0, 0, 0)) if layer.IsEmpty() else box_of(layer)
    box = box if before is None else box.union(before.box)
    image = vtk.vtkImageData()
    if not box.empty:
        image.SetDimensions(*box.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        yield from _fill(image_voxels(image), box, before, layer, old)
    kept = KeptOutput(_NO_VOXELS, box, shape, tuple(sorted({*old, *found})))
    _store(segmentationNode, image, kept, layer)


def kept_output(segmentationNode: slicer.vtkMRMLSegmentationNode) -> KeptOutput | None:
    """Return what the model said, or None if nothing was kept."""
    node = segmentationNode.GetNodeReference(KEPT_ROLE)
    if node is None or not node.GetAttribute(START_ATTRIBUTE):
        return None
    start, shape = _index(node, START_ATTRIBUTE), _index(node, SHAPE_ATTRIBUTE)
    values = tuple(int(word) for word in (node.GetAttribute(VALUES_ATTRIBUTE) or "").split())
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        # Slicer's dialog for saving single files leaves hidden nodes out; then the voxels are lost.
        return None if values else KeptOutput(_NO_VOXELS, Box(start, start), shape, ())
    array = image_voxels(image)
    z, y, x = (a + n for a, n in zip(start, array.shape, strict=True))
    return KeptOutput(array, Box(start, (z, y, x)), shape, values)


def forget_output(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the kept output from the scene."""
    node = segmentationNode.GetNodeReference(KEPT_ROLE)
    if node is not None and node.GetScene() is not None:
        node.GetScene().RemoveNode(node)


def _fill(
    target: Labels,
    box: Box,
    before: KeptOutput | None,
    layer: slicer.vtkOrientedImageData,
    old: Sequence[int],
) -> Generator[None, None, None]:
    """Write the organs `old` as they were kept, then the new ones over them, into `box`."""
    keep = np.zeros(256, np.uint8)
    keep[list(old)] = old
    sources: list[tuple[Labels, Box, npt.NDArray[np.uint8]]] = []
    if before is not None and not before.box.empty:
        sources.append((before.array, before.box, keep))
    if not layer.IsEmpty():
        sources.append((image_voxels(layer), box_of(layer), np.arange(256, dtype=np.uint8)))
    for part in slabs(box.shape):
        (z0, y0, x0), (_, y1, x1) = box.start, box.stop
        here = Box((z0 + part.start, y0, x0), (z0 + part.stop, y1, x1))
        block = np.zeros(here.shape, np.uint8)
        for array, place, table in sources:
            common = here.intersect(place)
            if not common.empty:
                values = table[array[_within(common, place)]]
                spot = block[_within(common, here)]
                np.copyto(spot, values, where=values > 0)
        target[part] = block
        yield


def _within(inner: Box, outer: Box) -> tuple[slice, ...]:
    """Return the slices of `inner` in an array that covers `outer`."""
    return tuple(
        slice(a - o, b - o) for a, b, o in zip(inner.start, inner.stop, outer.start, strict=True)
    )


def _store(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    image: vtk.vtkImageData,
    kept: KeptOutput,
    layer: slicer.vtkOrientedImageData,
) -> None:
    """Put the voxels into the hidden node, which is made if it is not there."""
    node = segmentationNode.GetNodeReference(KEPT_ROLE)
    if node is None:
        node = slicer.vtkMRMLLabelMapVolumeNode()
        node.SetHideFromEditors(True)
        node.SetName(f"{segmentationNode.GetName()} (model output)")
        segmentationNode.GetScene().AddNode(node)
        segmentationNode.SetNodeReferenceID(KEPT_ROLE, node.GetID())
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    corner = matrix.MultiplyPoint((*kept.box.start[::-1], 1.0))
    for axis in range(3):
        matrix.SetElement(axis, 3, corner[axis])
    node.SetIJKToRASMatrix(matrix)
    for name, numbers in (
        (START_ATTRIBUTE, kept.box.start),
        (SHAPE_ATTRIBUTE, kept.shape),
        (VALUES_ATTRIBUTE, kept.values),
    ):
        node.SetAttribute(name, " ".join(map(str, numbers)))
    node.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    node.SetAndObserveImageData(None if kept.box.empty else image)


def _index(node: slicer.vtkMRMLNode, attribute: str) -> Index:
    """Return three whole numbers out of an attribute."""
    z, y, x = (int(word) for word in node.GetAttribute(attribute).split())
    return z, y, x
