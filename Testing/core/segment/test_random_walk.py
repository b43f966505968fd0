from __future__ import annotations

import numpy as np

from flare_core.segment.random_walk import settled

SHAPE = (6, 12, 12)


def walk(image, target, pinned, smooth=2.0, spacing=(2.0, 1.0, 1.0)) -> np.ndarray:
    return settled(image, target, pinned, spacing, edge_hu=20.0, smooth=smooth)


def test_it_is_the_least_of_the_energy_by_a_dense_solution() -> None:
    chance = np.random.default_rng(0)
    shape, spacing, smooth, edge = (3, 4, 5), (2.0, 1.0, 1.0), 1.5, 20.0
    image = chance.normal(0, 30, shape).astype(np.float32)
    target = chance.random(shape).astype(np.float32)
    pinned = chance.random(shape) < 0.2
    index = np.arange(target.size).reshape(shape)
    matrix = np.eye(target.size)
    for axis in range(3):
        near = (min(spacing) / spacing[axis]) ** 2
        a, b = (
            np.take(index, r, axis).ravel() for r in (range(shape[axis] - 1), range(1, shape[axis]))
        )
        for i, j in zip(a, b, strict=True):
            step = (image.ravel()[i] - image.ravel()[j]) / edge
            tie = smooth * near * (np.exp(-(step**2)) + 0.02)
            matrix[i, i] += tie
            matrix[j, j] += tie
            matrix[i, j] -= tie
            matrix[j, i] -= tie
    free = ~pinned.ravel()
    right = target.ravel() - matrix @ np.where(free, 0, target.ravel())
    expected = target.ravel().copy()
    expected[free] = np.linalg.solve(matrix[np.ix_(free, free)], right[free])
    found = settled(image, target, pinned, spacing, edge_hu=edge, smooth=smooth)
    np.testing.assert_allclose(found.ravel(), expected, atol=2e-3)


def test_a_border_moves_to_the_edge_of_the_image() -> None:
    image = np.zeros(SHAPE, np.float32)
    image[:, :, 6:] = 100
    target = np.full(SHAPE, 0.1, np.float32)
    target[:, :, 5:] = 0.8  # one column off
    found = walk(image, target, np.zeros(SHAPE, bool))
    assert (found[:, :, :6] < 0.5).all() and (found[:, :, 6:] > 0.5).all()


def test_what_is_pinned_stays_and_pulls_its_neighbours() -> None:
    flat, target = np.zeros(SHAPE, np.float32), np.full(SHAPE, 0.3, np.float32)
    pinned = np.zeros(SHAPE, bool)
    pinned[3, 6, 6] = True
    target[3, 6, 6] = 1.0
    found = walk(flat, target, pinned)
    assert found[3, 6, 6] == 1.0
    assert found[3, 6, 7] > found[3, 6, 9] > 0.299
    assert found[3, 6, 7] > found[4, 6, 6]  # slices are farther apart


def test_without_neighbours_weight_nothing_changes() -> None:
    target = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    nothing = np.zeros(SHAPE, bool)
    np.testing.assert_allclose(walk(np.zeros(SHAPE, np.float32), target, nothing, 0.0), target)
