"""An array and its grid stay together."""

from __future__ import annotations

import numpy as np
import pytest

from core.imaging.oblique_grids import ALL_AXIS_MAPS, oblique
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume, body_box


def numbered() -> Volume:
    grid = oblique((4, 5, 6))
    return Volume(np.arange(120, dtype=np.int16).reshape(grid.shape), grid)


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        Volume(np.zeros((4, 6, 5)), oblique((4, 5, 6)))
    with pytest.raises(InputError):
        numbered().with_array(np.zeros((4, 5, 5)))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2), object), "type object"),
        (np.zeros((2, 2, 2), complex), "type complex128"),
        (np.full((2, 2, 2), "40"), "type <U2"),
        (np.ma.masked_less(np.zeros((2, 2, 2)), 1), "MaskedArray"),
        ([[[0.0, 0.0], [0.0, 0.0]]] * 2, "type list"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(array: object, words: str) -> None:
    """An object array hid a NaN from the check for finite numbers; its liver lost 40 %."""
    with pytest.raises(InputError, match="whole or real numbers") as caught:
        Volume(array, Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    assert words in caught.value.parts[1]


def test_crop_is_a_view_at_its_place() -> None:
    volume = numbered()
    part = volume.crop(Box((1, 2, 3), (3, 5, 6)))
    assert np.shares_memory(part.array, volume.array)
    assert part.array[0, 0, 0] == volume.array[1, 2, 3]
    there = volume.geometry.voxel_to_lps((1, 2, 3))
    assert np.allclose(part.geometry.voxel_to_lps((0, 0, 0)), there, atol=1e-9)


@pytest.mark.parametrize(
    "box", [Box((0, 0, 0), (5, 5, 6)), Box((-1, 0, 0), (2, 2, 2)), Box((2, 2, 2), (2, 4, 4))]
)
def test_crop_refuses_boxes_outside_or_empty(box: Box) -> None:
    with pytest.raises(InputError, match="Intersect"):
        numbered().crop(box)


def test_canonical_is_a_view_and_comes_back() -> None:
    volume = numbered()
    for order in ALL_AXIS_MAPS:
        stored = Volume(order.apply(volume.array), volume.geometry.permuted(order))
        turned, axis_map = stored.canonical()
        assert np.shares_memory(turned.array, volume.array)
        assert np.array_equal(turned.array, volume.array)
        assert turned.geometry.same_grid(volume.geometry, tolerance_mm=1e-9)
        assert np.array_equal(axis_map.undo(turned.array), stored.array)


def test_repr_tells_type_shape_and_spacing() -> None:
    assert repr(numbered()) == "Volume(int16 4 x 5 x 6 voxels of 5 x 0.8 x 1.1 mm, z y x)"


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
