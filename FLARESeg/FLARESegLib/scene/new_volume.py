"""A volume of the library as a volume node of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_core.imaging.volume import Volume


def volume_node(scene: Any, volume: Volume, name: str) -> Any:
    """Put a volume into a scene as a scalar volume node."""
    import vtk
    from vtk.util import numpy_support

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
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_lps).ravel().tolist())
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)
    return node
