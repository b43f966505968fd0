"""From Hounsfield units to what a network reads."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Pixels = TypeVar("Pixels", bound=npt.NDArray[np.float32])


def normalise(array: Pixels, window_hu: tuple[float, float], mean: float, sd: float) -> Pixels:
    """Clip to a HU window, subtract `mean`, divide by `sd`; in place, to save a copy.

    Parameters
    ----------
    array : float32 (...), HU
        Changed in place and returned. Padding such as -2048 or -3024 ends at the window's edge.
    window_hu : (float, float)
        Lowest and highest value kept, HU.
    mean, sd : float
        HU; `sd` > 0. nnU-Net's CT normalisation is this with the foreground's percentiles .5
        and 99.5, mean and standard deviation.

    Examples
    --------
    >>> normalise(np.array([-3024.0, 40.0, 900.0], np.float32), (-160.0, 240.0), 40.0, 100.0)
    array([-2.,  0.,  2.], dtype=float32)
    """
    np.clip(array, window_hu[0], window_hu[1], out=array)
    np.subtract(array, np.float32(mean), out=array)
    np.multiply(array, np.float32(1.0 / sd), out=array)
    return array
