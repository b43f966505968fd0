"""A path's cases: names, batches, what is skipped, what is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from dicom_files import Series, write_series
from flare_core.errors import InputError
from flare_core.imaging.files import read_geometry, read_labels, read_volume, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.inputs import case_name, check_file, existing, find_inputs, passed_over
from flare_core.imaging.volume import Volume

STACK = np.zeros((3, 4, 4), np.uint16)


def touch(folder: Path, *names: str) -> None:
    """Make files that are there; nobody reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def names(path: Path) -> list[str]:
    return [case.name for case in find_inputs(path)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0001"),
        ("case_0001.nii", "case_0001"),
        ("CT.Abdomen.NRRD", "CT.Abdomen"),
        ("x_0000.mhd", "x"),
        ("1.2.840.10008", "1.2.840.10008"),
        ("_0000.nii.gz", "_0000"),
    ],
)
def test_case_name(path: str, name: str) -> None:
    assert case_name(path) == name


def test_name_of_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert case_name(".") == tmp_path.name


def test_a_file_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz")
    (case,) = find_inputs(tmp_path / "a_0000.nii.gz")
    assert (case.name, case.path, case.series) == ("a", tmp_path / "a_0000.nii.gz", None)


def test_a_batch_is_sorted_and_skips_what_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "b.mha", "a_0000.nii.gz", "c.mhd", "c.raw", "notes.txt", "a.png", ".hidden.nii")
    touch(tmp_path, "d.nhdr", "d.raw.gz", "e.nrrd")
    touch(tmp_path / "not_dicom", "readme.md", "IM0001")
    assert names(tmp_path) == ["a", "b", "c", "d", "e"]


def test_our_own_results_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a.nii.gz", "a_statistics.json", "a_statistics.csv", "a.png")
    touch(tmp_path, "b.nii.gz", "b_statistics.csv", "c.nii.gz")
    assert [c.path.name for c in find_inputs(tmp_path)] == ["a_0000.nii.gz", "c.nii.gz"]


def test_the_truth_of_a_phantom_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_truth.nii.gz", "a_truth.json", "b_truth.nii.gz")
    assert [c.path.name for c in find_inputs(tmp_path)] == ["a_0000.nii.gz", "b_truth.nii.gz"]


def test_sub_folders_with_images_are_passed_over_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz")
    touch(tmp_path / "more", "b.nii.gz")
    touch(tmp_path / "masks", "a.nrrd")
    touch(tmp_path / "ours", "a.nii.gz", "a_statistics.json")
    touch(tmp_path / ".hidden", "c.nii.gz")
    touch(tmp_path / "words", "readme.md")
    assert names(tmp_path) == ["a"]
    assert [p.name for p in passed_over(tmp_path)] == ["masks", "more"]
    assert passed_over(tmp_path / "a.nii.gz") == []


