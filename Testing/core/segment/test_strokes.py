from __future__ import annotations

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.strokes import correct_by_strokes

GRID = Geometry((30, 60, 60), (4.0, 2.0, 2.0))
ORGAN_HU, FAT_HU = 110.0, -90.0


def ball(centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    axes = [np.arange(n) * s for n, s in zip(GRID.shape, GRID.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= radius_mm**2


ORGAN = ball((60, 50, 60), 26)
OTHER = ball((60, 105, 60), 12)


@pytest.fixture(scope="module")
def scan() -> Volume:
    noise = np.random.default_rng(0).normal(0, 12, GRID.shape)
    return Volume((np.where(ORGAN | OTHER, ORGAN_HU, FAT_HU) + noise).astype(np.int16), GRID)


def stroke(*voxels: tuple[int, int, int]) -> np.ndarray:
    marked = np.zeros(GRID.shape, bool)
    for z, y, x in voxels:
        marked[z, y - 1 : y + 2, x - 4 : x + 5] = True
    return marked


NOTHING = np.zeros(GRID.shape, bool)


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_missing_half_comes_back_from_one_stroke_in_one_slice(scan) -> None:
    half = ORGAN.copy()
    half[:, :25] = False
    result = correct_by_strokes(scan, half, stroke((15, 18, 30)), NOTHING)
    assert dsc(half, ORGAN) < 0.75 and dsc(result.mask, ORGAN) > 0.85
    assert result.added == (result.mask & ~half).sum() and not result.removed


def test_what_was_called_organ_and_is_not_goes_with_one_stroke(scan) -> None:
    both = ORGAN | OTHER
    result = correct_by_strokes(scan, both, NOTHING, stroke((15, 52, 30)))
    assert dsc(result.mask, ORGAN) > 0.975
    assert not (result.mask & OTHER).any()


def test_voxels_far_from_the_strokes_stay(scan) -> None:
    far = ORGAN.copy()
    far[2, 2:4, 2:4] = True  # wrong, but nobody said so
    result = correct_by_strokes(scan, far, stroke((15, 25, 30)), NOTHING)
    assert result.mask[2, 2:4, 2:4].all()
    outside = np.ones(GRID.shape, bool)
    outside[result.box.slices] = False
    assert (result.mask == far)[outside].all()


def test_a_stroke_that_says_what_is_known_changes_next_to_nothing(scan) -> None:
    result = correct_by_strokes(scan, ORGAN, stroke((15, 25, 30)), NOTHING)
    assert dsc(result.mask, ORGAN) > 0.99


def test_strokes_themselves_are_obeyed_to_the_voxel(scan) -> None:
    yes, no = stroke((15, 2, 30)), stroke((15, 25, 30))  # fat belongs, the middle does not
    result = correct_by_strokes(scan, ORGAN, yes, no)
    assert result.mask[yes].all() and not result.mask[no].any()


def test_protected_voxels_stay_even_under_a_stroke(scan) -> None:
    half = ORGAN.copy()
    half[:, :25] = False
    protected = np.zeros(GRID.shape, bool)
    protected[:, :18] = True
    result = correct_by_strokes(scan, half, stroke((15, 20, 30)), NOTHING, protected=protected)
    assert not result.mask[protected & ~half].any() and result.added > 0
    with pytest.raises(InputError, match="only protected"):
        correct_by_strokes(
            scan, half, stroke((15, 10, 30)), NOTHING, protected=np.ones(GRID.shape, bool)
        )


def test_a_networks_doubt_brings_back_more_than_its_certainty(scan) -> None:
    half = ORGAN.copy()
    half[:, :25] = False
    coarse = GRID.with_spacing((4.0, 4.0, 4.0))
    from flare_core.imaging.resample import resample_intensity

    filled = resample_intensity(Volume(ORGAN.astype(np.float32), GRID), coarse, clip_hu=(0, 1))
    doubt = filled.with_array(np.asarray(0.45 * filled.array))  # just below one half, all over
    sure = filled.with_array(np.asarray(0.02 * filled.array))
    gain = [
        (correct_by_strokes(scan, half, stroke((15, 22, 30)), NOTHING, probability=p).mask & ORGAN)
        for p in (sure, doubt)
    ]
    assert gain[1].sum() > gain[0].sum()


def test_other_organs_give_way_less_readily_than_what_is_none(scan) -> None:
    half = ORGAN.copy()
    half[:, :25] = False
    other = ORGAN & ~half
    free, taken = (
        correct_by_strokes(scan, half, stroke((15, 18, 30)), NOTHING, others=others).added
        for others in (None, other)
    )
    assert free > taken > 0


def test_what_cannot_be_used_is_said(scan) -> None:
    with pytest.raises(InputError, match="no voxel is marked"):
        correct_by_strokes(scan, ORGAN, NOTHING, NOTHING)
    with pytest.raises(InputError, match="belongs"):
        correct_by_strokes(scan, ORGAN, NOTHING[:5], NOTHING)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_without_a_number_near_a_stroke_are_refused(scan, value) -> None:
    """The shortest paths over them ended in damaged memory, and with it the whole process."""
    holed = scan.array.astype(np.float32)
    holed[15, 30:34, 30:34] = value
    with pytest.raises(InputError, match="replace them with -1024"):
        correct_by_strokes(scan.with_array(holed), ORGAN, stroke((15, 25, 30)), NOTHING)


def test_the_callers_arrays_are_not_changed(scan) -> None:
    before = ORGAN.copy()
    correct_by_strokes(scan, ORGAN, stroke((15, 25, 30)), stroke((15, 2, 30)))
    assert (before == ORGAN).all()


@pytest.mark.parametrize("ignored", ["protected", "outside"])
def test_strokes_that_are_ignored_do_not_make_the_organ_larger(scan, ignored: str) -> None:
    """Its size says how far a stroke reaches and how fine the solution is."""
    half = ORGAN & (np.arange(GRID.shape[1]) >= 25)[:, None]
    given, alone = stroke((15, 18, 30)), NOTHING
    over = np.zeros(GRID.shape, bool)
    over[12:19, 46:60, :56] = True  # more voxels than the organ has
    marked, where = given | over, {}
    if ignored == "protected":
        where = {"protected": over}
    else:
        alone = over
    plain = correct_by_strokes(scan, half, given, alone, **where)
    result = correct_by_strokes(scan, half, marked, alone, **where)
    assert result.box == plain.box and (result.mask == plain.mask).all()
