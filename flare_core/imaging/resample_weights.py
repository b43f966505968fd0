"""How much of every source voxel goes into a target voxel, one small matrix for each axis.

Linear interpolation is separable, so these matrices are all there is to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry

Float = npt.NDArray[np.float32]


def axis_weights(source: int, target: int, scale: float, offset: float) -> Float:
    """Return the matrix (target, source) that interpolates linearly along one axis.

    Parameters
    ----------
    source, target : int
        Voxels before and after.
    scale : float
        Target spacing over source spacing; above 1 the triangle widens and averages.
    offset : float
        Source index of target voxel 0. Positions outside take the edge voxel's value.

    Examples
    --------
    >>> axis_weights(3, 2, 1.0, 0.5)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    position = np.clip(offset + scale * np.arange(target), 0, source - 1)
    distance = np.abs(position[:, None] - np.arange(source)[None, :]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(weights, dtype=np.float32)


def grid_weights(source: Geometry, target: Geometry) -> tuple[Float, Float, Float]:
    """Return `axis_weights` for z, y, x.

    Raises
    ------
    InputError
        If the axes of the two grids do not point the same way.
    """
    require_parallel(source, target)
    first = source.lps_to_voxel(target.origin_mm)
    z, y, x = (
        axis_weights(
            source.shape[a],
            target.shape[a],
            target.spacing_mm[a] / source.spacing_mm[a],
            float(first[a]),
        )
        for a in range(3)
    )
    return z, y, x


def require_parallel(source: Geometry, target: Geometry) -> None:
    """Raise if the two grids are turned against each other."""
    if not np.allclose(source.direction, target.direction, atol=1e-4):
        raise InputError(
            "target",
            f"axes {target.direction}",
            f"the image's own axes {source.direction}",
            "Build the target with Geometry.with_spacing or crop, or bring both to canonical axes.",
        )


def span(weights: Float) -> slice:
    """Return the source voxels that any target voxel uses."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
