"""From a volume node to voxels in world space and back; where every input check is.

`node_geometry` puts a node's grid into world LPS, parent transform included, so that a model sees
the patient as the views show him. Axes stay as they are: an array that comes back on this grid has
the shape of the node's own.

Taking voxels out of the scene belongs to Qt's thread and comes in short steps (`copy_steps`);
writing them (`run.exchange`) needs no scene, so a thread can do it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import vtk
from vtk.util import numpy_support

import slicer
from flare_core.errors import Cancelled, InputError
from flare_core.imaging.checks import check_grid, check_kind, orthonormal
from flare_core.imaging.geometry import Geometry, Index
from flare_core.imaging.volume import Volume
from FLARESegLib.scene.subject_place import own_attribute

Array = npt.NDArray[np.generic]
Matrix4 = npt.NDArray[np.float64]
Made = TypeVar("Made")

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
STEP_VOXELS = 1_000_000
"""Voxels that one step copies or scans: 2 MB of a CT, a few ms, and less than 100 ms on a machine
that is busy with something else."""

CT_NODE = "vtkMRMLScalarVolumeNode"
NO_CT = {
    "vtkMRMLLabelMapVolumeNode": "a label map",
    "vtkMRMLVectorVolumeNode": "a colour or vector volume",
    "vtkMRMLMultiVolumeNode": "a volume with several frames",
    "vtkMRMLSegmentationNode": "a segmentation",
}
"""What people pick by mistake, in their words."""


MODALITY = "DICOM.Modality"
OTHER_MODALITIES = {
    "MR": ("an MR", "The models know CT only: choose a CT of this patient."),
    "PT": ("a PET scan", "Choose the CT of the same examination; a PET/CT has both."),
    "NM": ("a SPECT scan", "Choose the CT of the same examination; a SPECT/CT has both."),
    "US": ("an ultrasound scan", "The models know CT only: choose a CT of this patient."),
    "SEG": ("a segmentation", "Choose the CT that it was drawn on."),
    "RTDOSE": ("a dose map", "Choose the CT that the dose was planned on."),
}
"""DICOM's modality -> what that is, and what to do."""


