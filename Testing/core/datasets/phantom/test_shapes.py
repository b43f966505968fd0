"""Solids have the volumes of geometry books, and a body bends without changing them."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.datasets.phantom.body import BodyPart
from flare_core.datasets.phantom.paint import Bend, Canvas
from flare_core.datasets.phantom.shapes import (
    Shape,
    along,
    cylinder,
    ellipsoid,
    half_space,
    rasterise,
    rotation,
    swell_for_volume,
    tube,
)
from flare_core.imaging.geometry import Geometry

GRID = [np.arange(-60.0, 60.0, 1.0, dtype=np.float32) + np.float32(0.37)] * 3


def volume_ml(shape: Shape) -> float:
    """Return the volume of a shape around the origin, counted on a 1 mm grid."""
    return float((rasterise(shape, GRID, margin_mm=2.0) < 0).sum()) / 1000.0


@pytest.mark.parametrize("turn", [None, rotation(about_x=30, about_y=-20, about_z=50)])
def test_ellipsoid_volume(turn: np.ndarray | None) -> None:
    shape = ellipsoid((3.0, -2.0, 5.0), (10.0, 20.0, 30.0), turn)
    assert volume_ml(shape) == pytest.approx(4 / 3 * np.pi * 6.0, rel=0.01)


def test_rotation_turns_the_back_towards_the_right() -> None:
    np.testing.assert_allclose(rotation(about_z=90) @ (0, 1, 0), (-1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(rotation(about_x=90) @ (0, 1, 0), (0, 0, 1), atol=1e-6)


def test_tube_is_a_cylinder_with_round_ends() -> None:
    shape = tube([(-24, -12, -12), (0, 0, 0), (24, 12, 12)], 8.0)
    length = 2 * np.sqrt(24**2 + 12**2 + 12**2)
    expected = np.pi * 8.0**2 * length + 4 / 3 * np.pi * 8.0**3
    assert volume_ml(shape) == pytest.approx(expected / 1000, rel=0.02)


def test_tube_runs_through_its_points_with_its_radii() -> None:
    shape = tube([(0, 0, -40), (20, 0, 0), (0, 0, 40)], (4.0, 10.0, 4.0))
    for point, radius in (((0, 0, -40), 4.0), ((20, 0, 0), 10.0), ((0, 0, 40), 4.0)):
        value = float(shape.field(*(np.float32(v) for v in point)))
        assert value == pytest.approx(-radius, abs=1.0), point


def test_mirrored_tube() -> None:
    left, right = (along([(10, 0, 0, 3), (30, 5, 0, 3)], side=side) for side in (1.0, -1.0))
    x, y, z = np.float32(20), np.float32(2.5), np.float32(0)
    assert left.field(x, y, z) == pytest.approx(right.field(-x, y, z))
    assert left.field(x, y, z) < 0 < right.field(x, y, z)


def test_cylinder_volume() -> None:
    shape = cylinder((1.0, 2.0, 3.0), (20.0, 10.0, 15.0))
    assert volume_ml(shape) == pytest.approx(np.pi * 200 * 30 / 1000, rel=0.02)


def test_clips_and_offsets() -> None:
    ball = ellipsoid((0, 0, 0), (20.0, 20.0, 20.0))
    whole = 4 / 3 * np.pi * 8.0
    half = ball.clipped(half_space((0, 0, 0), (1, 0, 0)))
    assert volume_ml(half) == pytest.approx(whole / 2, rel=0.05)
    # Swelling stops at the clip; growing does not.
    x, y, z = np.float32(2.0), np.float32(0), np.float32(0)
    assert half.swollen(5.0).field(x, y, z) > 0 > half.grown(5.0).field(x, y, z)
    assert volume_ml(ball.grown(-10.0)) == pytest.approx(whole / 8, rel=0.03)
    assert volume_ml(ball.minus(ball.grown(-10.0).field)) == pytest.approx(whole * 7 / 8, rel=0.02)


def test_swelling_reaches_a_volume_beside_neighbours() -> None:
    ball = ellipsoid((0, 0, 0), (20.0, 20.0, 20.0))
    neighbour = ellipsoid((18, 0, 0), (15.0, 15.0, 15.0))
    swell = swell_for_volume(ball, 45.0, [neighbour])
    free = ball.swollen(swell).minus(neighbour.field)
    assert 2.0 < swell < 10.0
    assert volume_ml(free) == pytest.approx(45.0, rel=0.03)


def bend(seed: int = 1) -> Bend:
    """Return a posture."""
    return Bend.drawn(np.random.default_rng(seed), (1.1, 0.9, 1.05))


def test_bend_can_be_undone() -> None:
    points = np.random.default_rng(0).uniform(-200, 200, (3, 500)).astype(np.float32)
    there = bend().to_body(*points)
    assert np.abs(np.array(there) - points).max() > 3.0
    np.testing.assert_allclose(np.array(bend().to_world(*there)), points, atol=1e-3)


def test_bend_scales_volumes_by_the_product_of_its_scale() -> None:
    geometry = Geometry((60, 60, 60), (2.0, 2.0, 2.0), (-59.0, -59.0, -59.0))
    canvas = Canvas(geometry, bend())
    canvas.paint(BodyPart(ellipsoid((0, 0, 0), (25.0, 30.0, 35.0)), "liver", 1))
    expected = 4 / 3 * np.pi * 25 * 30 * 35 / 1000 * 1.1 * 0.9 * 1.05
    assert (canvas.labels == 1).sum() * geometry.voxel_ml == pytest.approx(expected, rel=0.01)


def test_what_is_painted_first_stays() -> None:
    geometry = Geometry((30, 30, 30), (2.0, 2.0, 2.0), (-29.0, -29.0, -29.0))
    canvas = Canvas(geometry, Bend.drawn(np.random.default_rng(3), (1.0, 1.0, 1.0)))
    first = BodyPart(ellipsoid((0, 0, 0), (12.0, 12.0, 12.0)), "spleen", 3)
    canvas.paint(first)
    before = canvas.labels == 3
    canvas.paint(BodyPart(ellipsoid((8, 0, 0), (15.0, 15.0, 15.0)), "liver", 1))
    np.testing.assert_array_equal(canvas.labels == 3, before)
    assert (canvas.labels == 1).any()
    # Except inside an organ, on purpose.
    canvas.paint(BodyPart(ellipsoid((0, 0, 0), (6.0, 6.0, 6.0)), "lesion", 14, within=3))
    assert (before[canvas.labels == 14]).all() and (canvas.labels == 14).any()
