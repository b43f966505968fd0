from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from core.evaluate.metrics.hand_pairs import (
    EMPTY,
    SPACING_MM,
    VOXEL_SURFACE_MM2,
    random_masks,
    voxels,
)
from flare_core.evaluate.metrics.surface import (
    CODES,
    WHOLE,
    areas_mm2,
    neighbour_codes,
    surface_distances,
)


def test_surface_of_one_voxel() -> None:
    found = surface_distances(voxels((2, 2, 3)), voxels((2, 2, 3)), SPACING_MM)
    assert len(found.prediction_mm2) == 8
    assert found.prediction_mm2 == pytest.approx(np.full(8, VOXEL_SURFACE_MM2 / 8))
    assert not found.prediction_mm.any() and not found.reference_mm.any()


@pytest.mark.parametrize("place", [(0, 0, 0), (4, 4, 8), (0, 2, 8)])
def test_the_edge_of_the_array_is_a_surface(place: tuple[int, int, int]) -> None:
    inside = surface_distances(voxels((2, 2, 3)), EMPTY, SPACING_MM)
    at_edge = surface_distances(voxels(place), EMPTY, SPACING_MM)
    assert at_edge.prediction_mm2.sum() == pytest.approx(inside.prediction_mm2.sum())
    full = surface_distances(np.ones((1, 1, 1), bool), np.ones((1, 1, 1), bool), SPACING_MM)
    assert full.reference_mm2.sum() == pytest.approx(VOXEL_SURFACE_MM2)


def test_distances_of_two_voxels() -> None:
    found = surface_distances(voxels((2, 2, 3)), voxels((2, 2, 5)), SPACING_MM)
    assert sorted(found.prediction_mm) == sorted(found.reference_mm) == [1.0] * 4 + [2.0] * 4
    along_z = surface_distances(voxels((0, 2, 3)), voxels((2, 2, 3)), SPACING_MM)
    assert sorted(along_z.prediction_mm) == [3.0] * 4 + [6.0] * 4


def test_nothing_on_the_other_side_is_infinitely_far() -> None:
    found = surface_distances(voxels((2, 2, 3)), EMPTY, SPACING_MM)
    assert np.isinf(found.prediction_mm).all() and found.reference_mm.shape == (0,)


def test_codes_count_x_first() -> None:
    """The corner after a voxel has it at offset (0, 0, 0) in x, y, z: the highest bit."""
    codes = neighbour_codes(voxels((2, 2, 3)))
    assert codes[3, 3, 4] == 0b10000000 and codes[2, 2, 3] == 0b00000001
    assert codes[3, 3, 3] == 0b00001000  # the voxel is at offset x = 1
    assert codes[3, 2, 4] == 0b00100000 and codes[2, 3, 4] == 0b01000000


def test_areas_by_hand() -> None:
    """A wall across x, y, z; two neighbours along z: a strip of 1 by sqrt(1/2) at 1 mm."""
    areas = areas_mm2((5.0, 3.0, 2.0))
    assert areas[0b11110000] == pytest.approx(15.0)
    assert areas[0b11001100] == pytest.approx(10.0)
    assert areas[0b10101010] == pytest.approx(6.0)
    assert areas_mm2((1.0, 1.0, 1.0))[0b11000000] == pytest.approx(np.sqrt(0.5))
    assert areas[0] == areas[WHOLE] == 0 and (areas[1:WHOLE] > 0).all() and len(areas) == CODES


def test_a_mask_and_its_complement_have_the_same_areas() -> None:
    areas = areas_mm2((2.5, 0.8, 1.3))
    assert areas == pytest.approx(areas[::-1])


def test_a_ball_has_about_its_area() -> None:
    """Marching cubes on a mask measures the steps too: up to a tenth too much, never less."""
    z, y, x = np.ogrid[-12:13, -24:25, -24:25]
    ball = (2.0 * z) ** 2 + y**2 + x**2 <= 20**2
    found = surface_distances(ball, ball, (2.0, 1.0, 1.0))
    assert 1.0 < found.reference_mm2.sum() / (4 * np.pi * 20**2) < 1.12


@pytest.mark.parametrize("seed", range(12))
def test_distances_are_those_of_a_distance_transform(seed: int) -> None:
    prediction, reference, spacing_mm = random_masks(seed)
    codes = [neighbour_codes(mask) for mask in (prediction, reference)]
    borders = [(code != 0) & (code != WHOLE) for code in codes]
    if not (borders[0].any() and borders[1].any()):
        pytest.skip("an empty mask")
    far = [ndimage.distance_transform_edt(~border, sampling=spacing_mm) for border in borders]
    found = surface_distances(prediction, reference, spacing_mm)
    assert found.prediction_mm == pytest.approx(far[1][borders[0]])
    assert found.reference_mm == pytest.approx(far[0][borders[1]])


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.5, 0.8, 1.3), (5.0, 0.7, 0.7)])
def test_areas_are_those_of_the_reference_implementation(
    spacing_mm: tuple[float, float, float],
) -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    wanted = tables.create_table_neighbour_code_to_surface_area(spacing_mm[::-1])
    assert areas_mm2(spacing_mm) == pytest.approx(wanted)
