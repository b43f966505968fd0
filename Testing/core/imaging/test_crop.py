"""Cutting, pasting, and boxes carried from one grid to another."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from core.imaging.oblique_grids import ORIGIN, oblique, turned
from flare_core.errors import InputError
from flare_core.imaging.crop import body_box, box_of_world, paste
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume


def test_paste_undoes_crop() -> None:
    source = np.random.default_rng(0).integers(1, 99, (6, 7, 8))
    box = Box((1, 0, 3), (4, 7, 8))
    target = np.zeros_like(source)
    paste(source[box.slices], box, target)
    assert np.array_equal(target[box.slices], source[box.slices])
    assert np.count_nonzero(target) == 3 * 7 * 5


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((2, 2, 2), Box((-2, 0, 0), (0, 2, 2))),
        ((2, 2, 2), Box((5, 0, 0), (7, 2, 2))),
        ((1, 2, 2), Box((0, 0, 0), (2, 2, 2))),
    ],
)
def test_paste_refuses_what_does_not_fit(shape: tuple[int, int, int], box: Box) -> None:
    target = np.zeros((6, 6, 6))
    with pytest.raises(InputError, match="box"):
        paste(np.ones(shape), box, target)
    assert not target.any()


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


def test_body_box_never_cuts_the_body() -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        start = random.integers(0, 12, 3)
        size = random.integers(4, 20, 3)  # at least the step: nothing a body is made of is thinner
        stop = np.minimum(start + size, (24, 30, 33))
        array = np.full((24, 30, 33), -3024, np.int16)
        array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 40
        if min(stop - start) < 4:
            continue
        box = body_box(Volume(array, oblique(array.shape)))
        body = Box.of_mask(array > -500)
        assert box is not None and body is not None
        assert box.intersect(body) == body
        assert box.intersect(Box.of_shape(array.shape)) == box
        assert max(np.subtract(body.start, box.start)) <= 8


def test_body_box_of_air_is_none() -> None:
    array = np.full((8, 9, 10), -1000, np.int16)
    assert body_box(Volume(array, oblique(array.shape))) is None
    array[4, 4, 4] = 0
    assert body_box(Volume(array, oblique(array.shape))) == Box((0, 0, 0), (8, 9, 10))
