"""Surfaces of the organs for the 3D view, made in another thread while Slicer stays usable.

Slicer's own conversion turns all segments over in one go, which holds its window up for many
seconds on 13 organs. Here each segment is cut out of its layer, and its surface is made with VTK's
filters in a thread (VTK lets other Python threads run meanwhile); the shape is what Slicer's
conversion makes of the same smoothing factor, so that it looks the same after an edit.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import vtk

import slicer
from flare_core.imaging.geometry import Box, Index
from FLARESegLib.scene.organ_layer import Labels, box_of
from FLARESegLib.scene.result_segments import BINARY, SMOOTHING, SURFACE
from FLARESegLib.scene.segment_identity import segment_ids
from FLARESegLib.scene.volumes import image_voxels, slabs

Layer = slicer.vtkOrientedImageData

PAUSE_S = 0.005
"""How long a step waits for a surface at most; Qt's thread can do something else in between."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """One segment, cut out."""

    mask: Labels
    """1 in the segment (Z, Y, X), with a margin of one voxel that closes the surface."""
    start: Index
    """Index (z, y, x) of the first voxel in the layer's grid."""
    matrix: vtk.vtkMatrix4x4
    """From the layer's indices (x, y, z) to the segmentation's RAS, mm."""
    layer: Layer
    """Where it was cut out."""
    made: int
    """The layer's modification time then."""


@dataclass(frozen=True, eq=False)
class _Made:
    """A surface that no segment has got yet."""

    segment: str
    """The segment's ID."""
    surface: vtk.vtkPolyData
    """In RAS, mm."""
    piece: _Piece | None
    """What it was made of; None if the segment has no voxel."""


def surface_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> Generator[float, None, None]:
    """Make the surfaces that are missing; yield the share done, often while nothing is to be done.

    The segments get their surfaces together, at the end; stopped early, none does. A segment that
    is edited meanwhile gets its surface from Slicer when it is next shown. Surfaces vanish when an
    organ is edited; Slicer makes them again itself while 3D is shown.
    """
    segmentation = segmentationNode.GetSegmentation()
    missing = [n for n in segment_ids(segmentationNode) if not _surface(segmentation, n)]
    made: list[_Made] = []
    pool = ThreadPoolExecutor(1)
    try:
        for done, number in enumerate(missing):
            for _ in _one_surface_steps(segmentationNode, number, pool, made):
                yield done / len(missing)
    finally:
        pool.shutdown(wait=False)  # a surface that is being made is dropped when it is done
    _add(segmentationNode, made)
    segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)


def show_3d(segmentationNode: slicer.vtkMRMLSegmentationNode, visible: bool = True) -> None:
    """Show or hide the surfaces in 3D views; those that are missing are made now (`surface_steps`
    makes them without holding anything up).
    """
    display = segmentationNode.GetDisplayNode()
    if visible:
        segmentationNode.CreateClosedSurfaceRepresentation()
        display.SetPreferredDisplayRepresentationName3D(SURFACE)
        display.SetVisibility(True)
    display.SetVisibility3D(visible)


