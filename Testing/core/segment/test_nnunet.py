from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flare_core.imaging.geometry import AxisMap, Box, Geometry
from flare_core.imaging.resample import own_memory
from flare_core.imaging.resize import resize_weights
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import NnunetGrids, Normalisation
from flare_core.segment.nnunet import (
    flat_axis,
    network_axes,
    network_input,
    nnunet_starts,
    nnunet_weights,
    resampling_plan,
    spacing_here,
)
from stub_models import stage_card

GRIDS = NnunetGrids()
CARD = stage_card(
    "organs", ("background", "liver"), interpolation="cubic", nnunet=GRIDS,
    normalisation=Normalisation("ct", -100.0, 300.0, 50.0, 80.0), spacing_mm=(4.0, 3.0, 2.0),
)  # fmt: skip


def scan(shape: tuple[int, int, int] = (20, 30, 40), spacing: float = 2.0) -> Volume:
    array = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    array[array == 0] = 1
    return Volume(array, Geometry(shape, (spacing,) * 3))


def test_network_axes_follow_orientation_and_transpose() -> None:
    card = replace(CARD, orientation="SAR", transpose=(2, 0, 1))
    assert network_axes(card) == AxisMap((2, 0, 1), (True, False, True))
    assert spacing_here(card) == (3.0, 2.0, 4.0)
    assert network_axes(CARD) == AxisMap((0, 1, 2), (False, False, False))


def test_only_what_is_not_zero_is_looked_at() -> None:
    image = scan()
    image.array[:3] = 0
    image.array[:, 25:] = 0
    region = Box((1, 2, 0), (20, 30, 38))
    resampling = resampling_plan(image, region, CARD, GRIDS)
    assert resampling.box == Box((3, 2, 0), (20, 25, 38))
    assert resampling.geometry.shape == (8, 15, 38)  # 17 * 2 / 4 = 8.5 rounds to even, as in Python
    assert [w.shape for w in resampling.weights] == [(17, 8), (23, 15), (38, 38)]


def test_a_region_of_zeros_is_looked_at_whole() -> None:
    image = scan()
    image.array[:] = 0
    region = Box((1, 2, 0), (20, 30, 38))
    assert resampling_plan(image, region, CARD, GRIDS).box == region


def test_the_input_is_clipped_then_resampled_then_normalised() -> None:
    image = scan()
    resampling = resampling_plan(image, Box.of_shape((20, 30, 40)), CARD, GRIDS)
    pixels = network_input(image, resampling, CARD, GRIDS, place=own_memory()).numpy()
    assert pixels.shape == resampling.geometry.shape and pixels.dtype == np.float32
    assert pixels.min() >= (-100 - 50) / 80 and pixels.max() <= (300 - 50) / 80
    same = replace(CARD, spacing_mm=(2.0, 2.0, 2.0))
    resampling = resampling_plan(image, Box.of_shape((20, 30, 40)), same, GRIDS)
    expected = (np.clip(image.array, -100, 300) - 50.0) / 80.0
    assert np.allclose(
        network_input(image, resampling, same, GRIDS, place=own_memory()).numpy(),
        expected,
        atol=1e-5,
    )


def test_version_1_clips_behind_the_resampling() -> None:
    image = scan()
    image.array[:] = -1000
    image.array[:, :, 20:] = 1000
    whole = Box.of_shape((20, 30, 40))
    for clip_first in (True, False):
        grids = NnunetGrids(image_order=1, clip_first=clip_first)
        card = replace(CARD, spacing_mm=(2.0, 2.0, 2.3), interpolation="linear", nnunet=grids)
        resampling = resampling_plan(image, whole, card, grids)
        values = (
            network_input(image, resampling, card, grids, place=own_memory()).numpy()[0, 0] * 80
            + 50
        )
        share = resize_weights(40, resampling.geometry.shape[2], 1)[:, 20:].sum(axis=1)  # of +1000
        assert np.any((share > 0.2) & (share < 0.8))
        v2, v1 = -100 + 400 * share, np.clip(-1000 + 2000 * share, -100, 300)
        assert np.allclose(values, v2 if clip_first else v1, atol=0.1)


@pytest.mark.parametrize(
    ("source", "target", "grids", "axis"),
    [
        ((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), GRIDS, 0),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), GRIDS, 2),
        ((5.0, 5.0, 1.0), (1.0, 1.0, 4.0), GRIDS, None),  # two axes are coarse: the first decides
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), GRIDS, None),
        ((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), NnunetGrids(slices_apart=False), None),
        ((2.0, 1.0, 1.0), (1.0, 1.0, 1.0), NnunetGrids(slices_apart=True), 0),
    ],
)
def test_when_slices_are_apart(
    source: tuple[float, ...], target: tuple[float, ...], grids: NnunetGrids, axis: int | None
) -> None:
    assert flat_axis(source, target, grids) == axis


@pytest.mark.parametrize("patch", [(8, 16, 24), (20, 14, 5), (32, 32, 32)])
def test_weights_are_a_filtered_point(patch: tuple[int, int, int]) -> None:
    point = np.zeros(patch)
    point[tuple(n // 2 for n in patch)] = 1.0
    bell = gaussian_filter(point, [n / 8 for n in patch], mode="constant")
    expected = (10.0 * bell / bell.max()).astype(np.float16)
    expected[expected == 0] = expected[expected > 0].min()
    found = nnunet_weights(patch).numpy()
    assert found.min() > 0 and np.allclose(found, expected.astype(np.float32), rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("size", "patch", "step", "starts"),
    [
        (110, 64, 0.5, [0, 23, 46]),
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (128, 64, 0.5, [0, 32, 64]),
        (7, 5, 0.5, [0, 2]),  # no more than 2.5 apart
    ],
)
def test_starts(size: int, patch: int, step: float, starts: list[int]) -> None:
    assert nnunet_starts(size, patch, step) == starts
