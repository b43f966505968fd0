"""Scans at a network's voxel size: right places, right values, never stale."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from core.imaging.oblique_grids import ALL_AXIS_MAPS, oblique
from flare_core.datasets import cache
from flare_core.datasets.cache import load_sample
from flare_core.datasets.case import Case
from flare_core.errors import InputError
from flare_core.imaging.files import read_volume, write_labels, write_volume
from flare_core.imaging.geometry import AxisMap, Geometry
from flare_core.imaging.volume import Volume
from sample_arrays import sample_of_arrays

GRID = oblique((20, 40, 44), (5.0, 2.0, 2.5))
SPACING = (5.0, 4.0, 5.0)


def write_case(folder: Path, order: AxisMap = ALL_AXIS_MAPS[0], liver_hu: int = 100) -> Case:
    """A body of 0 HU in padded air, with a liver, stored in some axis order."""
    image = np.full(GRID.shape, -3024, np.int16)
    image[:, 8:36, 8:40] = 0
    labels = np.zeros(GRID.shape, np.uint8)
    labels[4:16, 12:24, 10:20] = 1
    image[labels == 1] = liver_hu
    place = GRID.permuted(order)
    case = Case("case", folder / "ct.nii.gz", folder / "labels.nii.gz")
    write_volume(case.image, Volume(order.apply(image).copy(), place))
    write_labels(case.labels or folder, Volume(order.apply(labels).copy(), place))
    return case


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were really read and resampled."""
    seen: list[str] = []
    prepare: Callable = cache._prepare

    def counted(case: Case, *grid: object, **more: object) -> object:
        seen.append(case.name)
        return prepare(case, *grid, **more)

    monkeypatch.setattr(cache, "_prepare", counted)
    return seen


@pytest.mark.parametrize("what", ["shifted", "nan"])
def test_a_scan_that_is_no_ct_in_hu_is_not_learnt(tmp_path: Path, what: str) -> None:
    case = write_case(tmp_path)
    noise = np.random.default_rng(0).normal(0, 12, GRID.shape)
    hu = read_volume(case.image).array + noise
    hu = np.where(hu < -2000, -1000 + noise, hu)
    hu[0, 8:12] = -100 + noise[0, 8:12]  # fat
    write_volume(case.image, Volume(np.rint(hu).astype(np.int16), GRID))
    load_sample(case, SPACING, tmp_path / "cache")
    spoilt = np.rint(hu + 1024) if what == "shifted" else np.where(hu < -900, np.nan, hu)
    write_volume(case.image, Volume(spoilt.astype(np.float32), GRID))
    with pytest.raises(InputError, match="HU") as caught:
        load_sample(case, SPACING, tmp_path / "cache")
    assert caught.value.parts[0] == str(case.image)
    if what == "shifted":
        assert "assume_hu" in caught.value.parts[3]
        load_sample(case, SPACING, tmp_path / "cache", assume_hu=True)
        with pytest.raises(InputError, match="HU"):  # not what the other run has cached
            load_sample(case, SPACING, tmp_path / "cache")


def test_a_sample_is_canonical_cut_and_resampled(tmp_path: Path) -> None:
    sample = load_sample(write_case(tmp_path), SPACING, tmp_path / "cache")
    assert sample.image.dtype == np.int16 and sample.labels.dtype == np.uint8
    assert sample.image.shape == sample.labels.shape
    assert sample.spacing_mm == pytest.approx(SPACING, rel=0.1)
    assert sample.image.shape[1] < 20 and sample.image.shape[0] == 20  # air above and below is cut
    assert sample.image[sample.labels == 1].mean() > 85
    assert np.median(sample.image[(sample.labels == 0) & (sample.image > -500)]) == 0
    millilitres = (sample.labels == 1).sum() * np.prod(sample.spacing_mm)
    assert millilitres == pytest.approx(12 * 12 * 10 * 25, rel=0.1)
    assert sample.image.min() >= -1024


@pytest.mark.parametrize("order", ALL_AXIS_MAPS[1::9])
def test_the_storage_order_does_not_matter(tmp_path: Path, order: AxisMap) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = load_sample(write_case(tmp_path / "a"), SPACING, tmp_path)
    b = load_sample(write_case(tmp_path / "b", order), SPACING, tmp_path)
    assert a.spacing_mm == pytest.approx(b.spacing_mm, rel=1e-4)
    assert np.abs(a.image.astype(int) - b.image).max() <= 1
    assert np.array_equal(a.labels, b.labels)


