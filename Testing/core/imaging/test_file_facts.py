"""A scan that changed on disk has other facts, however many files it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flare_core.imaging.file_facts import file_facts


def test_a_file_has_its_own_facts_alone(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.txt", "a.raw"):
        (tmp_path / name).write_bytes(b"123")
        os.utime(tmp_path / name, ns=(7, 7))
    assert file_facts(tmp_path / "a.nii.gz") == [str((tmp_path / "a.nii.gz").resolve()), 3, 7]


@pytest.mark.parametrize(
    ("scan", "voxels", "other"),
    [("a.mhd", "a.zraw", "b.zraw"), ("a.nhdr", "a.raw.gz", "ab.raw.gz"), (".", "1/2.dcm", "")],
)
def test_voxels_that_lie_in_other_files_count(
    tmp_path: Path, scan: str, voxels: str, other: str
) -> None:
    folder = tmp_path / "scan"
    (folder / "1").mkdir(parents=True)
    for name in {scan, voxels, other} - {".", ""}:
        (folder / name).write_bytes(b"123")
    before = file_facts(folder / scan)
    if other:
        (folder / other).write_bytes(b"12345")
    assert file_facts(folder / scan) == before
    os.utime(folder / voxels, ns=(7, 7))
    assert file_facts(folder / scan) != before


def test_no_file_has_no_facts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_facts(tmp_path / "a.nii.gz")
