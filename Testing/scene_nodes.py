"""Nodes of a Slicer scene for tests: voxels into a volume, an organ's voxels as points."""

from __future__ import annotations

import time

import numpy as np


def fill(node, array, ijk_to_ras) -> None:
    """Give a volume node voxels (Z, Y, X) and a matrix from indices to RAS."""
    import vtk
    from vtk.util import numpy_support

    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    image.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(ijk_to_ras, float).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)


def mask_of(node, organ_key):
    """The voxels of an organ in world RAS, rounded to 0.01 mm: a set of points."""
    import vtk
    from FLARESegLib.scene.results import BINARY
    from FLARESegLib.scene.segment_identity import organ_segment_ids
    from FLARESegLib.scene.volumes import as_array, image_voxels, to_world

    segment = node.GetSegmentation().GetSegment(organ_segment_ids(node)[organ_key])
    image = segment.GetRepresentation(BINARY)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    x0, _, y0, _, z0, _ = image.GetExtent()
    found = np.argwhere(image_voxels(image) == segment.GetLabelValue()) + (z0, y0, x0)
    points = np.column_stack([found[:, ::-1], np.ones(len(found))])
    world = points @ (to_world(node) @ as_array(matrix)).T
    return {tuple(point) for point in np.round(world[:, :3], 2) + 0.0}


def show_result(volume, labels, organs=None, **options):
    """Bring labels into the scene at once; see `import_steps`."""
    from FLARESegLib.scene.results import import_steps
    from FLARESegLib.scene.volumes import finish

    from flare_core.anatomy.organs import ALL_TARGETS

    return finish(
        import_steps(volume, labels, ALL_TARGETS if organs is None else organs, **options)
    )


def set_mask(node, number, mask, volume) -> None:
    """Give a segment the voxels of a mask (Z, Y, X) on a volume's grid, and no others."""
    from FLARESegLib.correction.scribbles import set_part

    from flare_core.imaging.geometry import Box

    set_part(node, number, mask, Box.of_shape(mask.shape), volume)


def longest_step(steps) -> float:
    """Take all steps; return the processor's seconds of the longest one."""
    held, over = [], False
    while not over:
        begin = time.thread_time()  # a busy machine may take the processor away meanwhile
        over = next(steps, None) is None
        held.append(time.thread_time() - begin)
    return max(held)
