from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import ORGANS
from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.report.evaluation.overlay import (
    DIFFERENCES,
    TITLE,
    Comparison,
    comparison_picture,
    differences,
)

GRID = Geometry((12, 40, 50), (5.0, 4.0, 3.0))
MISSED, ADDED, CONFUSED = (each.colour for each in DIFFERENCES)


def labels(*blocks: tuple[int, int, int]) -> Volume:
    """A block for each (value, x0, x1)."""
    array = np.zeros(GRID.shape, np.uint8)
    for value, start, stop in blocks:
        array[2:10, 10:30, start:stop] = value
    return Volume(array, GRID)


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Whether the outline's colour is somewhere below the legend."""
    near = np.abs(pixels[TITLE:].astype(int) - np.multiply(colour, 0.95)) < 12
    return bool(near.all(axis=2).any())


def test_kinds_of_difference() -> None:
    assert differences(labels((1, 5, 9)).array, labels((1, 7, 12)).array)[5, 20, 4:13].tolist() == [
        0, 2, 2, 0, 0, 1, 1, 1, 0,
    ]  # fmt: skip
    confused = differences(labels((3, 5, 9)).array, labels((1, 5, 9)).array)
    assert set(np.unique(confused)) == {0, 3}


def test_equal_maps_differ_nowhere() -> None:
    same = comparison_picture(Comparison(labels((1, 5, 20)), labels((1, 5, 20))), ORGANS, "same")
    assert same.dtype == np.uint8 and same.shape[2] == 3
    assert not any(has(same, colour) for colour in (MISSED, ADDED, CONFUSED))


def test_what_was_missed_added_and_confused_is_drawn() -> None:
    reference = labels((1, 4, 14), (3, 30, 40))
    prediction = labels((1, 9, 19), (2, 30, 40))
    found = comparison_picture(Comparison(reference, prediction), ORGANS, "worst")
    assert has(found, MISSED) and has(found, ADDED) and has(found, CONFUSED)


def test_storage_order_does_not_matter() -> None:
    reference, prediction = labels((1, 4, 20)), labels((1, 8, 24))
    turned = Geometry(
        GRID.shape, GRID.spacing_mm, direction=((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    )
    flipped = [Volume(each.array[::-1].copy(), turned) for each in (reference, prediction)]
    one = comparison_picture(Comparison(reference, prediction), ORGANS, "x")
    other = comparison_picture(Comparison(*flipped), ORGANS, "x")
    assert one.shape == other.shape and np.mean(np.abs(one.astype(int) - other)) < 1.0


def test_a_lone_slice_and_empty_maps_can_be_drawn() -> None:
    thin = Geometry((1, 40, 50), (5.0, 4.0, 3.0))
    one = Volume(labels((1, 4, 20)).array[5:6], thin)
    assert comparison_picture(Comparison(one, one), ORGANS, "thin").size
    assert comparison_picture(Comparison(labels(), labels()), ORGANS, "empty").size
    assert comparison_picture(Comparison(labels(), labels((1, 4, 9))), ORGANS, "invented").size


def test_grids_must_fit() -> None:
    other = Volume(labels().array[:-1], Geometry((11, 40, 50), GRID.spacing_mm))
    with pytest.raises(InputError, match="comparison"):
        comparison_picture(Comparison(labels(), other), ORGANS, "x")
