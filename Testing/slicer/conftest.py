"""What the tests of scene code share: a scene with Slicer's own node classes, a CT in it, labels.

`slicer-core` is Slicer without its application; where it is not installed these tests are skipped.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scene_nodes import fill
from search_path import without_tests

HERE = Path(__file__).resolve().parent
MODULES = [HERE.parents[1] / name for name in ("FLARESeg", "FLARETrain")]
NEEDS_SCENE = re.compile(r"^\s*import slicer$|\b(scene|add_volume)\b", re.MULTILINE)
"""In a test file: it needs Slicer's node classes."""

for folder in (*map(str, MODULES), str(HERE)):
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


HAS_SLICER = import_slicer()
# for the application itself: they import qt
collect_ignore_glob = ["*TestCase.py", "*self_test*.py", "*_double.py"]
collect_ignore = [
    path.name
    for path in HERE.glob("test_*.py")
    if not HAS_SLICER and NEEDS_SCENE.search(path.read_text("utf-8"))
]


@pytest.fixture(scope="module", autouse=True)
def clean_children() -> Iterator[None]:
    """Keep the tests' folder from programs that tests start, where `PYTHONPATH` has it.

    There slicer-core would take in this folder, as `import_slicer` says.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", without_tests(os.environ.get("PYTHONPATH", "")))
        yield


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


@pytest.fixture
def draw():
    """A function that gives a segment voxels, as the Segment Editor does: ``(node, id, mask)``.

    The mask (Z, Y, X) is on the grid of the segmentation's volume; `over` are the IDs of segments
    that lose these voxels, None for all others.
    """

    def paint(node, segment_id, mask, over=None):
        import vtk
        from FLARESegLib.correction.corrections import volume_of
        from FLARESegLib.scene.segment_identity import segment_ids
        from FLARESegLib.scene.volumes import as_vtk, ijk_to_ras, image_voxels

        import slicer

        image = slicer.vtkOrientedImageData()
        image.SetGeometryFromImageToWorldMatrix(as_vtk(ijk_to_ras(volume_of(node))))
        image.SetExtent(0, mask.shape[2] - 1, 0, mask.shape[1] - 1, 0, mask.shape[0] - 1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image_voxels(image)[:] = mask
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        others = [n for n in segment_ids(node) if n != segment_id] if over is None else list(over)
        assert logic.SetBinaryLabelmapToSegment(
            image, node, segment_id, logic.MODE_REPLACE, None, False, others
        )

    return paint