def node_volume(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return a node's voxels (Z, Y, X), as a view, on its grid in world LPS.

    The view changes with the node; a thread works on the copy of `copy_steps` instead.

    Raises
    ------
    InputError
        If the node is no CT volume, or lies under a transform that bends or shears it.
    """
    return Volume(voxels(volumeNode), node_geometry(volumeNode))


def volume_node(scene: Any, volume: Volume, name: str) -> Any:
    """Put a volume into a scene as a scalar volume node."""
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.array.shape[::-1])
    flat = np.ascontiguousarray(volume.array).ravel()
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    geometry = volume.geometry
    steps = (
        np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm)[:, None]
    )  # (z y x, LPS)
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3], ijk_to_lps[:3, 3] = steps[::-1].T, geometry.origin_mm
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(as_vtk(RAS_TO_LPS @ ijk_to_lps))
    node.SetAndObserveImageData(image)
    return node


def check_input(volumeNode: slicer.vtkMRMLNode | None) -> Geometry:
    """Return the grid of a node that can be segmented; takes no time, looks at no voxel.

    Whether the voxels are Hounsfield units is found out by the worker.

    Raises
    ------
    InputError
        If nothing is chosen, the node is no CT volume (DICOM says so, or its type), has no voxels,
        is no 3D image, or lies under a transform that bends or shears it.
    """
    if volumeNode is None:
        raise InputError(
            "input volume", "nothing", "a loaded CT", "Load a CT and choose it as input volume."
        )
    geometry = node_geometry(volumeNode)
    check_modality(volumeNode)
    image = volumeNode.GetImageData()
    name = _named(volumeNode)
    check_kind(name, image.GetDimensions(), image.GetNumberOfScalarComponents())
    check_grid(name, geometry.shape, geometry.spacing_mm)
    return geometry


def check_modality(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Refuse a volume that DICOM says was made by another machine than a CT.

    Raises
    ------
    InputError
        If it was; a volume that did not come from DICOM is judged by its voxels, later.
    """
    found = OTHER_MODALITIES.get(own_attribute(volumeNode, MODALITY))
    if found is not None:
        what, action = found
        raise InputError(_named(volumeNode), f"{what}, as DICOM says", "a CT in HU", action)


def node_geometry(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Geometry:
    """Return where a node's voxels are in world LPS, its linear parent transforms applied.

    Raises
    ------
    InputError
        If the node is no CT volume, or lies under a transform that bends or shears it.
    """
    check_ct_node(volumeNode)
    matrix = to_world(volumeNode) @ ijk_to_ras(volumeNode)
    return _geometry(_named(volumeNode), matrix, grid_shape(volumeNode))


def grid_shape(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Index:
    """Return the shape (z, y, x) of a volume node's array."""
    x, y, z = volumeNode.GetImageData().GetDimensions()
    return z, y, x


def voxels(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Array:
    """Return a volume node's voxels (Z, Y, X) as a view that stays valid without the node."""
    return image_voxels(volumeNode.GetImageData())


def image_voxels(image: vtk.vtkImageData) -> Array:
    """Return the voxels (Z, Y, X) of image data with one number in a voxel, as a view."""
    shape = image.GetDimensions()[::-1]
    scalars = image.GetPointData().GetScalars()
    return numpy_support.vtk_to_numpy(scalars).reshape(shape)


def ijk_to_ras(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Matrix4:
    """Return the (4, 4) matrix from array indices (x, y, z) to the node's own RAS, mm.

    Indices count from the first voxel that is there, wherever the image's extent starts.
    """
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    first = np.eye(4)
    first[:3, 3] = volumeNode.GetImageData().GetExtent()[::2]
    return as_array(matrix) @ first


def to_world(node: slicer.vtkMRMLTransformableNode) -> Matrix4:
    """Return the (4, 4) matrix of a node's parent transforms, from its RAS to world RAS.

    Raises
    ------
    InputError
        If one of them is not linear.
    """
    transform = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            _named(node),
            f"under the transform {transform.GetName()!r}, which bends space",
            "no parent transform, or one that only turns, shifts and scales",
            "In the Data module, right-click the node: choose 'Harden transform', or take the "
            "transform off.",
        )
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(transform, None, matrix)
    return as_array(matrix)


def as_array(matrix: vtk.vtkMatrix4x4) -> Matrix4:
    """Return a VTK matrix as an array (4, 4)."""
    return np.array([[matrix.GetElement(row, col) for col in range(4)] for row in range(4)])


def as_vtk(matrix: Matrix4) -> vtk.vtkMatrix4x4:
    """Return an array (4, 4) as a VTK matrix."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result


def slabs(shape: tuple[int, ...]) -> list[slice]:
    """Cut an array (Z, Y, X) into runs of planes of at most `STEP_VOXELS` voxels (one at least).

    Examples
    --------
    >>> slabs((3, 2000, 2000))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    planes = max(1, STEP_VOXELS // max(1, shape[1] * shape[2]))
    return [slice(z, min(z + planes, shape[0])) for z in range(0, shape[0], planes)]


def copy_steps(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Generator[float, None, Volume]:
    """Copy a volume out of the scene; yield the share done after each short step, return the copy.

    Examples
    --------
    Run to the end: ``volume = finish(copy_steps(node))``; or call ``next`` from a timer until
    ``StopIteration``, whose ``value`` is the volume.

    Raises
    ------
    InputError
        As `check_input`.
    Cancelled
        If the node leaves the scene, or gets other voxels, meanwhile.
    """
    geometry = check_input(volumeNode)
    source = voxels(volumeNode)
    image = volumeNode.GetImageData()
    target = np.empty(source.shape, nifti_type(source.dtype))
    for part in slabs(source.shape):
        if volumeNode.GetScene() is None or volumeNode.GetImageData() is not image:
            raise Cancelled("The input volume was removed or replaced.")
        target[part] = source[part]
        yield part.stop / source.shape[0]
    return Volume(target, geometry)


def finish(steps: Generator[object, None, Made]) -> Made:
    """Take all steps at once and return what they make."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def nifti_type(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the type in which files hold voxels of `dtype`: unsigned 64 bits are in none."""
    return np.dtype(np.int64) if dtype == np.dtype(np.uint64) else dtype


def _geometry(name: str, ijk_to_world: Matrix4, shape: Index) -> Geometry:
    """Return the LPS grid of a matrix from indices (x, y, z) to world RAS."""
    lps = RAS_TO_LPS @ ijk_to_world
    steps = lps[:3, 2::-1].T  # rows: the step along z, y, x
    lengths = np.linalg.norm(steps, axis=1)
    z, y, x = (float(mm) for mm in lengths)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        check_grid(name, shape, (z, y, x))
    try:
        direction = orthonormal(name, steps / lengths[:, None])
    except InputError as error:
        raise InputError(
            name,
            error.parts[1],
            "a volume whose axes are at right angles, also after its parent transforms",
            "Take the transform off, or resample the volume (module 'Resample "
            "Scalar/Vector/DWI Volume') onto a straight grid.",
        ) from error
    left, posterior, superior = (float(mm) for mm in lps[:3, 3])
    return Geometry(shape, (z, y, x), (left, posterior, superior), direction)


def check_ct_node(node: slicer.vtkMRMLNode) -> None:
    """Refuse a node that is no CT volume, or has no voxels, wherever it is in space.

    Raises
    ------
    InputError
        If it is.
    """
    kind = node.GetClassName()
    if kind != CT_NODE:
        raise InputError(
            _named(node),
            NO_CT.get(kind, f"a node of type {kind}"),
            "a CT volume (scalar volume, HU)",
            "Choose the CT; if a CT was loaded as a label map, load it again as a volume.",
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError(
            _named(node),
            "a volume without voxels",
            "a loaded CT",
            "Load the CT again; its file may have been moved.",
        )


def _named(node: slicer.vtkMRMLNode) -> str:
    """Return what to call a node in a message."""
    return f"volume {node.GetName()!r}"
