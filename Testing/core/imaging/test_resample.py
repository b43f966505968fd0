"""Images and labels on another grid: values by hand, by plain formulas, and at the right place."""

from __future__ import annotations

import numpy as np
import pytest

from core.imaging.oblique_grids import oblique, some_voxels, turned
from flare_core.errors import InputError
from flare_core.imaging.geometry import AxisMap, Box, Geometry, Index
from flare_core.imaging.resample import (
    axis_weights,
    covered,
    filled_share,
    grid_weights,
    resample_intensity,
    resample_labels,
    voxels_hit,
)
from flare_core.imaging.volume import Volume


def noise(shape: Index = (12, 20, 26)) -> Volume:
    hu = np.random.default_rng(3).normal(40, 20, shape)
    return Volume(hu.astype(np.float32), oblique(shape))


def plainly(volume: Volume, target: Geometry) -> np.ndarray:
    """All three matrices at once, in float64."""
    wz, wy, wx = (w.astype(float) for w in grid_weights(volume.geometry, target))
    return np.einsum("zyx,az,by,cx->abc", volume.array.astype(float), wz, wy, wx, optimize=True)


def test_weights_by_hand() -> None:
    assert axis_weights(2, 4, 0.5, -0.25) == pytest.approx(
        np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    )
    assert axis_weights(4, 2, 2.0, 0.5)[0] == pytest.approx(np.array([3, 3, 1, 0]) / 7)


@pytest.mark.parametrize(("scale", "offset"), [(0.3, -2.0), (1.0, 0.4), (2.7, 0.85), (9.0, 30.0)])
def test_weights_are_means(scale: float, offset: float) -> None:
    weights = axis_weights(20, 11, scale, offset)
    assert weights.shape == (11, 20) and weights.min() >= 0
    assert weights.sum(axis=1) == pytest.approx(np.ones(11), abs=1e-6)


def test_averaging_weighs_every_source_voxel_alike() -> None:
    """That keeps the mean; only at the faces is the filter cut."""
    columns = axis_weights(60, 20, 3.0, 1.0).sum(axis=0)
    assert columns[6:-6] == pytest.approx(np.full(48, 1 / 3), abs=1e-6)


@pytest.mark.parametrize("shape", [(6, 9, 11), (24, 50, 40), (12, 20, 26), (5, 40, 26), (1, 1, 1)])
def test_intensity_is_the_product_of_the_matrices(shape: Index) -> None:
    volume = noise()
    target = volume.geometry.with_shape(shape)
    found = resample_intensity(volume, target)
    assert found.geometry == target and found.array.dtype == np.float32
    assert found.array == pytest.approx(plainly(volume, target), abs=1e-3)


def test_wide_images_are_mixed_in_bands() -> None:
    volume = noise((3, 150, 170))
    target = volume.geometry.with_spacing((4.0, 0.5, 1.9))
    assert max(target.shape) > 3 * 64
    assert resample_intensity(volume, target).array == pytest.approx(
        plainly(volume, target), abs=1e-3
    )


@pytest.mark.parametrize("slab", [1, 5, 100])
def test_intensity_does_not_depend_on_the_slab(slab: int) -> None:
    volume = noise()
    target = volume.geometry.with_shape((7, 33, 12)).crop(Box((2, 5, 1), (6, 30, 12)))
    expected = resample_intensity(volume, target).array
    assert resample_intensity(volume, target, slab=slab).array == pytest.approx(expected, abs=1e-4)


def test_the_same_grid_gives_the_same_image() -> None:
    volume = noise()
    assert np.array_equal(resample_intensity(volume, volume.geometry).array, volume.array)


def test_the_callers_image_stays_as_it_is() -> None:
    """A contiguous float32 image needs no conversion; clipping must not reach it all the same."""
    volume = noise()
    volume.array[0] = -3024
    before = volume.array.copy()
    found = resample_intensity(volume, volume.geometry, clip_hu=(0.0, 50.0))
    assert np.array_equal(volume.array, before)
    assert found.array.min() == 0 and found.array.max() == 50


def test_values_stay_at_their_place_in_the_patient() -> None:
    """A ramp in world coordinates is interpolated exactly, wherever the target lies."""
    image = oblique((12, 20, 26))
    ramp = np.array([0.9, -2.0, 1.3])

    def at(grid: Geometry) -> np.ndarray:
        voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
        return grid.voxel_to_lps(voxels) @ ramp

    volume = Volume((at(image)).astype(np.float32), image)
    wide = (-9e4, 9e4)
    target = image.crop(Box((2, 3, 4), (9, 15, 20))).with_spacing((1.3, 0.7, 0.9))
    inside = target.crop(Box((2, 1, 1), tuple(n - 2 for n in target.shape)))
    found = resample_intensity(volume, inside, clip_hu=wide).array
    assert found == pytest.approx(at(inside), abs=2e-3)