def test_the_second_time_nothing_is_prepared(tmp_path: Path, prepared: list[str]) -> None:
    case = write_case(tmp_path)
    first = load_sample(case, SPACING, tmp_path / "cache")
    second = load_sample(replace(case, weight=3.0), SPACING, tmp_path / "cache")
    assert prepared == ["case"]
    assert np.array_equal(first.image, second.image) and second.case.weight == 3.0
    assert np.array_equal(first.places[1], second.places[1])
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npz"]


def test_a_changed_file_is_prepared_anew(tmp_path: Path, prepared: list[str]) -> None:
    case = write_case(tmp_path)
    before = load_sample(case, SPACING, tmp_path / "cache")
    write_case(tmp_path, liver_hu=150)
    os.utime(case.image, ns=(1, 1))  # even with the same size, and whatever the clock's resolution
    after = load_sample(case, SPACING, tmp_path / "cache")
    assert before.image.max() < 110 < 140 < after.image.max()
    os.utime(case.labels or tmp_path, ns=(1, 1))
    load_sample(case, SPACING, tmp_path / "cache")
    load_sample(case, (5.0, 5.0, 5.0), tmp_path / "cache")
    load_sample(replace(case, labels=None), SPACING, tmp_path / "cache")
    assert len(prepared) == 5


def test_a_scan_whose_voxels_lie_beside_its_header_is_prepared_anew(
    tmp_path: Path, prepared: list[str]
) -> None:
    case = replace(write_case(tmp_path), image=tmp_path / "ct.mhd", labels=None)
    for hu in (100, 150):
        write_case(tmp_path, liver_hu=hu)
        sitk.WriteImage(sitk.ReadImage(str(tmp_path / "ct.nii.gz")), str(case.image))
        os.utime(case.image, ns=(1, 1))  # the header says the same
        os.utime(tmp_path / "ct.raw", ns=(hu, hu))
        assert abs(load_sample(case, SPACING, tmp_path / "cache").image.max() - hu) < 10
    assert len(prepared) == 2


