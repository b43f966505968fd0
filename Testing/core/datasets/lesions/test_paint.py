"""Painting: room, whole pieces, surfaces that stay, other lesions that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from core.datasets.lesions.made_organs import SPACING, made_scan
from flare_core.datasets.lesions.appearance import Appearance, Host
from flare_core.datasets.lesions.paint import LesionCanvas, paint, paint_dome, tissue_hu
from flare_core.datasets.lesions.shape import Form, Window, draw_form, turned

HOST = Host("liver", 1, 105.0, 8.0, "portal")
LOOK = Appearance("metastasis", 24.0, 50.0, (1.0, 1.0, 1.0), 0.6, 0.8, 3.0)


def canvas() -> LesionCanvas:
    """Return the one-liver scan."""
    image, labels = made_scan()
    return LesionCanvas(image, labels, np.zeros(image.shape, np.uint16), SPACING)


def test_a_lesion_in_the_middle_has_its_hu() -> None:
    one = canvas()
    done = paint(one, LOOK, HOST, (20, 36, 36), np.random.default_rng(0))
    assert done is not None
    core = ndimage.binary_erosion(done.mask, iterations=2)
    assert one.image[done.window.slices][core].mean() == pytest.approx(50, abs=5)


def test_without_room_nothing_changes() -> None:
    one = canvas()
    before = one.image.copy(), one.labels.copy()
    assert paint(one, LOOK, HOST, (1, 2, 2), np.random.default_rng(0)) is None
    np.testing.assert_array_equal(one.image, before[0])
    np.testing.assert_array_equal(one.labels, before[1])


def test_a_bulging_lesion_grows_into_fat_and_its_organ_with_it() -> None:
    one = canvas()
    before = one.labels.copy()
    appearance = replace(LOOK, bulging=True, shallow=True)
    done = paint(one, appearance, HOST, (20, 36, 36 - 27), np.random.default_rng(0))
    assert done is not None
    grown = done.mask & (before[done.window.slices] == 0)
    assert grown.sum() > 0.2 * done.mask.sum()
    assert (one.labels[done.window.slices][done.mask] == 1).all()
    assert one.image[done.window.slices][ndimage.binary_erosion(grown)].mean() > 20


def test_a_cut_lesion_leaves_the_fat_as_it_was() -> None:
    one = canvas()
    before = one.image.copy()
    done = paint(one, LOOK, HOST, (20, 36, 36 - 24), np.random.default_rng(0))
    assert done is not None
    fat = ndimage.distance_transform_edt(one.labels == 0, SPACING) > 4
    np.testing.assert_array_equal(one.image[fat], before[fat])


def test_other_lesions_stay() -> None:
    one = canvas()
    one.instances[16:22, 30:36, 30:36] = 1
    before = one.image.copy()
    appearance = replace(LOOK, push=0.6)
    done = paint(one, appearance, HOST, (20, 38, 38), np.random.default_rng(0))
    assert done is not None
    old = one.instances == 1
    assert not (done.mask & old[done.window.slices]).any()
    deep = ndimage.binary_erosion(old, iterations=2)
    np.testing.assert_array_equal(one.image[deep], before[deep])


def test_bone_around_holds_against_a_push() -> None:
    moved = []
    for rib in (False, True):
        one = canvas()
        if rib:
            one.image[:, 36 + 18 : 36 + 20][one.labels[:, 36 + 18 : 36 + 20] == 1] = 600
            one.labels[:, 36 + 18 : 36 + 20] = 0
        before = one.image.copy()
        appearance = replace(LOOK, push=0.7, axes=(1.0, 1.0, 1.0))
        done = paint(one, appearance, HOST, (20, 42, 36), np.random.default_rng(0))
        assert done is not None
        ring = ndimage.binary_dilation(done.mask, iterations=4)
        ring &= ~ndimage.binary_dilation(done.mask, iterations=2)
        change = np.abs(one.image.astype(float) - before)[done.window.slices][ring]
        moved.append(float(np.median(change)))
    assert moved[1] < moved[0]


PLAIN = Appearance("metastasis", 40.0, 60.0, (1.0, 1.0, 1.0), 0.0, 0.8, 0.0)
WINDOW = Window.around((32, 32, 32), 30.0, (64, 64, 64), (1.0, 1.0, 1.0))


def drawn(appearance: Appearance) -> tuple[np.ndarray, Form]:
    """Return tissue and form."""
    random = np.random.default_rng(0)
    form = draw_form(appearance, WINDOW, turned(random), random)
    return tissue_hu(appearance, form, WINDOW, random), form


def test_plain_tissue_is_even() -> None:
    hu, _ = drawn(PLAIN)
    np.testing.assert_allclose(hu, 60.0)


def test_mosaic_has_its_deviation_and_keeps_the_mean() -> None:
    hu, form = drawn(replace(PLAIN, mosaic_hu=10.0))
    inside = hu[form.depth_mm > 0]
    assert inside.mean() == pytest.approx(60, abs=4)
    assert 6 < inside.std() < 14


def test_a_rim_is_bright_below_the_surface() -> None:
    hu, form = drawn(replace(PLAIN, rim_hu=40.0, rim_mm=4.0))
    rim = hu[np.abs(form.depth_mm - 2) < 1].mean()
    assert rim > 75 and hu[form.depth_mm > 12].mean() == pytest.approx(60, abs=1)


def test_a_dead_core_lies_inside() -> None:
    hu, form = drawn(replace(PLAIN, necrosis=0.4, necrosis_hu=20.0))
    assert hu[form.depth_mm > 16].mean() == pytest.approx(20, abs=4)
    assert hu[(form.depth_mm > 0) & (form.depth_mm < 2)].mean() == pytest.approx(60, abs=4)


@pytest.mark.parametrize("part", [{"calcified": 0.04}, {"lipiodol": 0.3}])
def test_dense_parts_are_spots(part: dict[str, float]) -> None:
    hu, form = drawn(replace(PLAIN, dense_hu=600.0, **part))
    inside = hu[form.depth_mm > 0]
    (share,) = part.values()
    dense = float((inside > 160).mean())
    assert 0.2 * share < dense < 2.5 * share
    assert np.median(inside) < 160


def below_fat(depth: int = 20) -> LesionCanvas:
    """Return an organ below fat."""
    image = np.full((depth, 40, 40), 100, np.int16)
    image[depth // 2 :] = -100
    labels = np.zeros(image.shape, np.uint8)
    labels[: depth // 2] = 1
    return LesionCanvas(image, labels, np.zeros(image.shape, np.uint16), (3.0, 1.5, 1.5))


def test_fat_mixes_into_the_organ() -> None:
    one = below_fat()
    before, labels = one.image.copy(), one.labels.copy()
    size = paint_dome(one, (9, 20, 20), np.random.default_rng(0))
    assert size is not None and 14 <= size <= 40
    assert -60 < one.image[9, 20, 20] < 70
    np.testing.assert_array_equal(one.image[:, 0, 0], before[:, 0, 0])
    np.testing.assert_array_equal(one.labels, labels)


def test_one_slice_cannot_mix() -> None:
    one = below_fat(1)
    before = one.image.copy()
    assert paint_dome(one, (0, 20, 20), np.random.default_rng(0)) is None
    np.testing.assert_array_equal(one.image, before)
