"""Resizing is skimage's, and so nnU-Net's, to float32."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from skimage.transform import resize

from flare_core.imaging.resize import resize_image, resize_weights

SHAPES = [((11, 23, 30), (17, 14, 41)), ((9, 20, 8), (9, 33, 4)), ((5, 6, 7), (2, 3, 30))]


def resized(image: np.ndarray, *arguments: Any, **named: Any) -> np.ndarray:
    return resize_image(image, *arguments, **named).numpy()


def image_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(0.0, 300.0, shape).astype(np.float32)


@pytest.mark.parametrize(("shapes", "order"), list(product(SHAPES, (1, 3))))
def test_it_is_what_skimage_computes(shapes: tuple[tuple[int, ...], ...], order: int) -> None:
    image = image_of(shapes[0])
    expected = resize(image.astype(float), shapes[1], order, mode="edge", anti_aliasing=False)
    found = resized(image, shapes[1], (order, order, order))
    assert found.dtype == np.float32 and found.shape == shapes[1]
    assert np.abs(found - expected).max() < 2e-3 < np.abs(image).max() / 1e5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flat_slices_are_resized_each_for_itself(axis: int) -> None:
    image, shape = image_of((7, 8, 9)), [12, 13, 14]
    orders = [3, 3, 3]
    orders[axis] = 0
    found = resized(image, tuple(shape), tuple(orders), flat_axis=axis)
    plane = tuple(n for a, n in enumerate(shape) if a != axis)
    place = np.floor(image.shape[axis] / shape[axis] * (np.arange(shape[axis]) + 0.5)).astype(int)
    for k in range(shape[axis]):
        source = image.take(place[k], axis=axis).astype(float)
        expected = resize(source, plane, 3, mode="edge", anti_aliasing=False)
        assert np.abs(found.take(k, axis=axis) - expected).max() < 2e-3


def test_splines_do_not_leave_the_range_of_the_clipped_image() -> None:
    found = resized(image_of((9, 9, 9)), (25, 25, 25), (3, 3, 3), clip=(-50.0, 80.0))
    assert found.min() == -50.0 and found.max() == 80.0


def test_an_image_of_the_right_shape_stays_and_is_not_changed() -> None:
    image = image_of((6, 7, 8))
    before = image.copy()
    assert np.array_equal(resized(image, image.shape, (3, 3, 3)), image)
    resized(image, (3, 9, 9), (3, 3, 3), clip=(0.0, 1.0))
    assert np.array_equal(image, before)


def test_views_of_any_stride_and_type_are_read() -> None:
    image = image_of((10, 12, 14)).astype(np.int16)
    turned = image.transpose(2, 0, 1)[::-1]
    expected = resized(np.ascontiguousarray(turned), (9, 9, 9), (3, 3, 3))
    assert np.array_equal(resized(turned, (9, 9, 9), (3, 3, 3)), expected)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_weights_add_up_to_one(order: int) -> None:
    for source, target in ((7, 19), (19, 7), (1, 4), (5, 5)):
        weights = resize_weights(source, target, order)
        assert weights.shape == (target, source)
        assert np.allclose(weights.sum(axis=1), 1.0, atol=1e-5)


def test_a_spline_passes_through_its_voxels() -> None:
    line = image_of((1, 1, 9))
    found = resized(line, (1, 1, 27), (0, 0, 3))
    assert np.allclose(found[0, 0, 1::3], line[0, 0], atol=1e-3)
