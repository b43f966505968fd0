"""Area of the piece of surface inside every possible 2 x 2 x 2 neighbourhood of voxels.

Eight voxels around a grid corner, each in the mask or not, make 256 neighbourhoods. Marching cubes
(Lorensen and Cline, SIGGRAPH 1987) puts triangles between the voxels inside and those outside; the
sum of the triangles' areas is what the corner contributes to the organ's surface. With more than
four voxels inside, inside and outside change places, so that a mask and its complement have the
same surface. That is the definition behind the look-up table of google-deepmind/surface-distance,
which the FLARE scripts use; a test compares the two.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Triple

CODES = 256
WHOLE = CODES - 1
"""Code of a neighbourhood that lies entirely inside."""

Numbers = npt.NDArray[np.float64]


@lru_cache(maxsize=64)
def areas_mm2(spacing_mm: Triple) -> Numbers:
    """Return the area (256,) for every neighbour code of `surface.neighbour_codes`, mm2.

    Parameters
    ----------
    spacing_mm : tuple of float
        Along z, y, x.

    Examples
    --------
    >>> float(areas_mm2((3.0, 1.0, 1.0))[0b11110000])  # a wall at right angles to x
    3.0
    """
    codes, normals = _triangles()
    z, y, x = spacing_mm
    stretched = normals * np.array([y * z, x * z, x * y])
    areas = np.zeros(CODES)
    np.add.at(areas, codes, np.linalg.norm(stretched, axis=1))
    areas.flags.writeable = False  # the cache hands out this very array
    return areas


@lru_cache(maxsize=1)
def _triangles() -> tuple[npt.NDArray[np.intp], Numbers]:
    """Return code (T,) and normal x, y, z (T, 3) of all triangles, for voxels of 1 mm.

    A normal is as long as its triangle is large, so the spacing only stretches it.
    """
    from skimage.measure import marching_cubes

    codes, normals = [], []
    for code in range(1, WHOLE):
        smaller = code if code.bit_count() <= 4 else WHOLE - code
        points, triangles, _, _ = marching_cubes(_cube(smaller), 0.5, method="lorensen")
        a, b, c = (np.round(points[triangles[:, k]] * 2) / 2 for k in range(3))
        normals.append(np.cross(b - a, c - a) / 2)
        codes.append(np.full(len(triangles), code))
    return np.concatenate(codes), np.concatenate(normals)


def _cube(code: int) -> npt.NDArray[np.float32]:
    """Return the 2 x 2 x 2 voxels (x, y, z) of a code; the first voxel is the highest bit.

    Examples
    --------
    >>> _cube(0b10000001).ravel().tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    bits = [(code >> place) & 1 for place in range(7, -1, -1)]
    return np.array(bits, np.float32).reshape(2, 2, 2)