@pytest.mark.parametrize(
    "order", [AxisMap((2, 0, 1), (True, False, True)), AxisMap((1, 2, 0), (False,) * 3)]
)
def test_views_of_any_storage_order_are_read_alike(order: AxisMap) -> None:
    volume = noise()
    stored = Volume(order.apply(volume.array).copy(), volume.geometry.permuted(order))
    view = stored.canonical()[0]
    assert not view.array.flags.c_contiguous
    target = view.geometry.with_shape((6, 30, 13))
    assert resample_intensity(view, target).array == pytest.approx(
        resample_intensity(volume, target).array, abs=1e-4
    )


def test_averaging_keeps_the_mean_and_lowers_the_noise() -> None:
    volume = noise((32, 60, 64))
    found = resample_intensity(volume, volume.geometry.with_shape((16, 20, 32))).array
    assert found.mean() == pytest.approx(volume.array.mean(), abs=0.15)
    assert found.std() < 0.3 * volume.array.std()
    flat = volume.with_array(np.full_like(volume.array, 37.0))
    assert (
        np.abs(resample_intensity(flat, flat.geometry.with_shape((9, 20, 23))).array - 37).max()
        < 1e-4
    )


def test_padding_is_clipped_before_it_is_mixed() -> None:
    array = np.full((4, 4, 4), -3024, np.int16)
    array[:, :, 2:] = 40
    found = resample_intensity(
        Volume(array, oblique((4, 4, 4))), oblique((4, 4, 4)).with_shape((4, 4, 2))
    )
    assert found.array.min() > -1024 and found.array.min() < -700


def test_outside_the_image_the_edge_goes_on() -> None:
    volume = noise((4, 5, 6))
    around = resample_intensity(volume, volume.geometry.pad((2, 2, 2), (1, 1, 1))).array
    assert around == pytest.approx(np.pad(volume.array, (2, 1), mode="edge"), abs=1e-4)


def test_nearest_labels_by_hand() -> None:
    labels = Volume(np.array([[[1, 2, 3, 4]]], np.uint8), Geometry((1, 1, 4), (5.0, 1.0, 1.0)))
    fine = resample_labels(labels, labels.geometry.with_shape((1, 2, 8)))
    assert fine.array.tolist() == [[[1, 1, 2, 2, 3, 3, 4, 4]] * 2]
    assert fine.array.dtype == np.uint8
    moved = resample_labels(labels, labels.geometry.pad((0, 0, 2), (0, 1, 0)))
    assert moved.array.tolist() == [[[0, 0, 1, 2, 3, 4], [0] * 6]]


def test_labels_come_from_the_nearest_voxel_in_the_patient() -> None:
    grid = oblique((6, 8, 9))
    labels = Volume(np.arange(1, 433, dtype=np.int16).reshape(grid.shape), grid)
    target = grid.pad((2, 1, 1), (1, 1, 3)).with_spacing((3.1, 0.9, 0.7))
    found = resample_labels(labels, target)
    places = some_voxels(target.shape, 400)
    upper = grid.lps_to_voxel(target.voxel_to_lps(places)) + 0.5
    plain = np.all(np.abs(upper - np.rint(upper)) > 1e-5, axis=1)  # halfway, the sides take turns
    places, nearest = places[plain], np.floor(upper[plain]).astype(int)
    inside = np.all((nearest >= 0) & (nearest < grid.shape), axis=1)
    expected = np.where(inside, labels.array[tuple(np.clip(nearest, 0, [5, 7, 8]).T)], 0)
    assert np.array_equal(found.array[tuple(places.T)], expected)
    assert 0 < inside.sum() < len(inside)


