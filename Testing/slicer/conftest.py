"""What the tests of scene code share: a scene with Slicer's own node classes, a CT in it, labels.

`slicer-core` is Slicer without its application; where it is not installed these tests are skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "FLARESeg"
SCENE_TESTS = (
    "test_volumes.py",
    "test_results.py",
    "test_kept_output.py",
    "test_segment_identity.py",
    "test_corrections.py",
    "test_submission.py",
    "test_statistics_nodes.py",
    "test_surfaces.py",
    "test_scene_files.py",
)
"""Tests of scene code; the other ones run without Slicer's node classes."""

for folder in (str(MODULE), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)


def import_slicer() -> bool:
    """Import slicer-core, if it is there.

    It takes in every folder called "slicer" on the search path, this one too, and imports all that
    is in it; so the path is without it meanwhile.
    """
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != HERE.parent]
    try:
        import slicer  # noqa: F401
    except ModuleNotFoundError:
        return False
    finally:
        sys.path[:] = path
    return True


collect_ignore = [] if import_slicer() else list(SCENE_TESTS)


@pytest.fixture
def scene():
    """An empty scene in which segmentations work as in Slicer."""
    slicer = pytest.importorskip("slicer")
    scene = slicer.vtkMRMLScene()
    # Registers the rules that turn one representation into another, as Slicer's start does.
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    yield scene
    scene.Clear(1)


@pytest.fixture
def add_volume(scene):
    """A function that puts an array into the scene as a CT: ``(array, ijk_to_ras, name)``."""

    def add(array, ijk_to_ras=None, name="CT"):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        fill(node, array, np.eye(4) if ijk_to_ras is None else ijk_to_ras)
        return node

    return add


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


@pytest.fixture
def add_transform(scene):
    """A function that puts a node under a linear transform: ``(node, matrix 4x4)``."""

    def add(node, matrix):
        import vtk

        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        values = vtk.vtkMatrix4x4()
        values.DeepCopy(np.asarray(matrix, float).ravel().tolist())
        transform.SetMatrixTransformToParent(values)
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    return add


@pytest.fixture
def small_ct():
    """HU (Z, Y, X) of a block of tissue with brighter organs in air, and the organs' labels."""
    shape = (12, 20, 24)
    labels = np.zeros(shape, np.uint8)
    labels[2:8, 4:14, 3:12] = 1  # liver
    labels[3:6, 6:10, 15:19] = 3  # spleen
    labels[8:11, 12:16, 4:8] = 2  # right kidney
    labels[8:11, 12:16, 16:20] = 13  # left kidney
    array = np.full(shape, -1000, np.int16)
    array[1:11, 2:18, 2:22] = 20
    array[labels > 0] = 60 + 10 * labels[labels > 0].astype(np.int16)
    return array, labels


def mask_of(node, organ_key):
    """The voxels of an organ in world RAS, rounded to 0.01 mm: a set of points."""
    import vtk
    from FLARESegLib.results import BINARY
    from FLARESegLib.segment_identity import organ_segment_ids
    from FLARESegLib.volumes import as_array, image_voxels, to_world

    segment = node.GetSegmentation().GetSegment(organ_segment_ids(node)[organ_key])
    image = segment.GetRepresentation(BINARY)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    x0, _, y0, _, z0, _ = image.GetExtent()
    found = np.argwhere(image_voxels(image) == segment.GetLabelValue()) + (z0, y0, x0)
    points = np.column_stack([found[:, ::-1], np.ones(len(found))])
    world = points @ (to_world(node) @ as_array(matrix)).T
    return {tuple(point) for point in np.round(world[:, :3], 2) + 0.0}
