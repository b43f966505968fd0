"""From the segments on the screen back to one label map on the CT's grid.

Values come from what each segment is (`segment_identity`), never from the label value or the order
that Slicer gave it. Where segments overlap the lesion is on top, else the later segment, as in
Slicer's own exports.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import vtk

import slicer
from flare_core.anatomy.organs import LESION, organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Index
from flare_core.imaging.volume import Volume
from FLARESegLib.scene.organ_layer import Labels, box_of
from FLARESegLib.scene.result_segments import BINARY, check_editable
from FLARESegLib.scene.segment_identity import Identified, identify
from FLARESegLib.scene.volumes import (
    Matrix4,
    as_array,
    finish,
    ijk_to_ras,
    image_voxels,
    node_geometry,
    slabs,
    to_world,
)

ALIGNED = 0.01
"""Voxels. Grids that agree to this at every voxel are one grid; more than rounding explains."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """An image that one or more segments are in."""

    image: slicer.vtkOrientedImageData
    """Label values of Slicer."""
    values: dict[int, int] = field(default_factory=dict)
    """Label value -> organ id."""


def current_labels(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Volume:
    """Return what the segments say now: organ ids (Z, Y, X) uint8 on the volume's grid.

    Segments that are no organ of ours are left out (`identify` lists them).

    Raises
    ------
    InputError
        If a segment's name and code contradict, two segments are the same organ, the segmentation
        is not made of voxels, or a transform bends or shears one of the nodes.
    """
    return finish(label_steps(segmentationNode, volumeNode))


def label_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    *,
    lesions: bool = True,
) -> Generator[float, None, Volume]:
    """Return `current_labels` after short steps; yield the share done.

    Without `lesions` the organs alone, with what they have under lesions.
    """
    geometry = node_geometry(volumeNode)
    check_editable(segmentationNode)
    found = identify(segmentationNode)
    check_identity(segmentationNode, found)
    labels = np.zeros(geometry.shape, np.uint8)
    to_volume = np.linalg.inv(to_world(volumeNode) @ ijk_to_ras(volumeNode)) @ to_world(
        segmentationNode
    )
    layers = _layers(segmentationNode, found if lesions else replace(found, lesions=()))
    for number, layer in enumerate(layers):
        for share in _paint_steps(labels, layer, to_volume):
            yield (number + share) / len(layers)
    return Volume(labels, geometry)


def check_identity(segmentationNode: slicer.vtkMRMLSegmentationNode, found: Identified) -> None:
    """Refuse a segmentation in which it is not clear which segment is which organ.

    Raises
    ------
    InputError
        If there is a doubt.
    """
    if found.doubts:
        raise InputError(
            f"segmentation {segmentationNode.GetName()!r}",
            "; ".join(found.doubts),
            "each organ once, with one name and one code",
            "Rename or delete the segment that is wrong; double-click its colour for its code.",
        )


def _layers(segmentationNode: slicer.vtkMRMLSegmentationNode, found: Identified) -> list[_Layer]:
    """Return the images to paint in their order; lesions come last, and so on top."""
    segmentation = segmentationNode.GetSegmentation()
    layers: dict[tuple[slicer.vtkOrientedImageData, bool], _Layer] = {}
    segments = [(key, number) for key, number in found.segments.items() if key != LESION.key]
    for key, number in (*segments, *((LESION.key, each) for each in found.lesions)):
        segment = segmentation.GetSegment(number)
        image = segment.GetRepresentation(BINARY)
        if image is None or image.IsEmpty():
            continue
        target = organ(key)
        layer = layers.setdefault((image, target == LESION), _Layer(image))
        layer.values[segment.GetLabelValue()] = target.id
    return [layer for _, layer in sorted(layers.items(), key=lambda item: item[0][1])]


def _paint_steps(labels: Labels, layer: _Layer, to_volume: Matrix4) -> Generator[float, None, None]:
    """Write a layer's organs into the label map; yield the share done."""
    between = to_volume @ _to_node(layer)  # the layer's indices (x, y, z) to the volume's
    shift = _whole_shift(between, layer.image)
    if shift is None:
        yield from _nearest_steps(labels, layer, np.linalg.inv(between))
    else:
        yield from _aligned_steps(labels, layer, shift)


def _aligned_steps(labels: Labels, layer: _Layer, shift: Index) -> Generator[float, None, None]:
    """Copy voxels of a layer on the volume's own grid, `shift` voxels (z, y, x) away."""
    box = box_of(layer.image)
    start = tuple(a + s for a, s in zip(box.start, shift, strict=True))
    stop = tuple(b + s for b, s in zip(box.stop, shift, strict=True))
    place = Box(_index(start), _index(stop))
    inside = place.intersect(Box.of_shape(_index(labels.shape)))
    source = image_voxels(layer.image)
    first = tuple(a - o for a, o in zip(inside.start, place.start, strict=True))
    for part in slabs(inside.shape):
        here = Box(
            (first[0] + part.start, first[1], first[2]),
            (first[0] + part.stop, first[1] + inside.shape[1], first[2] + inside.shape[2]),
        )
        target = labels[inside.slices][part]
        ids = _organ_ids(source[here.slices], layer.values)
        np.copyto(target, ids, where=ids > 0)
        yield part.stop / max(1, inside.shape[0])