def is_shown_3d(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the segmentation's surfaces are there and visible."""
    display = segmentationNode.GetDisplayNode()
    there = segmentationNode.GetSegmentation().ContainsRepresentation(SURFACE)
    return bool(there and display is not None and display.GetVisibility3D())


def reveal_steps(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[float, None, None]:
    """Show surfaces that are there, one organ a step; drawing all at once would hold Qt up.

    Stopped in between, or when a segment vanishes, every segment is as visible as it was.
    """
    display = segmentationNode.GetDisplayNode()
    hidden = [n for n in segment_ids(segmentationNode) if display.GetSegmentVisibility3D(n)]
    was_modifying = display.StartModify()
    for number in hidden:
        display.SetSegmentVisibility3D(number, False)
    display.EndModify(was_modifying)
    try:
        show_3d(segmentationNode)
        yield 0.0
        for done, number in enumerate(list(hidden), 1):
            display.SetSegmentVisibility3D(number, True)
            hidden.remove(number)
            yield done / (done + len(hidden))
    finally:
        for number in hidden:
            display.SetSegmentVisibility3D(number, True)


def smoothing_of(segmentationNode: slicer.vtkMRMLSegmentationNode) -> float:
    """Return the segmentation's smoothing factor, 0 (none) to 1 (strong)."""
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
    text = segmentationNode.GetSegmentation().GetConversionParameter(
        rule.GetSmoothingFactorParameterName()
    )
    return float(text) if text else SMOOTHING


def surface_of(
    mask: Labels, start: Index, matrix: vtk.vtkMatrix4x4, smoothing: float
) -> vtk.vtkPolyData:
    """Return the surface of a mask; touches no node, so a thread can do it.

    Parameters
    ----------
    mask : uint8 (Z, Y, X)
        1 inside; 0 at all its faces, or the surface stays open there.
    start : (int, int, int)
        Index (z, y, x) of its first voxel.
    matrix : vtkMatrix4x4
        From indices (x, y, z) to mm.
    smoothing : float
        0 to 1. As in Slicer's conversion it sets the pass band 10^(-4 s) of a windowed-sinc filter
        (Taubin et al., ECCV 1996) and 20 + 40 s iterations.
    """
    image = vtk.vtkImageData()
    (z0, y0, x0), (nz, ny, nx) = start, mask.shape
    image.SetExtent(x0, x0 + nx - 1, y0, y0 + ny - 1, z0, z0 + nz - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image_voxels(image)[:] = mask
    edges = vtk.vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.SetValue(0, 1)
    edges.Update()
    surface = edges.GetOutput()
    if smoothing > 0 and surface.GetNumberOfPolys():
        surface = _smoothed(surface, smoothing)
    return _placed(surface, matrix)


def _smoothed(surface: vtk.vtkPolyData, smoothing: float) -> vtk.vtkPolyData:
    """Return a surface without the voxels' stairs."""
    smoother = vtk.vtkWindowedSincPolyDataFilter()
    smoother.SetInputData(surface)
    smoother.SetNumberOfIterations(math.floor(20 + 40 * smoothing))
    smoother.SetPassBand(10.0 ** (-4.0 * smoothing))
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    smoother.NonManifoldSmoothingOn()
    smoother.NormalizeCoordinatesOn()
    smoother.Update()
    return smoother.GetOutput()


def _placed(surface: vtk.vtkPolyData, matrix: vtk.vtkMatrix4x4) -> vtk.vtkPolyData:
    """Return a surface in mm, with normals that point outwards."""
    place = vtk.vtkTransform()
    place.SetMatrix(matrix)
    mover = vtk.vtkTransformPolyDataFilter()
    mover.SetInputData(surface)
    mover.SetTransform(place)
    mover.Update()
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(mover.GetOutput())
    normals.ConsistencyOn()
    normals.SplittingOff()
    normals.SetFlipNormals(matrix.Determinant() < 0)  # mirrored axes turn a surface inside out
    normals.Update()
    return normals.GetOutput()


def _one_surface_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    number: str,
    pool: ThreadPoolExecutor,
    made: list[_Made],
) -> Generator[None, None, None]:
    """Make the surface of one segment and put it on the list."""
    piece = yield from _cut_steps(segmentationNode.GetSegmentation(), number)
    if piece is None:
        made.append(_Made(number, vtk.vtkPolyData(), None))
        return
    factor = smoothing_of(segmentationNode)
    future = pool.submit(surface_of, piece.mask, piece.start, piece.matrix, factor)
    while not future.done():
        wait([future], timeout=PAUSE_S)
        yield
    made.append(_Made(number, future.result(), piece))


def _cut_steps(
    segmentation: slicer.vtkSegmentation, number: str
) -> Generator[None, None, _Piece | None]:
    """Cut a segment out of its layer in short steps; None if it has no voxel or is gone."""
    from flare_core.segment.postprocess import organ_boxes  # scipy; a panel opens without it

    segment = segmentation.GetSegment(number)
    layer = segment.GetRepresentation(BINARY) if segment is not None else None
    if layer is None or layer.IsEmpty():
        return None
    voxels, value, made = image_voxels(layer), segment.GetLabelValue(), layer.GetMTime()
    box = Box((0, 0, 0), (0, 0, 0))
    for part in slabs(voxels.shape):
        hits = (voxels[part] == value).view(np.uint8)
        for z, y, x in organ_boxes(hits).values():
            first = (z.start + part.start, y.start, x.start)
            box = box.union(Box(first, (z.stop + part.start, y.stop, x.stop)))
        yield
    if box.empty:
        return None
    mask = np.pad((voxels[box.slices] == value).view(np.uint8), 1)
    z, y, x = (a + o - 1 for a, o in zip(box.start, box_of(layer).start, strict=True))
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    return _Piece(mask, (z, y, x), matrix, layer, made)


def _surface(segmentation: slicer.vtkSegmentation, number: str) -> vtk.vtkPolyData | None:
    """Return a segment's surface, if it has one."""
    return segmentation.GetSegment(number).GetRepresentation(SURFACE)


def _add(segmentationNode: slicer.vtkMRMLSegmentationNode, made: list[_Made]) -> None:
    """Give segments their surfaces; one that was removed or edited meanwhile gets none.

    Slicer hears of it once, when all have theirs: its 3D views take the first segment's surface for
    a sign that all are there, and make those that are missing at once.
    """
    segmentation = segmentationNode.GetSegmentation()
    was_modifying = segmentationNode.StartModify()
    try:
        for one in made:
            segment = segmentation.GetSegment(one.segment)
            same = one.piece is None or one.piece.layer.GetMTime() == one.piece.made
            if segment is not None and same:
                segment.AddRepresentation(SURFACE, one.surface)
    finally:
        segmentationNode.EndModify(was_modifying)
