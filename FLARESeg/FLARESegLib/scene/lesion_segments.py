"""Lesions as segments of their own, each in a small image, over organs that contain them.

A liver with a tumour is a whole liver and a tumour in it: the organs' shared layer gets the voxels
of the lesions that are part of them, and each lesion lies in an image of its own on top. Numbers
run from head to foot, as in the list of lesions (`flare_core.segment.lesion_list`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import vtk

import slicer
from flare_core.anatomy.organs import LESION, organ
from flare_core.imaging.geometry import Box, Geometry, Index
from FLARESegLib.scene.organ_layer import box_of
from FLARESegLib.scene.segment_identity import identify, tag_of
from FLARESegLib.scene.volumes import as_array, image_voxels

NUMBER_TAG = "FLARESeg.lesion"
"""Tag of a segment that holds the lesion's number."""

BINARY = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
Layer = slicer.vtkOrientedImageData
Segmentation = slicer.vtkMRMLSegmentationNode


class Lesions:
    """The lesions in a layer of organ ids.

    Parameters
    ----------
    layer : vtkOrientedImageData
        Organ ids, `LESION.id` on top; left as it is.
    geometry : Geometry
        Of the volume; says where the head is.
    known : sequence of mapping
        The worker's list (`Lesion.to_dict`), from head to foot; without it no lesion is part of an
        organ.
    """

    def __init__(
        self, layer: Layer, geometry: Geometry, known: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.layer = layer
        self.boxes = _from_head_to_foot(layer, geometry)
        self.known = known if len(known) == len(self.boxes) else ()

    def whole_organs(self) -> Layer:
        """Return the layer with each lesion that is part of an organ as that organ."""
        hosts = [row["organ"] if row["within"] else "" for row in self.known]
        if not any(hosts):
            return self.layer
        whole = Layer()
        whole.DeepCopy(self.layer)
        voxels = image_voxels(whole)
        for key, (box, mask) in zip(hosts, self.boxes, strict=True):
            if key:
                voxels[box.slices][mask] = organ(key).id
        whole.Modified()
        return whole

    def name(self, number: int) -> str:
        """Return what the segment of a lesion is called."""
        row = self.known[number - 1] if self.known else None
        place = f" ({organ(row['organ']).name.lower()})" if row and row["organ"] else ""
        return f"{LESION.name} {number}{place}"

    def image(self, number: int) -> Layer:
        """Return the image of one lesion, with `LESION.id` where it is."""
        box, mask = self.boxes[number - 1]
        start = box_of(self.layer).start
        z, y, x = (low + first for low, first in zip(box.start, start, strict=True))
        dz, dy, dx = box.shape
        image = Layer()
        matrix = vtk.vtkMatrix4x4()
        self.layer.GetImageToWorldMatrix(matrix)
        image.SetGeometryFromImageToWorldMatrix(matrix)
        image.SetExtent(x, x + dx - 1, y, y + dy - 1, z, z + dz - 1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image_voxels(image)[...] = np.where(mask, np.uint8(LESION.id), np.uint8(0))
        image.Modified()
        return image


def lesion_changes(
    node: Segmentation, lesions: Lesions, add: Callable[..., str]
) -> list[Callable[[], object]]:
    """Return what is to be done about a segmentation's lesions, one short piece for each.

    Segments that an earlier run made are replaced; lesions that a person drew stay.

    Parameters
    ----------
    add : callable
        `result_segments.add_segment`.
    """
    changes: list[Callable[[], object]] = [
        lambda n=number: node.GetSegmentation().RemoveSegment(n)
        for number in made_by_us(node).values()
    ]
    return [
        *changes,
        *(lambda n=number: _add(node, lesions, n, add) for number in _numbers(lesions)),
    ]


def _numbers(lesions: Lesions) -> range:
    return range(1, len(lesions.boxes) + 1)


def _add(node: Segmentation, lesions: Lesions, number: int, add: Callable[..., str]) -> None:
    segment = node.GetSegmentation().GetSegment(add(node, LESION, lesions.image(number)))
    segment.SetName(lesions.name(number))
    segment.SetTag(NUMBER_TAG, str(number))


def made_by_us(node: Segmentation) -> dict[int, str]:
    """Return number -> segment ID of the lesions that a run brought and that are still there.

    A segment called just ``Lesion`` came from a version that put all of them into one; its number
    is 0.
    """
    found = {}
    for segment_id in identify(node).lesions:
        segment = node.GetSegmentation().GetSegment(segment_id)
        tag = tag_of(segment, NUMBER_TAG)
        if tag.isdigit():
            found[int(tag)] = segment_id
        elif segment.GetName() == LESION.name:
            found[0] = segment_id
    return found


def lesion_segment_at(node: Segmentation, ras: Sequence[float], reach_mm: float) -> str:
    """Return the ID of the lesion's segment nearest to a point; empty if none is so near.

    Numbers do not say it: lesions that a person draws, joins or removes change those of the list.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    ras : three floats
        In the node's own coordinates, mm.
    reach_mm : float
        How far from the point a lesion's voxels may be.
    """
    near = {}
    for number in identify(node).lesions:
        segment = node.GetSegmentation().GetSegment(number)
        image = segment.GetRepresentation(BINARY)
        if image is None or image.IsEmpty():
            continue
        apart = _distance_mm(image, segment.GetLabelValue(), ras, reach_mm)
        if apart <= reach_mm:
            near[number] = apart
    return min(near, key=lambda number: near[number], default="")


def _distance_mm(image: Layer, value: int, ras: Sequence[float], reach_mm: float) -> float:
    """Return how far a point is from the nearest voxel of a value; infinite beyond `reach_mm`."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = as_array(matrix)
    middle = np.linalg.solve(to_ras, [*ras, 1.0])[2::-1] - box_of(image).start
    spacing = np.linalg.norm(to_ras[:3, 2::-1], axis=0)
    voxels = image_voxels(image)
    low = np.clip(np.floor(middle - reach_mm / spacing), 0, voxels.shape).astype(int)
    high = np.clip(np.ceil(middle + reach_mm / spacing) + 1, 0, voxels.shape).astype(int)
    part = voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    places = (np.argwhere(part == value) + low - middle) * spacing
    return float(np.linalg.norm(places, axis=1).min(initial=np.inf))


def _from_head_to_foot(
    layer: Layer, geometry: Geometry
) -> list[tuple[Box, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Return each lesion's box in the layer's array and its voxels in it, the highest first."""
    from flare_core.segment.lesions import connected, head_to_foot  # scipy; see `organ_layer`

    if layer.IsEmpty():
        return []
    axes = geometry.canonical_map()
    voxels = image_voxels(layer)
    seen = axes.apply(voxels)
    found = []
    for piece in head_to_foot(connected(seen == LESION.id)):
        start, stop = [0, 0, 0], [0, 0, 0]
        for new, old in enumerate(axes.permutation):
            side, length = piece.box[new], seen.shape[new]
            flipped = axes.flips[new]
            start[old] = length - side.stop if flipped else side.start
            stop[old] = length - side.start if flipped else side.stop
        box = Box(_index(start), _index(stop))
        found.append((box, np.ascontiguousarray(axes.undo(piece.mask))))
    return found


def _index(values: Sequence[int]) -> Index:
    z, y, x = values
    return z, y, x
