"""An MR is not told to subtract 1024: each kind of a wrong scan has words of its own."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging import checks, hounsfield
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

SHAPE = (24, 60, 60)


def body() -> np.ndarray:
    """Air, fat and organs with noise, HU."""
    chance = np.random.default_rng(1)
    z, y, x = np.ogrid[-1:1:24j, -1:1:60j, -1:1:60j]
    radius = np.sqrt(0.2 * z**2 + y**2 + x**2)
    hu = np.where(radius < 0.9, -100.0, -1000.0)
    hu = np.where(radius < 0.7, 50.0, hu)
    return hu + chance.normal(0, 15, SHAPE)


def mr() -> np.ndarray:
    """A body of many shades, rather bright, in dark noise; a coil makes it uneven."""
    chance = np.random.default_rng(2)
    inside = body() > -500
    coil = np.linspace(0.5, 1.5, SHAPE[2])[None, None, :]
    shades = chance.gamma(4.0, 120.0, SHAPE) * coil
    return np.where(inside, shades, chance.gamma(1.0, 8.0, SHAPE))


def pet(peak: float) -> np.ndarray:
    """Faint everywhere, bright in a bladder."""
    chance = np.random.default_rng(3)
    values = np.where(body() > -500, 0.03, 0.001) * chance.gamma(2.0, 0.5, SHAPE)
    values[10:14, 25:32, 25:32] = 1.0
    return values * peak


def refused(array: np.ndarray) -> InputError:
    with pytest.raises(InputError) as caught:
        checks.check_ct(Volume(array, Geometry(array.shape, (5.0, 2.0, 2.0))))
    return caught.value


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (mr().astype(np.int16), "looks like MR"),
        (mr().astype(np.float32), "looks like MR"),
        (pet(40_000).astype(np.float32), "looks like PET"),
        (pet(20_000).astype(np.uint16), "looks like PET"),
        (pet(15.0).astype(np.float32), "looks like PET"),
        ((body() > 0).astype(np.uint8), "is a mask"),
        ((body() > 0).astype(np.float32), "is a mask"),
        (1000 * (body() > 0).astype(np.int16), "is a mask"),
        ((body() + 1024).clip(0).astype(np.int16), "subtract 1024"),
    ],
    ids=["MR", "MR float", "PET Bq", "PET uint16", "PET SUV", "mask", "mask float", "bright mask",
         "plus 1024"],
)  # fmt: skip
def test_each_kind_has_its_own_words(array: np.ndarray, words: str) -> None:
    action = refused(array).parts[3]
    assert words in action
    assert ("1024" in action) == ("1024" in words)


def test_a_ct_is_no_other_kind() -> None:
    array = body().astype(np.int16)
    assert checks.check_ct(Volume(array, Geometry(array.shape, (5.0, 2.0, 2.0)))) is not None


def test_examples() -> None:
    assert doctest.testmod(hounsfield).failed == 0
