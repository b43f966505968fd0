"""Forms keep their volume, and a push moves outwards without folding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.datasets.lesions.appearance import Appearance
from flare_core.datasets.lesions.shape import (
    Window,
    blurred,
    draw_form,
    reach_of,
    smooth_noise,
    sources,
    spread_hu,
    turned,
)

LOOK = Appearance("metastasis", 24.0, 60.0, (1.1, 1.0, 1 / 1.1), 1.0, 0.8, 5.0)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (5.0, 0.8, 0.8)])
@pytest.mark.parametrize("irregular", [0.0, 1.8])
def test_volume_is_the_ellipsoids(spacing: tuple[float, float, float], irregular: float) -> None:
    appearance = replace(LOOK, irregular=irregular)
    for seed in range(3):
        random = np.random.default_rng(seed)
        shape = tuple(round(70 / s) for s in spacing)
        middle = [35.2 / s for s in spacing]
        window = Window.around(middle, reach_of(appearance), shape, spacing)
        form = draw_form(appearance, window, turned(random), random)
        ball = np.pi / 6 * appearance.diameter_mm**3
        assert form.member.sum() * np.prod(spacing) == pytest.approx(ball, rel=0.08)
        assert form.depth_mm.max() == pytest.approx(12, abs=4)


def test_turns_are_rotations() -> None:
    turn = turned(np.random.default_rng(0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_a_window_is_cut_by_the_scan() -> None:
    window = Window.around((1, 5, 9), 6.0, (10, 10, 10), (2.0, 2.0, 2.0))
    assert window.slices == (slice(0, 5), slice(2, 9), slice(6, 10))
    assert window.centre == (1.0, 3.0, 3.0)
    z, y, x = window.offsets_mm()
    assert (z.min(), y.min(), x.max()) == (-2.0, -6.0, 0.0)


def test_a_push_comes_from_nearer_the_centre_and_keeps_order() -> None:
    appearance = replace(LOOK, push=0.8, axes=(1.0, 1.0, 1.0))
    window = Window.around((40, 40, 40), reach_of(appearance), (80, 80, 80), (1.0, 1.0, 1.0))
    moved, places = sources(appearance, window, np.eye(3))
    voxels = np.argwhere(moved) - window.centre
    origin = places.T - window.centre
    now, then = (np.linalg.norm(v, axis=1) for v in (voxels, origin))
    assert (then <= now + 1e-3).all()
    order = np.argsort(now)
    assert (np.diff(then[order]) > -1e-2).all()
    assert then[now > 0.98 * now.max()] == pytest.approx(now[now > 0.98 * now.max()], rel=0.02)


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
