"""Rim, core, calcium and oil lie where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core.datasets.lesions.look import Look
from flare_core.datasets.lesions.shape import Form, Window, draw_form, turned
from flare_core.datasets.lesions.texture import tissue_hu

LOOK = Look("metastasis", 40.0, 60.0, (1.0, 1.0, 1.0), 0.0, 0.8, 0.0)
WINDOW = Window.around((32, 32, 32), 30.0, (64, 64, 64), (1.0, 1.0, 1.0))


def drawn(look: Look) -> tuple[np.ndarray, Form]:
    """Return tissue and form."""
    random = np.random.default_rng(0)
    form = draw_form(look, WINDOW, turned(random), random)
    return tissue_hu(look, form, WINDOW, random), form


def test_plain_tissue_is_even() -> None:
    hu, _ = drawn(LOOK)
    np.testing.assert_allclose(hu, 60.0)


def test_mosaic_has_its_deviation_and_keeps_the_mean() -> None:
    hu, form = drawn(replace(LOOK, mosaic_hu=10.0))
    inside = hu[form.depth_mm > 0]
    assert inside.mean() == pytest.approx(60, abs=4)
    assert 6 < inside.std() < 14


def test_a_rim_is_bright_below_the_surface() -> None:
    hu, form = drawn(replace(LOOK, rim_hu=40.0, rim_mm=4.0))
    rim = hu[np.abs(form.depth_mm - 2) < 1].mean()
    assert rim > 75 and hu[form.depth_mm > 12].mean() == pytest.approx(60, abs=1)


def test_a_dead_core_lies_inside() -> None:
    hu, form = drawn(replace(LOOK, necrosis=0.4, necrosis_hu=20.0))
    assert hu[form.depth_mm > 16].mean() == pytest.approx(20, abs=4)
    assert hu[(form.depth_mm > 0) & (form.depth_mm < 2)].mean() == pytest.approx(60, abs=4)


@pytest.mark.parametrize("part", [{"calcified": 0.04}, {"lipiodol": 0.3}])
def test_dense_parts_are_spots(part: dict[str, float]) -> None:
    hu, form = drawn(replace(LOOK, dense_hu=600.0, **part))
    inside = hu[form.depth_mm > 0]
    (share,) = part.values()
    dense = float((inside > 160).mean())
    assert 0.2 * share < dense < 2.5 * share
    assert np.median(inside) < 160
