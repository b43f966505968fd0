"""Surface areas of shapes whose exact area is known, on anisotropic grids."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest

from flare_core.segment.surface import surface_cm2

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (3.0, 1.5, 1.5), (5.0, 0.7, 0.7), (1.0, 2.5, 0.8)]


def positions(half_mm, spacing_mm):
    """Voxel centres (Z, Y, X, 3) in mm around an off-grid origin, reaching `half_mm`."""
    axes = [
        np.arange(-math.ceil(half_mm / s) - 1, math.ceil(half_mm / s) + 2) * s + 0.3 * s
        for s in spacing_mm
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def turn(seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def ellipsoid_area_mm2(a, b, c, steps=400):
    """Integrate |normal| over the parameters of the surface (midpoint rule)."""
    t = (np.arange(steps) + 0.5) * np.pi / steps
    f = (np.arange(2 * steps) + 0.5) * np.pi / steps
    t, f = np.meshgrid(t, f, indexing="ij")
    x, y = b * c * np.sin(t) * np.cos(f), a * c * np.sin(t) * np.sin(f)
    return (
        float(np.sum(np.sin(t) * np.sqrt(x**2 + y**2 + (a * b * np.cos(t)) ** 2)))
        * (np.pi / steps) ** 2
    )


def test_the_reference_itself():
    assert ellipsoid_area_mm2(30, 30, 30) == pytest.approx(4 * np.pi * 900, rel=1e-4)


@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
@pytest.mark.parametrize("radius_mm", [20.0, 40.0])
def test_ball_within_five_percent(spacing_mm, radius_mm):
    ball = (positions(radius_mm, spacing_mm) ** 2).sum(-1) <= radius_mm**2
    exact = 4 * np.pi * radius_mm**2 / 100
    assert surface_cm2(ball, spacing_mm) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tilted_flat_ellipsoid(spacing_mm, seed):
    """Liver-like: mostly two flat faces, so that a direction counted wrongly would show."""
    radii = np.array([40.0, 30.0, 12.0])
    places = positions(40.0, spacing_mm) @ turn(seed).T
    body = ((places / radii) ** 2).sum(-1) <= 1
    exact = ellipsoid_area_mm2(*radii) / 100
    assert surface_cm2(body, spacing_mm) == pytest.approx(exact, rel=0.07)


@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
def test_brick_along_the_axes(spacing_mm):
    """A brick's flat faces are the hardest case: every line hits them at the same angle."""
    count = [round(30.0 / s) for s in spacing_mm]
    z, y, x = (n * s for n, s in zip(count, spacing_mm, strict=True))
    exact = 2 * (z * y + y * x + z * x) / 100
    assert surface_cm2(np.ones(count, dtype=bool), spacing_mm) == pytest.approx(exact, rel=0.13)


def test_area_grows_with_the_square_of_the_spacing():
    ball = (positions(15.0, (2.5, 1.0, 1.0)) ** 2).sum(-1) <= 225
    one, two = surface_cm2(ball, (2.5, 1.0, 1.0)), surface_cm2(ball, (5.0, 2.0, 2.0))
    assert two == pytest.approx(4 * one, rel=1e-6)


def test_axis_order_does_not_matter():
    body = ((positions(20.0, (4.0, 1.0, 0.8)) / (15, 12, 8)) ** 2).sum(-1) <= 1
    swapped = np.transpose(body, (2, 0, 1))
    expected = surface_cm2(body, (4.0, 1.0, 0.8))
    assert surface_cm2(swapped, (0.8, 4.0, 1.0)) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("spacing", [(2.5, 0.8, 0.8), (5.0, 0.9, 0.7), (1.0, 1.0, 1.0)])
def test_a_mask_has_one_area_whichever_way_it_is_stored(spacing):
    blobs = np.random.default_rng(0).normal(size=(14, 15, 16))
    mask = sum(np.roll(blobs, s, a) for a in range(3) for s in (-1, 0, 1)) > 0.4
    expected = surface_cm2(mask, spacing)
    for order in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            turned = np.transpose(mask, order)[tuple(slice(None, None, f) for f in flips)]
            assert surface_cm2(turned, tuple(spacing[a] for a in order)) == expected


def test_two_balls_have_twice_the_area_of_one_and_a_cavity_adds_its_own():
    distance = np.sqrt((positions(20.0, (1.0, 1.0, 1.0)) ** 2).sum(-1))
    ball, core = distance <= 20, distance <= 10
    gap = np.zeros_like(ball)
    together = np.concatenate([ball, gap, ball])
    spacing = (1.0, 1.0, 1.0)
    one = surface_cm2(ball, spacing)
    assert surface_cm2(together, spacing) == pytest.approx(2 * one, rel=1e-9)
    assert surface_cm2(ball & ~core, spacing) == pytest.approx(
        one + surface_cm2(core, spacing), rel=1e-9
    )


def test_empty_mask_has_no_surface():
    assert surface_cm2(np.zeros((3, 4, 5), dtype=bool), (2.0, 1.0, 1.0)) == 0
