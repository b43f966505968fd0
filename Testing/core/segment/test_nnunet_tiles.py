from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flare_core.segment.nnunet_tiles import nnunet_starts, nnunet_weights


@pytest.mark.parametrize("patch", [(8, 16, 24), (20, 14, 5), (32, 32, 32)])
def test_weights_are_a_filtered_point(patch: tuple[int, int, int]) -> None:
    point = np.zeros(patch)
    point[tuple(n // 2 for n in patch)] = 1.0
    bell = gaussian_filter(point, [n / 8 for n in patch], mode="constant")
    expected = (10.0 * bell / bell.max()).astype(np.float16)
    expected[expected == 0] = expected[expected > 0].min()
    found = nnunet_weights(patch).numpy()
    assert found.min() > 0 and np.allclose(found, expected.astype(np.float32), rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("size", "patch", "step", "starts"),
    [
        (110, 64, 0.5, [0, 23, 46]),
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (128, 64, 0.5, [0, 32, 64]),
        (7, 5, 0.5, [0, 2]),  # no more than 2.5 apart
    ],
)
def test_starts(size: int, patch: int, step: float, starts: list[int]) -> None:
    assert nnunet_starts(size, patch, step) == starts