def _nearest_steps(
    labels: Labels, layer: _Layer, to_layer: Matrix4
) -> Generator[float, None, None]:
    """Take for each voxel of the volume the nearest one of a layer on another grid."""
    source, box = image_voxels(layer.image), box_of(layer.image)
    place = _reached(box, np.linalg.inv(to_layer), _index(labels.shape))
    (z0, y0, x0), (_, y1, x1) = place.start, place.stop
    y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)
    for part in slabs(place.shape):
        z = np.arange(z0 + part.start, z0 + part.stop)[:, None, None]
        inside = np.ones((len(z), y1 - y0, x1 - x0), bool)
        spot = []
        for row, (first, end) in zip((2, 1, 0), zip(box.start, box.stop, strict=True), strict=True):
            a, b, c, d = to_layer[row]
            index = np.floor(a * x + b * y + c * z + (d + 0.5)).astype(np.int32)
            inside &= (index >= first) & (index < end)
            spot.append(np.clip(index - first, 0, end - first - 1))
        ids = _organ_ids(source[tuple(spot)], layer.values)
        np.copyto(labels[place.slices][part], ids, where=inside & (ids > 0))
        yield part.stop / max(1, place.shape[0])


def voxels_of(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    number: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> npt.NDArray[np.int32]:
    """Return the voxels (n, 3) z, y, x of one segment on the volume's grid.

    Raises
    ------
    InputError
        If a transform bends or shears one of the nodes.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(number)
    image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return np.zeros((0, 3), np.int32)
    to_volume = np.linalg.inv(to_world(volumeNode) @ ijk_to_ras(volumeNode)) @ to_world(
        segmentationNode
    )
    shape = node_geometry(volumeNode).shape
    labels = np.zeros(shape, np.uint8)
    layer = _Layer(image, {segment.GetLabelValue(): 1})
    finish(_paint_steps(labels, layer, to_volume))
    place = _reached(box_of(image), to_volume @ _to_node(layer), shape)
    part = labels[place.slices].astype(bool)  # the rest of a scan costs half a second to look at
    found = np.unravel_index(np.flatnonzero(part), part.shape)
    return (np.stack(found, axis=-1) + place.start).astype(np.int32)


def _to_node(layer: _Layer) -> Matrix4:
    """Return the matrix from a layer's indices (x, y, z) to its segmentation's coordinates."""
    matrix = vtk.vtkMatrix4x4()
    layer.image.GetImageToWorldMatrix(matrix)
    return as_array(matrix)


def _organ_ids(voxels: npt.NDArray[np.generic], values: dict[int, int]) -> Labels:
    """Turn Slicer's label values into organ ids; whatever is not in `values` into 0."""
    if voxels.dtype == np.uint8:
        table = np.zeros(256, np.uint8)
        for value, number in values.items():
            table[value] = number
        return table[voxels]
    ids = np.zeros(voxels.shape, np.uint8)
    for value, number in values.items():
        ids[voxels == value] = number
    return ids


def _whole_shift(between: Matrix4, image: slicer.vtkOrientedImageData) -> Index | None:
    """Return by how many voxels (z, y, x) two grids are apart, None if they are not one grid."""
    shift = np.round(between[:3, 3])
    exact = np.eye(4)
    exact[:3, 3] = shift
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    corners = np.array([[x, y, z, 1] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
    if np.abs(corners @ (between - exact).T).max() > ALIGNED:
        return None
    x, y, z = (int(s) for s in shift)
    return z, y, x


def _reached(box: Box, to_volume: Matrix4, shape: Index) -> Box:
    """Return the part of the volume's grid that a layer's box can reach."""
    low, high = np.asarray(box.start) - 0.5, np.asarray(box.stop) - 0.5
    corners = np.array(
        [
            [x, y, z, 1]
            for x in (low[2], high[2])
            for y in (low[1], high[1])
            for z in (low[0], high[0])
        ]
    )
    there = (corners @ to_volume.T)[:, 2::-1]
    start, stop = np.floor(there.min(axis=0)), np.ceil(there.max(axis=0)) + 1
    return Box(_index(start), _index(stop)).intersect(Box.of_shape(shape))


def _index(values: npt.ArrayLike) -> Index:
    """Return three plain integers."""
    z, y, x = (int(v) for v in np.asarray(values))
    return z, y, x
