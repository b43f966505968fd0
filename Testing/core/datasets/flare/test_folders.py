from __future__ import annotations

import pytest

from flare_core.datasets.flare.folders import (
    count_findings,
    expected_numbers,
    files_of,
    label_files,
    listed,
    matching,
)


def touch(root, *places):
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("folder", "count"),
    [
        ("DeepLesion-1093", 1093),
        ("COVID-19-209", 209),
        ("KiTS23-488", 488),
        ("FLARE22_LabeledCase50", 50),
        ("FLARE22_UnlabeledCase1-1000", 1000),
        ("FLARE22_UnlabeledCase1001-2000", 1000),
        ("AMOS-image-Part2-800", 800),
        ("unlabeledTr1800", 1800),
        ("COVID-19", None),
        ("KiTS23", None),
        ("Testing", None),
        ("lesion-images", None),
    ],
)
def test_how_many_scans_a_folder_promises(folder, count):
    promised = expected_numbers(folder)
    assert (None if promised is None else len(promised)) == count


def test_names_that_are_no_series_are_only_counted():
    (finding,) = count_findings("LIDC-3", ["LIDC-IDRI-0007", "LIDC-IDRI-1010"])
    assert finding.what == "2 of 3 scans are there"
    assert finding.wrong


def test_more_scans_than_promised():
    (finding,) = count_findings("LIDC-1", ["a", "b"])
    assert finding.kind == "doubled"


def test_paths_ignore_case_but_not_meaning(tmp_path):
    touch(tmp_path, "training/FLARE22_UnlabeledCase1-2/a.nii.gz")
    touch(tmp_path, "training/flare22_labeledcase50/images/b.nii.gz")
    found = matching(tmp_path, r"Training/(FLARE\d*_?)?LabeledCase\d*/images")
    assert [p.parent.name for p in found] == ["flare22_labeledcase50"]


def test_files_come_from_the_first_level_that_has_some(tmp_path):
    touch(tmp_path, "a/part1/x.nii.gz", "a/part2/y.nii", "a/.z.nii.gz", "a/readme.txt")
    assert [p.name for p in files_of(tmp_path / "a")] == ["x.nii.gz", "y.nii"]
    touch(tmp_path, "a/w.nii.gz")
    assert [p.name for p in files_of(tmp_path / "a")] == ["w.nii.gz"]


def test_corrected_labels_win_over_first_ones(tmp_path):
    touch(tmp_path, "labels/x.nii.gz", "labels/20230507-fix/x.nii.gz", "labels/other/x.nii.gz")
    assert label_files(tmp_path / "labels")["x"].parent.name == "20230507-fix"


def test_long_lists_end_with_a_number():
    assert listed(str(n) for n in range(2000)).endswith("7 and 1992 more")
