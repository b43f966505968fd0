"""Noise has the deviation and the grain it is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.datasets.lesions.noise import blurred, smooth_noise, spread_hu


@pytest.mark.parametrize("grain", [2.0, 8.0])
def test_deviation_is_one(grain: float) -> None:
    random = np.random.default_rng(0)
    fields = [smooth_noise(random, (16, 24, 24), (5.0, 1.5, 1.5), grain) for _ in range(12)]
    assert np.mean([np.mean(np.square(f)) for f in fields]) == pytest.approx(1.0, abs=0.2)
    assert fields[0].dtype == np.float32 and fields[0].shape == (16, 24, 24)


def test_grain_is_in_millimetres_along_every_axis() -> None:
    random = np.random.default_rng(0)
    fields = [smooth_noise(random, (24, 48, 48), (4.0, 1.0, 1.0), 16.0) for _ in range(8)]
    # Four voxels along y are as far apart as one along z.
    near_z = np.mean([np.mean(f[1:] * f[:-1]) for f in fields])
    near_y = np.mean([np.mean(f[:, 4:] * f[:, :-4]) for f in fields])
    assert near_z == pytest.approx(near_y, abs=0.06)
    assert near_z > 0.85


def test_blur_leaves_thick_axes_alone() -> None:
    image = np.zeros((5, 9, 9), np.float32)
    image[2, 4, 4] = 1.0
    smooth = blurred(image, (10.0, 1.0, 1.0), 1.0)
    assert smooth[1].max() == 0 and 0.1 < smooth[2, 4, 4] < 0.3


def test_few_outliers_do_not_count() -> None:
    values = np.random.default_rng(0).normal(50, 10, 4000).astype(np.float32)
    values[:200] = 3000
    assert spread_hu(values) == pytest.approx(10, rel=0.15)
    assert spread_hu(values[:1]) == 0
