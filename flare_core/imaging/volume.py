"""An array and its place in space, never apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.geometry import AxisMap, Box, Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels (Z, Y, X) on a `Geometry`.

    Raises
    ------
    InputError
        If the array is none of real numbers, or its shape is not the geometry's.

    Examples
    --------
    >>> Volume(np.zeros((4, 5, 6), np.int16), Geometry((4, 5, 6), (5.0, 0.75, 0.75)))
    Volume(int16 4 x 5 x 6 voxels of 5 x 0.75 x 0.75 mm, z y x)
    """

    array: npt.NDArray[np.generic]
    """Voxel values (Z, Y, X): HU for images, organ ids for labels."""
    geometry: Geometry
    """Where the voxels are."""
    notes: tuple[str, ...] = ()
    """What its reader mended or left out, for the person; `check_ct` hands them on."""

    def __post_init__(self) -> None:
        """Refuse what is no array of numbers, and one that does not fill the grid."""
        _check_numbers(self.array)
        if tuple(self.array.shape) != self.geometry.shape:
            raise InputError(
                "volume",
                f"an array of shape {tuple(self.array.shape)}",
                f"the geometry's shape {self.geometry.shape} (z, y, x)",
                "Pass the array and the geometry of the same image.",
            )

    def __repr__(self) -> str:
        """Say what is inside: type, shape, spacing."""
        spacing = " x ".join(f"{s:.3g}" for s in self.geometry.spacing_mm)
        shape = " x ".join(map(str, self.geometry.shape))
        return f"Volume({self.array.dtype} {shape} voxels of {spacing} mm, z y x)"

    def with_array(self, array: npt.NDArray[np.generic]) -> Volume:
        """Return other voxels on the same grid."""
        return Volume(array, self.geometry)

    def crop(self, box: Box) -> Volume:
        """Return the voxels inside `box`, as a view.

        Raises
        ------
        InputError
            If the box is empty or reaches out of the grid.
        """
        if box.empty or box.intersect(Box.of_shape(self.geometry.shape)) != box:
            raise InputError(
                "box",
                str(box),
                f"a box with voxels inside {self.geometry.shape}",
                "Intersect the box with Box.of_shape(volume.geometry.shape) first.",
            )
        return Volume(self.array[box.slices], self.geometry.crop(box))

    def canonical(self) -> tuple[Volume, AxisMap]:
        """Return a view with axes towards Superior, Posterior, Left, and the map that undoes it."""
        axis_map = self.geometry.canonical_map()
        turned = Volume(axis_map.apply(self.array), self.geometry.permuted(axis_map))
        return turned, axis_map


def _check_numbers(array: object) -> None:
    """Refuse what NumPy would compute with in a way of its own: masks, objects, complex numbers."""
    came, action = f"an object of type {type(array).__name__}", "Pass numpy.asarray(...) of it."
    if isinstance(array, np.ma.MaskedArray):
        action = "Say what the masked voxels are: array.filled(-1024) for air."
    elif isinstance(array, np.ndarray):
        if array.dtype.kind in "biuf":
            return
        came = f"an array of type {array.dtype}"
        action = "Convert it: array.astype('float32'), if all its values are real numbers."
    raise InputError("volume", came, "a NumPy array of whole or real numbers", action)


def body_box(volume: Volume, *, threshold_hu: float = -500.0, step: int = 4) -> Box | None:
    """Return the box around everything denser than air, or None; looks at every `step`-th voxel.

    The scanner's table is inside; it costs little and no body part is ever cut.
    """
    found = Box.of_mask(np.greater(volume.array[::step, ::step, ::step], threshold_hu))
    if found is None:
        return None
    (z0, y0, x0), (z1, y1, x1) = found.start, found.stop
    exact = Box((z0 * step, y0 * step, x0 * step), (z1 * step, y1 * step, x1 * step))
    return exact.grow((step, step, step), volume.geometry.shape)
