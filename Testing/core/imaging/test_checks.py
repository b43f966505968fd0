"""A CT in HU passes with notes; everything else is refused with four parts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging import checks
from flare_core.imaging.geometry import CANONICAL, Geometry
from flare_core.imaging.volume import Volume

SHAPE = (20, 32, 40)


def body(dtype: type = np.int16) -> np.ndarray:
    """A block of tissue with noise and some bone in air, HU."""
    array = np.full(SHAPE, -1000.0)
    array[4:16, 6:26, 6:34] = np.random.default_rng(0).normal(40, 20, (12, 20, 28))
    array[8:10, 20:24, 18:22] = 1100
    return array.astype(dtype)


def volume(array: np.ndarray, spacing=(5.0, 0.8, 0.7)) -> Volume:
    return Volume(array, Geometry(array.shape, spacing))


def refused(array: np.ndarray, spacing=(5.0, 0.8, 0.7)) -> InputError:
    """The error of `check_ct`; every part of it says something."""
    with pytest.raises(InputError) as caught:
        checks.check_ct(volume(array, spacing), argument="scan.nii.gz")
    assert caught.value.parts[0] == "scan.nii.gz"
    assert len(caught.value.parts) == 4
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_ct_passes_without_notes(dtype: type) -> None:
    assert checks.check_ct(volume(body(dtype))) == ()


@pytest.mark.parametrize("padding", [-2048, -3024])
def test_padding_is_a_note(padding: int) -> None:
    array = body()
    array[:, :4] = padding
    (note,) = checks.check_ct(volume(array))
    assert f"{padding} HU" in note
    assert "12.5%" in note


def test_clipped_values_and_thick_slices_are_notes() -> None:
    notes = checks.check_ct(volume(body().clip(-160, 240), (10.0, 0.8, 0.7)))
    assert [n.split()[0] for n in notes] == ["Values", "Slices"]
    assert "-160 to 240 HU" in notes[0]
    assert "10 mm" in notes[1]


def test_nan_and_infinite_voxels_are_counted() -> None:
    array = body(np.float32)
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = -np.inf
    error = refused(array)
    assert "3 NaN and 1 infinite voxels of 25600" in error.parts[1]
    assert "-1024" in error.parts[3]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full(SHAPE, -1000, np.int16), "constant image, -1000"),
        ((body() + 1024).clip(0), "below zero"),
        (((body().clip(-160, 240) + 160) * (255 / 400)).astype(np.uint8), "grey levels"),
        (np.arange(math.prod(SHAPE)).reshape(SHAPE) % 14, "label map"),
        (body(np.float32) / 1000, "normalised"),
        (body() - 2200, "as dense as tissue"),
        (np.where(np.arange(SHAPE[2]) == 5, 1e30, body()), "further than any CT's"),
        (np.where(np.arange(SHAPE[2]) == 5, np.int64(-(2**40)), body()), "further than any CT's"),
        (np.where(body() > -500, 3000, -1000).astype(np.int16), "0.00% of the voxels"),
    ],
)
def test_values_that_are_not_hu(array: np.ndarray, words: str) -> None:
    error = refused(array)
    assert words in error.parts[1]


def test_stored_plus_1024_is_told_what_to_do() -> None:
    assert "subtract 1024" in refused((body() + 1024).clip(0)).parts[3]
    assert "subtract 1024" in refused(body().astype(np.int32) + 1024).parts[3]


@pytest.mark.parametrize(
    "spacing",
    [(0.0, 0.8, 0.7), (5.0, -0.8, 0.7), (5.0, 0.8, 0.05), (25.0, 0.8, 0.7), (math.nan, 0.8, 0.7)],
)
def test_absurd_spacing(spacing: tuple[float, float, float]) -> None:
    error = refused(body(), spacing)
    assert "spacing" in error.parts[1]
    assert "0.1 to 20 mm" in error.parts[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"direction": ((0.0, 0.3, 0.95), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))}, "right angles"),
        ({"direction": ((0.0, 0.0, 2.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))}, "unit vectors"),
        ({"direction": ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))}, "unit vectors"),
        ({"direction": ((0.0, 0.0, math.nan), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))}, "unit vectors"),
        ({"origin_mm": (math.nan, 0.0, 0.0)}, "first voxel at nan"),
        ({"origin_mm": (1e9, 0.0, 0.0)}, "first voxel at 1e+09"),
    ],
)
def test_a_grid_made_by_hand_is_judged_as_a_files_is(change: dict, words: str) -> None:
    made = Volume(body(), replace(Geometry(SHAPE, (5.0, 0.8, 0.7)), **change))
    with pytest.raises(InputError, match=words.replace("+", "[+]")):
        checks.check_ct(made)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("size_mm", "words"),
    [
        ((20.0, 400.0, 400.0), "only 20 mm long: below 80 mm an"),
        ((300.0, 60.0, 60.0), "only 60 mm wide: below 160 mm an"),
        ((40.0, 400.0, 100.0), "only 40 mm long and 100 mm wide: below 80 mm and 160 mm an"),
        ((80.0, 160.0, 160.0), ""),
    ],
)
def test_a_scan_too_small_to_judge_gets_one_sentence(
    size_mm: tuple[float, float, float], words: str, turned: bool
) -> None:
    spacing = tuple(mm / n for mm, n in zip(size_mm, SHAPE, strict=True))
    grid = Geometry(SHAPE, spacing)
    if turned:  # the slices are the last axis
        grid = Geometry(SHAPE[::-1], spacing[::-1], direction=CANONICAL[::-1])
    told = checks.too_small(grid)
    assert words in told and bool(told) is bool(words)


def test_single_slice() -> None:
    assert "single slice" in refused(body()[:1]).parts[1]
    assert "single slice" in refused(body()[:, :1]).parts[1]


@pytest.mark.parametrize(
    ("size", "components", "words"),
    [
        ((512, 512), 1, "2D"),
        ((512, 512, 1), 1, "2D"),
        ((512, 512, 100, 7), 1, "7 volumes of 512 x 512 x 100"),
        ((512, 512, 100), 3, "3 numbers"),
    ],
)
def test_kinds_that_are_no_volume(size: tuple[int, ...], components: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checks.check_kind("x", size, components)


def test_a_whole_body_scan_is_legal_if_memory_allows() -> None:
    shape, spacing = (3000, 512, 512), (0.5, 0.8, 0.8)
    need = checks.memory_need_gib(shape)
    assert 4 < need < 8
    checks.check_grid("x", shape, spacing, free_gib=need + 0.1)
    with pytest.raises(InputError) as caught:
        checks.check_grid("x", shape, spacing, free_gib=3.0)
    assert f"{need:.1f} GiB" in caught.value.parts[1]
    assert "3.0 GiB" in caught.value.parts[2]


def test_longer_than_any_scanner_and_more_than_any_index() -> None:
    with pytest.raises(InputError, match="3000 mm long"):
        checks.check_grid("x", (3000, 512, 512), (1.0, 0.8, 0.8), free_gib=999.0)
    with pytest.raises(InputError, match="at most 2147483647 voxels"):
        checks.check_grid("x", (2000, 2000, 2000), (0.2, 0.2, 0.2), free_gib=999.0)


def test_free_memory_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": ["MemTotal: 8388608 kB", "MemAvailable:  4194304 kB"],
        "/sys/fs/cgroup/memory.max": [str(3 * 2**30)],
        "/sys/fs/cgroup/memory.stat": [f"anon {2**30}", "file 999999999"],
    }
    monkeypatch.setattr(checks, "_lines", lambda path: files.get(path, []))
    assert checks.free_memory_gib() == 2.0
    files["/sys/fs/cgroup/memory.max"] = ["max"]
    assert checks.free_memory_gib() == 4.0
    files.clear()
    whole = checks.free_memory_gib()  # macOS: the machine's memory; Windows: unknown
    assert whole is None or whole > 0.1


def test_unknown_memory_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "free_memory_gib", lambda: None)
    checks.check_grid("x", (3000, 512, 512), (0.5, 0.8, 0.8))


def test_right_angles_stay_bit_by_bit_and_slight_skew_is_straightened() -> None:
    turned = rotation(17.0)
    assert np.array_equal(checks.orthonormal("x", turned), turned)
    skewed = turned.copy()
    skewed[0] += 0.001 * turned[2]
    straight = np.asarray(checks.orthonormal("x", skewed))
    assert np.allclose(straight @ straight.T, np.eye(3), atol=1e-12)
    assert 1e-4 < np.abs(straight - turned).max() < 1e-3


def test_shear_is_refused_with_its_angle() -> None:
    sheared = np.asarray(CANONICAL) + 0.0
    sheared[0] = (0.0, math.sin(math.radians(8)), math.cos(math.radians(8)))
    with pytest.raises(InputError, match=r"sheared by 8\.00 degrees"):
        checks.orthonormal("x", sheared)
    for nonsense in (np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(InputError, match="right angles"):
            checks.orthonormal("x", nonsense)


def test_real_scans_pass(real_data: Path) -> None:
    from flare_core.imaging.files import read_volume

    for case, words in (("hcc009thick", "10 mm apart"), ("cptac189", "-3024")):
        notes = checks.check_ct(read_volume(real_data / "ct" / f"{case}.nii.gz"))
        assert any(words in note for note in notes)


def rotation(degrees: float) -> np.ndarray:
    """Directions of z, y, x turned about an oblique axis (Rodrigues)."""
    axis = np.array([1.0, 2.0, -0.5]) / np.linalg.norm([1.0, 2.0, -0.5])
    cross = np.cross(np.eye(3), axis)
    angle = math.radians(degrees)
    matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return np.asarray(CANONICAL) @ matrix


def test_wide_numbers_need_more() -> None:
    needs = [checks.memory_need_gib((1000, 512, 512), width) for width in (2, 4, 8)]
    assert needs == sorted(needs)
    assert needs[1] > needs[0]
    with pytest.raises(InputError, match="GiB"):
        checks.check_grid(
            "x", (1000, 512, 512), (1, 0.8, 0.8), free_gib=needs[0] + 0.1, bytes_per_voxel=8
        )
