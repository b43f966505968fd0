"""Training samples and soft maps as tests make and read them: from arrays, without files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_core.datasets import cache
from flare_core.datasets.cache import Sample
from flare_core.datasets.case import Case
from flare_core.datasets.soft_map import SURE


def sample_of_arrays(
    case: Case,
    image: npt.NDArray[np.int16],
    labels: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
) -> Sample:
    """Return a sample with its patch centres looked up."""
    places, volumes = cache._places(labels), cache._volumes_ml(labels, spacing_mm)
    return Sample(case, image, labels, spacing_mm, places, volumes)


def unpack_soft(
    soft: npt.NDArray[np.int16],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return the second most likely organ (Z, Y, X) and the first one's share, 0.5 to 1."""
    return (soft >> 8).astype(np.uint8), (soft & 255).astype(np.float32) / SURE
