"""Painting: room, whole pieces, surfaces that stay, other lesions that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from core.datasets.lesions.made_organs import SPACING, made_scan
from flare_core.datasets.lesions.look import Host, Look
from flare_core.datasets.lesions.paint import Canvas, paint

HOST = Host("liver", 1, 105.0, 8.0, "portal")
LOOK = Look("metastasis", 24.0, 50.0, (1.0, 1.0, 1.0), 0.6, 0.8, 3.0)


def canvas() -> Canvas:
    """Return the one-liver scan."""
    image, labels = made_scan()
    return Canvas(image, labels, np.zeros(image.shape, np.uint16), SPACING)


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
    look = replace(LOOK, bulging=True, shallow=True)
    done = paint(one, look, HOST, (20, 36, 36 - 27), np.random.default_rng(0))
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
    look = replace(LOOK, push=0.6)
    done = paint(one, look, HOST, (20, 38, 38), np.random.default_rng(0))
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
        look = replace(LOOK, push=0.7, axes=(1.0, 1.0, 1.0))
        done = paint(one, look, HOST, (20, 42, 36), np.random.default_rng(0))
        assert done is not None
        ring = ndimage.binary_dilation(done.mask, iterations=4)
        ring &= ~ndimage.binary_dilation(done.mask, iterations=2)
        change = np.abs(one.image.astype(float) - before)[done.window.slices][ring]
        moved.append(float(np.median(change)))
    assert moved[1] < moved[0]