def test_folders_that_are_cases_are_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing takes a while on a network share."""
    for folder in ("case", "masks"):
        touch(tmp_path / folder, "b.nii.gz")
    listed: list[str] = []
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda p: listed.append(p.name) or real(p))
    found = passed_over(tmp_path, {tmp_path / "case"})
    assert [p.name for p in found] == ["masks"]
    assert listed == [tmp_path.name, "masks"]


@pytest.mark.parametrize("second", ["a_0000.nii.gz", "a.mha", "A.nii.gz"])
def test_two_inputs_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    touch(tmp_path, "a.nii", second)
    with pytest.raises(InputError, match="both be called") as caught:
        find_inputs(tmp_path)
    assert second in caught.value.parts[1]
    assert "a.nii" in caught.value.parts[1]


def test_nothing_to_segment_points_to_the_sub_folder(tmp_path: Path) -> None:
    touch(tmp_path, "readme.md")
    with pytest.raises(InputError, match="without images"):
        find_inputs(tmp_path)
    touch(tmp_path / "imagesTr", "a_0000.nii.gz")
    with pytest.raises(InputError, match="give .*imagesTr"):
        find_inputs(tmp_path)


def test_a_dicom_folder_is_one_case(tmp_path: Path) -> None:
    write_series(tmp_path / "patient7", STACK)
    (case,) = find_inputs(tmp_path / "patient7")
    assert (case.name, case.path) == ("patient7", tmp_path / "patient7")


def test_nested_dicom_takes_the_name_of_its_top(tmp_path: Path) -> None:
    write_series(tmp_path / "patient7" / "study" / "series", STACK)
    (case,) = find_inputs(tmp_path / "patient7")
    assert case.name == "patient7"


def test_series_of_one_study_are_one_case(tmp_path: Path) -> None:
    write_series(tmp_path / "patient7" / "arterial", STACK, Series(number=1))
    write_series(tmp_path / "patient7" / "portal", STACK, Series(number=2))
    assert names(tmp_path / "patient7") == ["patient7"]


def test_a_folder_of_dicom_folders_and_files_is_a_batch(tmp_path: Path) -> None:
    write_series(tmp_path / "p2" / "deep" / "deeper", STACK, Series(study=2))
    write_series(tmp_path / "p1", STACK, Series(study=1))
    write_series(tmp_path / ".trash", STACK, Series(study=3))
    touch(tmp_path, "p0.nii.gz")
    found = find_inputs(tmp_path)
    assert [(c.name, c.path.name) for c in found] == [
        ("p0", "p0.nii.gz"),
        ("p1", "p1"),
        ("p2", "p2"),
    ]


def test_patients_below_a_lone_folder_are_a_batch(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path / "export" / f"p{number}", STACK, Series(study=number))
    assert names(tmp_path) == ["p1", "p2"]


def test_a_named_series_makes_the_folder_one_case(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path / f"p{number}", STACK, Series(study=number))
    (case,) = find_inputs(tmp_path, series="2")
    assert (case.path, case.series) == (tmp_path, "2")


def test_absent_path_suggests_neighbours(tmp_path: Path) -> None:
    touch(tmp_path, "liver_case_12.nii.gz", "other.txt")
    with pytest.raises(InputError) as caught:
        existing(tmp_path / "liver_case_21.nii.gz")
    assert "liver_case_12.nii.gz" in caught.value.parts[3]
    with pytest.raises(InputError, match="does not exist either"):
        existing(tmp_path / "nowhere" / "x.nii")


@pytest.mark.parametrize("name", ["a.png", "a.txt", "a", "a.dcm", "a.img"])
def test_unknown_kind_of_file(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(InputError, match="unknown kind") as caught:
        check_file(tmp_path / name)
    assert ".nii.gz" in caught.value.parts[2]


def test_a_lone_dicom_file_is_sent_to_its_folder(tmp_path: Path) -> None:
    path = write_series(tmp_path / "series", STACK)[0]
    with pytest.raises(InputError, match="single DICOM file") as caught:
        check_file(path)
    assert str(tmp_path / "series") in caught.value.parts[3]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    (tmp_path / "a.nii").chmod(0)
    with pytest.raises(InputError, match="cannot be opened"):
        check_file(tmp_path / "a.nii")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="cannot be opened"):
        find_inputs(tmp_path / "closed")
    with pytest.raises(InputError, match="cannot be opened"):
        existing(tmp_path / "closed" / "a.nii")


def test_absent_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_inputs(tmp_path / "a.nii")


def test_any_failure_to_open_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.nii")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(InputError, match="cannot be opened: Permission denied"):
        check_file(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_pipes_sockets_and_devices_are_refused_unopened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "device.nii").symlink_to("/dev/zero")
    for path, word in ((tmp_path / name, "a pipe"), (tmp_path / "device.nii", "a device")):
        for read in (read_volume, read_labels, read_geometry, find_inputs):
            with pytest.raises(InputError, match=word):
                read(path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s.nii"))
        with pytest.raises(InputError, match="a socket"):
            read_volume(tmp_path / "s.nii")


@pytest.mark.parametrize("name", ["a\0b.nii", "a\udcff.nii.gz", "\ud800.nrrd", "\udce4.mha"])
def test_names_that_are_no_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "\0" not in name and "\ud800" not in name:
        path.write_bytes(b"x" * 400)
    volume = Volume(np.zeros((2, 3, 4), np.int16), Geometry((2, 3, 4), (1.0, 1.0, 1.0)))
    for use in (read_volume, find_inputs, lambda p: write_volume(p, volume)):
        with pytest.raises(InputError, match="UTF-8 text") as caught:
            use(path)
        str(caught.value).encode("utf-8")
        assert "\0" not in str(caught.value)


@pytest.mark.parametrize("kind", ["loop", "too long"])
def test_paths_that_lead_nowhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.nii" if kind == "loop" else "a" * 5000 + ".nii")
    if kind == "loop":
        path.symlink_to(path)
    with pytest.raises(InputError):
        read_volume(path)


@pytest.mark.skipif(os.name == "nt", reason="pipes and links of Unix")
def test_a_link_to_nowhere_and_a_pipe_are_cases_that_fail_by_name(tmp_path: Path) -> None:
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    os.mkfifo(tmp_path / "pipe.nrrd")
    (tmp_path / "folder.nii.gz").mkdir()
    found = find_inputs(tmp_path)
    assert [case.name for case in found] == ["gone", "pipe"]
    for case in found:
        with pytest.raises(InputError, match=case.path.name):
            read_volume(case.path)