def test_labels_come_back_from_a_finer_grid() -> None:
    grid = oblique((6, 8, 9))
    labels = Volume(np.random.default_rng(0).integers(0, 14, grid.shape, np.uint8), grid)
    fine = resample_labels(labels, grid.with_shape((18, 16, 45)))
    assert np.array_equal(resample_labels(fine, grid).array, labels.array)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_labels_do_not_drift_on_a_grid_of_a_multiple_of_the_spacing(factor: int) -> None:
    """Twice the spacing puts every centre between two voxels; neither side may always win."""
    grid = Geometry((48, 48, 48), (1.0, 1.0, 1.0))
    z, y, x = np.indices(grid.shape)
    ball = ((z - 23.5) ** 2 + (y - 23.5) ** 2 + (x - 23.5) ** 2 < 17**2).astype(np.uint8)
    coarse = grid.with_shape((48 // factor,) * 3)
    found = resample_labels(Volume(ball, grid), coarse)
    centre = coarse.voxel_to_lps(np.argwhere(found.array)).mean(axis=0)
    assert centre == pytest.approx(grid.voxel_to_lps(np.argwhere(ball)).mean(axis=0), abs=0.1)


def test_labels_and_cover_agree_on_what_is_outside() -> None:
    """Centres exactly on the outermost faces count as inside, whatever rounding says."""
    grid = oblique((6, 8, 9))
    labels = Volume(np.ones(grid.shape, np.uint8), grid)
    target = grid.with_shape((12, 16, 18)).pad((3, 3, 3), (3, 3, 3))
    target = target.crop(Box((0, 0, 0), (17, 21, 23))).with_shape((34, 42, 46))
    for each in (target, target.with_shape((17, 21, 23)), grid.with_shape((3, 4, 3))):
        mask = np.zeros(each.shape, bool)
        mask[covered(grid, each).slices] = True
        assert np.array_equal(resample_labels(labels, each).array == 1, mask)


def test_a_resampled_mask_says_how_much_of_a_voxel_is_filled() -> None:
    grid = Geometry((1, 1, 12), (1.0, 1.0, 1.0))
    array = np.zeros(grid.shape, np.uint8)
    array[..., 5:7], array[..., 9:] = 1, 2
    masks = [Volume((array == c).astype(np.uint8), grid) for c in (1, 2)]
    coarse = grid.with_shape((1, 1, 4))
    one, two = (resample_intensity(each, coarse, clip_hu=(0.0, 1.0)).array for each in masks)
    assert one.shape == (1, 1, 4)
    # the triangle filter around source voxel 4 weighs voxels 2 to 6 with 1 2 3 2 1, over 9
    assert one[0, 0] == pytest.approx([0, 3 / 9, 3 / 9, 0], abs=1e-6)
    assert two[0, 0, 3] > 0.8


def test_what_is_thinner_than_a_voxel_hits_it() -> None:
    grid = oblique((16, 24, 28))
    mask = np.zeros(grid.shape, bool)
    mask[7, 9, 3:20] = True
    coarse = grid.with_shape((4, 6, 7))
    hit = voxels_hit(mask, grid, coarse)
    assert filled_share(mask, grid, coarse).max() < 0.5
    assert np.array_equal(np.argwhere(hit), [[1, 2, x] for x in range(5)])
    assert not voxels_hit(np.zeros(grid.shape, bool), grid, coarse).any()


def test_a_resampled_mask_keeps_its_volume() -> None:
    grid = oblique((16, 24, 28))
    array = np.zeros(grid.shape, np.uint8)
    array[6:9, 8:12, 10:13] = 1
    coarse = grid.with_shape((8, 12, 7))
    found = resample_intensity(Volume(array, grid), coarse, clip_hu=(0.0, 1.0)).array
    assert found.sum() * coarse.voxel_ml == pytest.approx(36 * grid.voxel_ml, rel=1e-4)


@pytest.mark.parametrize(
    ("pad", "cut", "spacing"),
    [
        ((2, 3, 1), (1, 2, 4), (3.0, 0.5, 0.9)),
        ((0, 0, 0), (0, 0, 0), (9.0, 2.0, 3.0)),
        ((-2, 1, 0), (1, -3, 2), (5.0, 0.8, 1.1)),
    ],
)
def test_covered_are_the_voxels_whose_centres_are_inside(
    pad: Index, cut: Index, spacing: tuple[float, float, float]
) -> None:
    source = oblique((6, 8, 9))
    target = source.pad(pad, cut).with_spacing(spacing)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in target.shape], indexing="ij"), -1)
    place = source.lps_to_voxel(target.voxel_to_lps(voxels))
    inside = np.all(
        (place >= -0.5 - 1e-6) & (place <= np.array(source.shape) - 0.5 + 1e-6), axis=-1
    )
    mask = np.zeros(target.shape, bool)
    mask[covered(source, target).slices] = True
    assert np.array_equal(mask, inside) and inside.any()


@pytest.mark.parametrize("way", [30, -30])
def test_nothing_is_covered_beside_the_source(way: int) -> None:
    source = oblique((6, 8, 9))
    target = source.crop(Box((0, way, 0), (6, way + 8, 9)))
    box = covered(source, target)
    assert box.empty and np.zeros(target.shape)[box.slices].size == 0


def test_turned_grids_are_refused() -> None:
    grid = oblique((6, 8, 9))
    other = Geometry(grid.shape, grid.spacing_mm, grid.origin_mm, turned((14.0, -9.0, 24.0)))
    volume = Volume(np.zeros(grid.shape, np.uint8), grid)
    for move in (resample_intensity, resample_labels):
        with pytest.raises(InputError, match="axes"):
            move(volume, other)
    with pytest.raises(InputError, match="axes"):
        covered(grid, other)
