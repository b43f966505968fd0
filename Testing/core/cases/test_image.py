"""One image is one case, whatever its file's type or name."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from core.cases.small_cases import GRID, scan
from flare_core.cases.image import voxels_of
from flare_core.cases.store import CaseStore, open_store
from flare_core.errors import InputError
from flare_core.imaging.files import read_volume, write_volume


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return open_store(tmp_path / "store", create=True)


def as_type(source: Path, target: Path, kind: int) -> Path:
    """Write a file anew with another type of voxels, as another program would."""
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(source)), kind), str(target))
    return target


@pytest.mark.parametrize(
    ("name", "kind"),
    [("b.nii", sitk.sitkInt32), ("b.nrrd", sitk.sitkFloat32), ("b.mha", sitk.sitkFloat64)],
)
def test_a_copy_of_another_type_is_the_same_image(
    store: CaseStore, tmp_path: Path, name: str, kind: int
):
    first = store.add_case(scan(tmp_path / "a.nii.gz"), patient="P1")
    copy = as_type(first.image, tmp_path / name, kind)
    with pytest.raises(InputError, match="same as that of case a"):
        store.add_case(copy, patient="P2")
    assert store.case_of_image(copy) == first
    assert store.put_case(copy, name="a") == (first, False)
    assert [case.name for case in store.cases()] == ["a"]


def test_axes_in_another_order_are_the_same_image(store: CaseStore, tmp_path: Path):
    first = store.add_case(scan(tmp_path / "a.nii.gz"))
    flipped = sitk.DICOMOrient(sitk.ReadImage(str(first.image)), "SRA")
    sitk.WriteImage(flipped, str(tmp_path / "b.nrrd"))
    assert store.case_of_image(tmp_path / "b.nrrd") == first


def test_other_voxels_or_spacing_are_another_image(store: CaseStore, tmp_path: Path):
    volume = read_volume(store.add_case(scan(tmp_path / "a.nii.gz")).image)
    other = volume.array.copy()
    other[0, 0, 0] += 1
    write_volume(tmp_path / "b.nii.gz", volume.with_array(other))
    wide = replace(volume, geometry=replace(GRID, spacing_mm=(5.0, 2.0, 1.1)))
    write_volume(tmp_path / "c.nii.gz", wide)
    for name in "bc":
        assert store.case_of_image(tmp_path / f"{name}.nii.gz") is None
        store.add_case(tmp_path / f"{name}.nii.gz")


def test_whole_and_broken_numbers_have_one_name_each(tmp_path: Path):
    volume = read_volume(scan(tmp_path / "a.nii.gz"))
    names = set()
    for number, shift in enumerate((0.5, -0.0)):
        path = tmp_path / f"{number}.nii.gz"
        write_volume(path, volume.with_array(volume.array.astype(np.float32) + np.float32(shift)))
        names.add(voxels_of(path))
    assert len(names) == 2 and voxels_of(tmp_path / "a.nii.gz") in names


def older(folder: Path) -> None:
    """Make a store what the version before wrote: without voxels and absent organs."""
    for path in folder.glob("cases/*/case.json"):
        text = path.read_text()
        path.chmod(0o644)
        path.write_text(",\n".join(x for x in text.split(",\n") if "voxels" not in x) + "\n}\n")
    db = sqlite3.connect(folder / "catalogue.sqlite", isolation_level=None)
    db.execute("DROP INDEX cases_voxels")
    for name in ("voxels", "absent"):
        db.execute(f"ALTER TABLE cases DROP COLUMN {name}")
    db.execute("PRAGMA user_version = 1")
    db.close()


def test_an_image_of_an_older_store_is_known(tmp_path: Path):
    with open_store(tmp_path / "store", create=True) as store:
        image = store.add_case(scan(tmp_path / "a.nii.gz")).image
        store.add_case(scan(tmp_path / "gone.nii.gz", 5), link=True)
    (tmp_path / "gone.nii.gz").unlink()
    older(tmp_path / "store")
    copy = as_type(image, tmp_path / "b.nrrd", sitk.sitkInt32)
    with open_store(tmp_path / "store") as store, pytest.raises(InputError, match="of case a"):
        store.add_case(copy)
    with open_store(tmp_path / "store") as store:
        assert store.add_case(scan(tmp_path / "c.nii.gz", 3)).name == "c"
        (problem,) = store.verify()
        assert problem.case == "gone"


def test_a_scan_that_cannot_be_read_whole_is_refused(store: CaseStore, tmp_path: Path):
    path = scan(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError):
        store.add_case(path)
    assert store.cases() == () and list((store.folder / "pending").iterdir()) == []