def test_without_labels_all_is_background(tmp_path: Path) -> None:
    sample = load_sample(replace(write_case(tmp_path), labels=None), SPACING, tmp_path)
    assert not sample.labels.any() and sample.places == {}


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    shifted = Geometry(GRID.shape, GRID.spacing_mm, (0.0, 0.0, 0.0), GRID.direction)
    for other in (shifted, GRID.with_shape((20, 40, 43))):
        write_labels(case.labels or tmp_path, Volume(np.zeros(other.shape, np.uint8), other))
        with pytest.raises(InputError, match="grid of the scan"):
            load_sample(case, SPACING, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_an_image_in_place_of_labels_is_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    with pytest.raises(InputError, match="label"):
        load_sample(replace(case, labels=case.image), SPACING, tmp_path / "cache")


def test_names_with_slashes_stay_in_the_folder(tmp_path: Path) -> None:
    case = replace(write_case(tmp_path), name="../FLARE22/case 1")
    load_sample(case, SPACING, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name.startswith(".._FLARE22_case_1-")


@pytest.mark.parametrize("voxels", [1, 3999, 4001, 7999, 30000])
def test_places_are_voxels_of_the_organ_and_not_too_many(voxels: int) -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels.ravel()[100 : 100 + voxels] = 9
    sample = sample_of_arrays(Case("a", Path("a")), labels.astype(np.int16), labels, SPACING)
    places = sample.places[9]
    assert set(sample.places) == {9}
    assert min(voxels, 2000) <= len(places) <= cache.PLACES_PER_ORGAN
    assert np.all(labels[tuple(places.T)] == 9)
    assert len(np.unique(places, axis=0)) == len(places)
    flat = np.ravel_multi_index(tuple(places.astype(int).T), labels.shape) - 100
    assert flat.mean() == pytest.approx((voxels - 1) / 2, abs=0.01 * voxels + 1)  # all over it


def corrected(folder: Path, annotated: tuple[str, ...]) -> Case:
    """A case whose liver was one slice higher before a person corrected it; a spleen was added."""
    case = write_case(folder)
    now = np.zeros(GRID.shape, np.uint8)
    now[4:16, 12:24, 10:20] = 1
    now[4:8, 12:24, 30:36] = 3
    before = np.zeros(GRID.shape, np.uint8)
    before[5:17, 12:24, 10:20] = 1
    write_labels(case.labels or folder, Volume(now, GRID))
    write_labels(folder / "before.nii.gz", Volume(before, GRID))
    return replace(case, kind="corrected", before=folder / "before.nii.gz", annotated=annotated)


def test_where_a_person_edited_is_known(tmp_path: Path) -> None:
    sample = load_sample(corrected(tmp_path, ("liver", "spleen")), SPACING, tmp_path / "cache")
    assert sample.edited is not None and sample.edited.dtype == bool
    assert np.all(sample.edited[sample.labels == 3])
    liver = sample.edited & (sample.labels == 1)
    assert np.flatnonzero(liver.any(axis=(1, 2))).tolist() == [4]
    assert sample.edited[16].any() and not sample.edited[10][sample.labels[10] == 1].any()


def test_organs_that_the_correction_does_not_annotate_are_not_edited(tmp_path: Path) -> None:
    case = corrected(tmp_path, ("liver", "spleen"))
    load_sample(case, SPACING, tmp_path / "cache")
    sample = load_sample(replace(case, annotated=("liver",)), SPACING, tmp_path / "cache")
    assert sample.edited is not None and not sample.edited[sample.labels == 3].any()
    assert sample.edited.any()


def test_soft_labels_come_along(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    soft = np.full(GRID.shape, 255, np.int16)
    soft[4:16, 12:24, 10:20] = 256 * 3 + 180
    write_volume(tmp_path / "soft.nii.gz", Volume(soft, GRID))
    plain = load_sample(case, SPACING, tmp_path / "cache")
    sample = load_sample(replace(case, soft=tmp_path / "soft.nii.gz"), SPACING, tmp_path / "cache")
    assert plain.soft is None and plain.edited is None
    assert sample.soft is not None and sample.soft.dtype == np.int16
    assert np.all(sample.soft[sample.labels == 1] == 256 * 3 + 180)
    assert np.all(sample.soft[sample.labels == 0] == 255)


def test_volumes_are_those_of_the_labels(tmp_path: Path) -> None:
    sample = load_sample(write_case(tmp_path), SPACING, tmp_path / "cache")
    expected = (sample.labels == 1).sum() * np.prod(sample.spacing_mm) / 1000
    assert sample.volumes_ml == {1: pytest.approx(expected)}
    again = sample_of_arrays(sample.case, sample.image, sample.labels, sample.spacing_mm)
    assert again.volumes_ml == sample.volumes_ml
    assert {k: v.tolist() for k, v in again.places.items()} == {
        k: v.tolist() for k, v in sample.places.items()
    }


def test_a_whole_body_has_as_many_voxels_as_asked_for_whatever_its_size(
    tmp_path: Path, prepared: list[str]
) -> None:
    case = write_case(tmp_path)
    plain = load_sample(case, SPACING, tmp_path / "cache")
    whole = load_sample(case, SPACING, tmp_path / "cache", whole=(12, 16, 8))
    assert whole.image.shape == whole.labels.shape == (12, 16, 8)
    extents = [
        [n * mm for n, mm in zip(each.image.shape, each.spacing_mm, strict=True)]
        for each in (plain, whole)
    ]
    assert extents[0] == pytest.approx(extents[1])
    assert whole.volumes_ml[1] == pytest.approx(plain.volumes_ml[1], rel=0.25)
    load_sample(case, (9.0, 9.0, 9.0), tmp_path / "cache", whole=(12, 16, 8))
    assert prepared == ["case", "case"]  # the spacing does not count


def test_numbers_of_another_data_set_are_refused_not_learnt_as_background(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[4:16, 12:24, 10:20] = 15  # AMOS's prostate
    write_labels(case.labels or tmp_path, Volume(labels, GRID))
    for _ in range(2):  # the second time it comes from the cache
        with pytest.raises(InputError, match="label value 15"):
            load_sample(case, SPACING, tmp_path / "cache")
