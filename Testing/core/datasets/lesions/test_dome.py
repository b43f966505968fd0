"""A dome mixes neighbouring slices at one place only."""

from __future__ import annotations

import numpy as np

from flare_core.datasets.lesions.dome import paint_dome
from flare_core.datasets.lesions.paint import Canvas


def canvas(depth: int = 20) -> Canvas:
    """Return an organ below fat."""
    image = np.full((depth, 40, 40), 100, np.int16)
    image[depth // 2 :] = -100
    labels = np.zeros(image.shape, np.uint8)
    labels[: depth // 2] = 1
    return Canvas(image, labels, np.zeros(image.shape, np.uint16), (3.0, 1.5, 1.5))


def test_fat_mixes_into_the_organ() -> None:
    one = canvas()
    before, labels = one.image.copy(), one.labels.copy()
    size = paint_dome(one, (9, 20, 20), np.random.default_rng(0))
    assert size is not None and 14 <= size <= 40
    assert -60 < one.image[9, 20, 20] < 70
    np.testing.assert_array_equal(one.image[:, 0, 0], before[:, 0, 0])
    np.testing.assert_array_equal(one.labels, labels)


def test_one_slice_cannot_mix() -> None:
    one = canvas(1)
    before = one.image.copy()
    assert paint_dome(one, (0, 20, 20), np.random.default_rng(0)) is None
    np.testing.assert_array_equal(one.image, before)
