"""Settings that leave every patch as it is; a test turns on what it looks at."""

from __future__ import annotations

from flare_core.datasets.augment.settings import Augmentation

NO_AUGMENTATION = Augmentation(
    (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
)
