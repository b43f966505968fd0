"""The phantom's lesions: the generator of `lesions`, asked as the phantom's settings say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.kinds import LESION_KINDS
from flare_core.datasets.lesions.records import LesionScan
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.datasets.phantom.settings import PhantomSettings

KINDS = tuple(kind for kind in LESION_KINDS if kind != "treated")
"""A phantom has had no treatment."""


def phantom_lesions(
    image: npt.NDArray[Any], labels: npt.NDArray[np.uint8], settings: PhantomSettings
) -> LesionScan:
    """Paint lesions and decoys into a phantom's HU (Z, Y, X) and organ ids (Z, Y, X)."""
    wanted = LesionSettings(
        lesions=(settings.lesions, settings.lesions),
        sizes=settings.lesion_sizes,
        organs=settings.lesion_organs,
        kinds=KINDS,
        decoys=(settings.decoys, settings.decoys),
        phase=settings.phase,
        pushing=0.6 if settings.lesion_push else 0.0,
        growing_out=settings.lesion_push,
    )
    random = np.random.default_rng([settings.seed, 5])
    return add_lesions(image, labels, settings.spacing_mm, random, wanted)
