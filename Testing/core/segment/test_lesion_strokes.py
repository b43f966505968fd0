from __future__ import annotations

import numpy as np
import pytest

from flare_core.anatomy.organs import LESION
from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.lesion_strokes import with_lesions, without_marked

GRID = Geometry((24, 60, 60), (3.0, 1.5, 1.5))
LIVER, KIDNEY = 1, 2
LIVER_HU, LESION_HU, FAT_HU = 110, 70, -90


def ball(centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    axes = [np.arange(n) * s for n, s in zip(GRID.shape, GRID.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= radius_mm**2


TUMOUR = ball((36, 45, 45), 10.5)
ORGANS = np.where(ball((36, 45, 45), 30), LIVER, 0).astype(np.uint8)
ORGANS[:, 55:] = KIDNEY
NOTHING = np.zeros(GRID.shape, bool)


@pytest.fixture(scope="module")
def scan() -> Volume:
    hu = np.where(ORGANS == 0, FAT_HU, np.where(TUMOUR, LESION_HU, LIVER_HU))
    noise = np.random.default_rng(0).normal(0, 12, GRID.shape)
    return Volume((hu + noise).astype(np.int16), GRID)


def across(z: int, y: int, x: int, half: int = 6) -> np.ndarray:
    marked = NOTHING.copy()
    marked[z, y - 1 : y + 2, x - half : x + half + 1] = True
    return marked


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_one_line_across_a_missed_lesion_draws_it_in_3d(scan) -> None:
    stroke = across(12, 30, 30)
    labels = with_lesions(scan, ORGANS, stroke, NOTHING)
    found = labels == LESION.id
    assert dsc(found, TUMOUR) > 0.85 and dsc(stroke, TUMOUR) < 0.2
    assert (labels[~found] == ORGANS[~found]).all()
    assert (found.any(axis=(1, 2))).sum() >= 5, "slices that nobody drew in"


@pytest.mark.parametrize("turned", [False, True])
def test_one_as_bright_as_its_organ_ends_where_its_stroke_ends(scan, turned) -> None:
    """Nothing but the stroke says where it ends; it came out half as long again."""
    plain = Volume(np.where(ORGANS == LIVER, LIVER_HU, scan.array).astype(np.int16), GRID)
    stroke = across(12, 30, 30)
    if turned:  # aslant
        rows = np.arange(-5, 6)
        stroke = NOTHING.copy()
        stroke[12, 30 + rows, 30 + rows] = stroke[12, 30 + rows, 31 + rows] = True
    found = with_lesions(plain, ORGANS, stroke, NOTHING) == LESION.id
    way = np.array([1.0, 1.0]) / 2**0.5 if turned else np.array([0.0, 1.0])
    along = [np.ptp(np.argwhere(mask)[:, 1:] * 1.5 @ way) for mask in (stroke, found)]
    assert found.sum() > 5 * stroke.sum() and along[1] <= 1.1 * along[0] + 1.5


def test_a_stroke_of_one_voxel_is_one(scan) -> None:
    labels = with_lesions(scan, ORGANS, across(12, 30, 30, 0), NOTHING)
    assert 0 < (labels == LESION.id).sum() < TUMOUR.sum() / 4


def test_a_lesion_stays_in_its_organ(scan) -> None:
    border = Volume(np.where(ORGANS == KIDNEY, LESION_HU, scan.array).astype(np.int16), GRID)
    labels = with_lesions(border, ORGANS, across(12, 52, 30), NOTHING)
    assert (labels[ORGANS == KIDNEY] == KIDNEY).all() and (labels == LESION.id).any()


def test_a_false_lesion_goes_whole_and_its_organ_is_there_again(scan) -> None:
    before = ORGANS.copy()
    false, true = ball((36, 45, 65), 6), ball((36, 45, 35), 6)
    before[false | true] = LESION.id
    labels = with_lesions(scan, before, NOTHING, across(12, 30, 43, 1))
    assert (labels[false] == LIVER).all() and (labels[true] == LESION.id).all()


def test_a_piece_with_both_kinds_of_strokes_stays_but_for_what_was_marked() -> None:
    piece = across(12, 30, 30, 10)
    outside = across(12, 30, 38, 1)
    assert (without_marked(piece, across(12, 30, 24, 1), outside) == piece).all()
    assert not without_marked(piece, NOTHING, outside).any()


def test_strokes_are_obeyed_to_the_voxel(scan) -> None:
    yes, no = across(12, 30, 30), across(14, 30, 30, 3)
    labels = with_lesions(scan, ORGANS, yes, no)
    assert (labels[yes] == LESION.id).all() and not (labels[no] == LESION.id).any()


def test_without_strokes_it_says_so(scan) -> None:
    with pytest.raises(InputError, match="no voxel is marked"):
        with_lesions(scan, ORGANS, NOTHING, NOTHING)


def test_voxels_without_a_number_near_a_stroke_are_refused(scan) -> None:
    holed = scan.array.astype(np.float32)
    holed[12, 30, 30] = np.nan
    with pytest.raises(InputError, match="1 NaN"):
        with_lesions(scan.with_array(holed), ORGANS, across(12, 30, 30), NOTHING)
