"""Every operation on grids leaves voxels where they are in the patient."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from core.imaging.oblique_grids import ALL_AXIS_MAPS, ORIGIN, SPACING, oblique, some_voxels, turned
from flare_core.errors import InputError
from flare_core.imaging.geometry import CANONICAL, AxisMap, Box, Geometry, box_of_world


def test_a_voxels_centre_is_origin_plus_steps() -> None:
    grid = oblique()
    z, y, x = (np.array(row) for row in grid.direction)
    by_hand = np.array(ORIGIN) + 2 * 5.0 * z + 3 * 0.8 * y - 4 * 1.1 * x
    assert np.allclose(grid.voxel_to_lps((2, 3, -4)), by_hand, atol=1e-9)
    assert np.allclose(grid.voxel_to_lps((0, 0, 0)), ORIGIN, atol=1e-12)


def test_without_a_direction_the_axes_are_superior_posterior_left() -> None:
    grid = Geometry((4, 4, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    assert grid.voxel_to_lps((1, 0, 0)).tolist() == [10, 20, 35]
    assert grid.voxel_to_lps((0, 1, 0)).tolist() == [10, 22, 30]
    assert grid.voxel_to_lps((0, 0, 1)).tolist() == [11, 20, 30]


def test_voxels_to_world_and_back() -> None:
    grid = oblique()
    points = np.random.default_rng(0).uniform(-20, 40, (3, 4, 3))
    assert np.allclose(grid.lps_to_voxel(grid.voxel_to_lps(points)), points, atol=1e-9)
    assert not np.allclose(grid.lps_to_voxel(points), points, atol=1.0)


def test_sizes() -> None:
    grid = oblique((5, 7, 9))
    assert grid.extent_mm == pytest.approx((25.0, 5.6, 9.9))
    assert grid.voxel_ml == pytest.approx(5.0 * 0.8 * 1.1 / 1000)


@pytest.mark.parametrize("box", [Box((1, 2, 3), (4, 6, 8)), Box((-3, 1, -2), (7, 3, 12))])
def test_crop_keeps_places(box: Box) -> None:
    grid = oblique()
    part = grid.crop(box)
    assert part.shape == box.shape
    voxels = some_voxels(part.shape)
    there = grid.voxel_to_lps(voxels + np.array(box.start))
    assert np.allclose(part.voxel_to_lps(voxels), there, atol=1e-9)


def test_pad_undoes_crop() -> None:
    grid = oblique((5, 7, 9))
    part = grid.crop(Box((1, 2, 3), (4, 6, 8)))
    assert part.pad((1, 2, 3), (1, 1, 1)).same_grid(grid, tolerance_mm=1e-9)
    assert part.pad((0, 0, 0), (0, 0, 0)) == part
    assert not part.pad((1, 2, 2), (1, 1, 2)).same_grid(grid)


@pytest.mark.parametrize("shape", [(10, 14, 18), (3, 7, 20), (1, 1, 1), (5, 7, 9)])
def test_with_shape_keeps_the_field_of_view(shape: tuple[int, int, int]) -> None:
    grid = oblique((5, 7, 9))
    other = grid.with_shape(shape)
    assert other.shape == shape
    assert other.extent_mm == pytest.approx(grid.extent_mm)
    for corner in ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0)):
        face = [np.array(corner) * g.shape - 0.5 for g in (grid, other)]
        ends = [g.voxel_to_lps(f) for g, f in zip((grid, other), face, strict=True)]
        assert np.allclose(*ends, atol=1e-9)
    assert other.with_shape(grid.shape).same_grid(grid, tolerance_mm=1e-9)


def test_with_spacing_rounds_the_number_of_voxels() -> None:
    grid = oblique((10, 100, 80))
    coarse = grid.with_spacing((10.0, 1.7, 2.0))
    assert coarse.shape == (5, 47, 44)
    assert coarse.spacing_mm == pytest.approx((10.0, 80 / 47, 88 / 44))
    assert coarse.with_spacing(grid.spacing_mm).same_grid(grid, tolerance_mm=1e-9)
    assert grid.with_spacing((500.0, 500.0, 500.0)).shape == (1, 1, 1)


@pytest.mark.parametrize("order", ALL_AXIS_MAPS)
def test_all_axis_orders_come_back(order: AxisMap) -> None:
    """Store an oblique grid in every order; its canonical form is always the same grid."""
    grid = oblique()
    numbers = np.arange(math.prod(grid.shape)).reshape(grid.shape)
    stored, place = order.apply(numbers), grid.permuted(order)
    assert stored.shape == place.shape
    assert np.array_equal(order.undo(stored), numbers)
    assert np.shares_memory(stored, numbers) and np.shares_memory(order.undo(stored), numbers)

    voxels = some_voxels(place.shape)
    old = np.stack(np.unravel_index(stored[tuple(voxels.T)], grid.shape), axis=1)
    assert np.allclose(place.voxel_to_lps(voxels), grid.voxel_to_lps(old), atol=1e-9)

    back = place.canonical_map()
    assert np.array_equal(back.apply(stored), numbers)
    assert place.permuted(back).same_grid(grid, tolerance_mm=1e-9)
    assert place.permuted(back).spacing_mm == SPACING


def test_the_48_orders_differ() -> None:
    grid = oblique()
    assert len({(grid.permuted(m).direction, grid.permuted(m).shape) for m in ALL_AXIS_MAPS}) == 48


def test_canonical_axes_point_to_superior_posterior_left() -> None:
    place = oblique().permuted(ALL_AXIS_MAPS[29])
    direction = np.array(place.permuted(place.canonical_map()).direction)
    assert np.all(np.diag(direction @ np.array(CANONICAL).T) > 0.8)


def test_same_grid_looks_at_every_corner() -> None:
    grid = oblique((50, 60, 70))
    stretched = Geometry(grid.shape, (5.0, 0.8, 1.1001), grid.origin_mm, grid.direction)
    assert grid.same_grid(grid)
    assert not grid.same_grid(stretched)  # 69 x 0.0001 mm off at the far end
    assert grid.same_grid(stretched, tolerance_mm=0.01)
    assert not grid.same_grid(oblique((50, 60, 71)), tolerance_mm=100.0)
    assert not grid.same_grid(grid.permuted(AxisMap((0, 1, 2), (True, False, False))))


def test_box_selects_its_voxels() -> None:
    box = Box((1, 2, 3), (4, 6, 8))
    mask = np.zeros((5, 7, 9), bool)
    mask[box.slices] = True
    assert mask.sum() == math.prod(box.shape) == 60
    assert Box.of_mask(mask) == box
    assert Box.of_mask(np.zeros((2, 2, 2), bool)) is None
    assert Box.of_shape((5, 7, 9)) == Box((0, 0, 0), (5, 7, 9))


def test_of_mask_touches_the_outermost_voxels() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[1, 5, 2] = mask[4, 0, 3] = True
    assert Box.of_mask(mask) == Box((1, 0, 2), (5, 6, 4))


@pytest.mark.parametrize("other", [Box((3, 0, 0), (5, 2, 2)), Box((-9, -9, -9), (-4, 3, 3))])
def test_boxes_that_do_not_meet_share_nothing(other: Box) -> None:
    """A stop left below zero would count from the end of the array and select most of it."""
    both = Box((0, 0, 0), (3, 4, 4)).intersect(other)
    assert both.empty and 0 in both.shape
    assert np.zeros((9, 9, 9))[both.slices].size == 0


def test_union_and_grow() -> None:
    a, nothing = Box((1, 1, 1), (2, 2, 2)), Box((9, 9, 9), (9, 12, 12))
    assert a.union(Box((4, 0, 1), (5, 1, 2))) == Box((1, 0, 1), (5, 2, 2))
    assert a.union(nothing) == nothing.union(a) == a
    assert a.grow((1, 2, 9), within=(9, 3, 5)) == Box((0, 0, 0), (3, 3, 5))
    assert Box((7, 7, 7), (8, 8, 8)).grow((1, 1, 1), within=(4, 4, 4)).empty


def test_box_of_world_on_the_same_grid_is_the_box() -> None:
    grid = oblique((9, 10, 11))
    box = Box((1, 2, 3), (4, 6, 11))
    assert box_of_world(box, grid, grid) == box


def test_box_of_world_on_the_other_storage_order() -> None:
    grid = oblique((9, 10, 11))
    box = Box((1, 2, 3), (4, 6, 11))
    mask = np.zeros(grid.shape, bool)
    mask[box.slices] = True
    there = grid.canonical_map()
    assert box_of_world(box, grid, grid.permuted(there)) == Box.of_mask(there.apply(mask))


@pytest.mark.parametrize("shape", [(18, 20, 22), (27, 5, 11), (5, 4, 3)])
def test_box_of_world_to_another_spacing_and_back_covers_the_box(
    shape: tuple[int, int, int],
) -> None:
    grid = oblique((9, 10, 11))
    box = Box((1, 2, 3), (4, 6, 10))
    there = box_of_world(box, grid, grid.with_shape(shape))
    back = box_of_world(there, grid.with_shape(shape), grid)
    assert back.intersect(box) == box
    if shape == (18, 20, 22):
        assert there == Box((2, 4, 6), (8, 12, 20)) and back == box


def test_box_of_world_on_a_turned_grid_is_the_smallest() -> None:
    source = oblique((9, 10, 11))
    target = Geometry((60, 60, 60), (2.0, 1.5, 1.0), ORIGIN, turned((0.0, 0.0, -15.0)))
    target = target.pad((20, 20, 20), (0, 0, 0))
    box = Box((2, 3, 1), (5, 6, 8))
    found = box_of_world(box, source, target)
    faces = np.array([box.start, box.stop]) - 0.5
    corners = np.array(list(product(*faces.T)))
    cells = np.floor(target.lps_to_voxel(source.voxel_to_lps(corners)) + 0.5)  # no face coincides
    assert found == Box(tuple(map(int, cells.min(axis=0))), tuple(map(int, cells.max(axis=0) + 1)))


def test_box_of_world_beside_the_target_is_empty() -> None:
    grid = oblique((9, 10, 11))
    for way in ((40, 0, 0), (-40, 0, 0)):
        beside = grid.crop(Box(way, (way[0] + 9, 10, 11)))
        found = box_of_world(Box((1, 1, 1), (3, 3, 3)), grid, beside)
        assert found.empty and np.zeros(beside.shape)[found.slices].size == 0


def test_lists_and_arrays_make_the_same_grid_as_tuples() -> None:
    plain = Geometry((2, 3, 4), (5.0, 1.0, 1.0), (1.0, 2.0, 3.0))
    made = Geometry([2, 3, 4], np.array((5, 1, 1)), [1, 2, 3], np.array(CANONICAL))
    assert made == plain and hash(made) == hash(plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", (2, 3)),
        ("spacing_mm", (5.0, 1.0)),
        ("spacing_mm", 5.0),
        ("origin_mm", (0.0, 0.0, 0.0, 1.0)),
        ("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ("direction", np.eye(4)),
    ],
)
def test_other_counts_of_numbers_are_refused_by_name(field: str, value: object) -> None:
    fields = {"shape": (2, 3, 4), "spacing_mm": (5.0, 1.0, 1.0), field: value}
    with pytest.raises(InputError, match="three") as caught:
        Geometry(**fields)
    assert caught.value.parts[0] == field
