"""What lies beside the slices of a CT: told by SOP class and place, never by name or letters."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_files import CT, IMPLICIT, SECONDARY, Series, Tag, place, write_series, write_slice
from flare_core.errors import InputError
from flare_core.imaging.checks import check_ct
from flare_core.imaging.dicom.series import list_series
from flare_core.imaging.files import read_volume
from flare_core.imaging.inputs import find_inputs
from flare_core.imaging.volume import Volume

SHAPE = (7, 12, 10)
STACK = np.random.default_rng(1).integers(0, 3000, SHAPE).astype(np.uint16)
HU = STACK.astype(int) - 1024
STORAGE = "1.2.840.10008.5.1.4.1.1"
NO_PIXELS: tuple[Tag, ...] = ((0x7FE0, 0x10, "OW", None), (0x28, 0x10, "US", None))
ACROSS = (0, 1, 0, 0, 0, -1)
"""Directions of a lateral scout."""


def refused(folder: Path) -> InputError:
    """The error of reading a folder."""
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


def whole(volume: Volume) -> bool:
    """Whether nothing is lost."""
    return np.array_equal(volume.array, HU)


def uid(value: str) -> Tag:
    """A SOP instance UID."""
    return 8, 0x18, "UI", value


@pytest.mark.parametrize(
    ("sop", "modality"),
    [
        ("1.2.840.10008.1.3.10", ""),
        (f"{STORAGE}.11.1", "PR"),
        (f"{STORAGE}.481.3", "RTSTRUCT"),
        (f"{STORAGE}.481.5", "RTPLAN"),
        (f"{STORAGE}.88.59", "KO"),
        (f"{STORAGE}.88.33", "SR"),
        (f"{STORAGE}.88.67", "CT"),
        (f"{STORAGE}.104.1", "DOC"),
        (f"{STORAGE}.66", "RAW"),
    ],
)
@pytest.mark.parametrize("damaged", [False, True])
def test_objects_without_image_are_passed_over(
    tmp_path: Path, sop: str, modality: str, damaged: bool
) -> None:
    paths = write_series(tmp_path, STACK)
    names_ct = (8, 0x1150, "UI", CT)  # what deceived a search for letters
    tags = ((8, 0x16, "UI", sop), names_ct, *NO_PIXELS)
    for name in ("A", "z.dcm"):
        write_slice(tmp_path / name, STACK[0], None, Series(modality=modality, changes=tags))
        if damaged:
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    volume = read_volume(tmp_path)
    assert whole(volume)
    assert volume.notes == ()
    assert list_series(tmp_path)[0].count == len(paths)


@pytest.mark.parametrize("name", ["dicomdir", "DicomDir", "DICOMDIR", "index"])
def test_a_directory_file_in_any_letters(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "PT0", STACK)
    tags = ((8, 0x16, "UI", "1.2.840.10008.1.3.10"), (4, 0x1510, "UI", CT), *NO_PIXELS)
    write_slice(tmp_path / name, STACK[0], None, Series(changes=tags))
    assert whole(read_volume(tmp_path))


def test_a_slice_may_be_called_dicomdir(tmp_path: Path) -> None:
    paths = write_series(tmp_path, STACK)
    paths[6].rename(tmp_path / "DICOMDIR")
    assert whole(read_volume(tmp_path))


@pytest.mark.parametrize("syntax", [IMPLICIT, "1.2.840.10008.1.2.1"])
def test_files_without_preamble(tmp_path: Path, syntax: str) -> None:
    paths = write_series(tmp_path, STACK, Series(preamble=False, syntax=syntax))
    assert whole(read_volume(tmp_path))
    assert [case.path for case in find_inputs(tmp_path)] == [tmp_path]
    with pytest.raises(InputError, match="single DICOM file"):
        read_volume(paths[0])


def test_other_files_without_preamble_are_none(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    (tmp_path / "table").write_bytes(b"\x08\x00\x05\x00" + b"\x02\x00\x00\x00" + bytes(400))
    volume = read_volume(tmp_path)
    assert whole(volume) and volume.notes == ()


@pytest.mark.parametrize("suffix", [".dcm", ".DCM", ".Dcm", ".ima", ".nii", ".bak.DcM"])
def test_suffixes_do_not_matter(tmp_path: Path, suffix: str) -> None:
    for path in write_series(tmp_path, STACK):
        path.rename(path.with_name(path.name + suffix))
    assert whole(read_volume(tmp_path))


@pytest.mark.parametrize("kind", ["ORIGINAL\\PRIMARY\\SCOUT", "ORIGINAL\\PRIMARY", "", None])
@pytest.mark.parametrize("name", ["0first", "last"])
def test_a_scout_in_the_series_first_or_untyped(
    tmp_path: Path, kind: str | None, name: str
) -> None:
    write_series(tmp_path, STACK)
    for turn in (0, 1):
        series = Series(axes=ACROSS if turn else (1, 0, 0, 0, 0, -1))
        series = replace(series, changes=((8, 8, "CS", kind),))
        write_slice(tmp_path / f"{name}{turn}", STACK[0, :9], (-5, -6, -7), series)
    volume = read_volume(tmp_path)
    assert whole(volume)
    assert "(2)" in volume.notes[0] and "scout" in volume.notes[0]
    (info,) = list_series(tmp_path)
    assert info.problem == "" and info.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_notes_reach_the_person(tmp_path: Path) -> None:
    body = np.full((5, 40, 40), 24, np.uint16)  # air
    body[:, 8:-8, 8:-8] = np.random.default_rng(2).normal(1070, 15, (5, 24, 24))
    write_series(tmp_path, body)
    (tmp_path / "empty").touch()
    volume = read_volume(tmp_path)
    assert volume.notes[0] in check_ct(volume)


def test_a_screenshot_in_the_series_is_left_out_by_its_class(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    shot = Series(changes=((8, 0x16, "UI", SECONDARY), (0x28, 4, "CS", "RGB")))
    write_slice(tmp_path / "0shot", STACK[0, :5], None, shot)
    volume = read_volume(tmp_path)
    assert whole(volume)
    assert "SOP class" in volume.notes[0]


def test_true_copies_count_once_with_a_note(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "a", STACK):
        (tmp_path / f"copy_{path.name}").write_bytes(path.read_bytes())
    volume = read_volume(tmp_path)
    assert whole(volume)
    assert volume.notes == ("Left out: copies of images (7).",)
    assert list_series(tmp_path)[0].count == 7


@pytest.mark.parametrize("shared", [2, 7])
def test_one_uid_for_several_slices_loses_none(tmp_path: Path, shared: int) -> None:
    for z, pixels in enumerate(STACK):
        series = Series(changes=(uid(f"1.2.3.{z // shared}"),))
        write_slice(tmp_path / f"{z}", pixels, place(z), series)
    volume = read_volume(tmp_path)
    assert whole(volume)
    assert "share a SOP instance UID" in volume.notes[0]


@pytest.mark.parametrize("what", ["pixels", "intercept"])
def test_one_uid_and_place_with_other_values_is_no_copy(tmp_path: Path, what: str) -> None:
    paths = write_series(tmp_path, STACK, Series(changes=(uid("1.2.3"),)))
    odd = Series(changes=(uid("1.2.3"),), intercept=-1024.0 if what == "pixels" else -1000.0)
    write_slice(tmp_path / "again", STACK[3] + (what == "pixels"), place(3), odd)
    error = refused(tmp_path)
    assert "two images" in error.parts[1] and paths[3].name in error.parts[1]


def test_uneven_slices_are_noted(tmp_path: Path) -> None:
    for z, pixels in enumerate(STACK):
        write_slice(tmp_path / f"{z}", pixels, (0, 0, 2.5 * z + (0.2 if z == 3 else 0)), Series())
    (note,) = read_volume(tmp_path).notes
    assert "2.30 to 2.70 mm apart" in note


def test_slices_a_pixel_beside_one_another_and_in_two_frames_are_noted(tmp_path: Path) -> None:
    for z, pixels in enumerate(STACK):
        frame = (0x0020, 0x0052, "UI", f"1.2.{z // 4}")
        write_slice(tmp_path / f"{z}", pixels, (0, 0.1 * z, 2.5 * z), Series(changes=(frame,)))
    frames, sideways = read_volume(tmp_path).notes
    assert "2 frames of reference" in frames and "0.60 mm beside one another" in sideways


@pytest.mark.parametrize(
    ("decimals", "degrees"), [(1, 3.0), (1, 10.0), (2, 3.0), (2, 10.0), (3, 3.0), (3, 37.0)]
)
def test_orientations_with_cut_decimals(tmp_path: Path, decimals: int, degrees: float) -> None:
    angle = math.radians(degrees)
    y = np.array([0, math.cos(angle), math.sin(angle)])
    normal = np.cross([1, 0, 0], y)
    step = tuple((8.0 * normal).tolist())
    axes = tuple(round(float(v), decimals) for v in (1, 0, 0, *y))
    error = np.arccos(np.clip(np.dot(axes[3:], y) / np.linalg.norm(axes[3:]), -1, 1))
    write_series(tmp_path, STACK, Series(axes=axes), step=step)
    if error > 0.03:
        assert "tilted" in refused(tmp_path).parts[1]
        return
    volume = read_volume(tmp_path)
    directions = np.array(volume.geometry.direction)
    assert directions @ directions.T == pytest.approx(np.eye(3), abs=1e-9)
    assert directions[0] == pytest.approx(normal, abs=1e-3)
    assert directions[1] == pytest.approx(y, abs=1e-3)
    assert volume.geometry.spacing_mm == pytest.approx((8.0, 0.8, 0.7), rel=1e-3)
    assert "decimals" in volume.notes[0]


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 5, 0), (0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0)])
def test_orientations_that_are_none(tmp_path: Path, axes: tuple[float, ...]) -> None:
    write_series(tmp_path, STACK, Series(axes=axes))
    assert refused(tmp_path).parts[0] == str(tmp_path)


@pytest.mark.parametrize("sop", [f"{STORAGE}.2.1", f"{STORAGE}.2.2"])
def test_enhanced_ct_by_its_class(tmp_path: Path, sop: str) -> None:
    write_slice(tmp_path / "one", STACK[0], None, Series(changes=((8, 0x16, "UI", sop),)))
    assert "multi-frame" in refused(tmp_path).parts[1]


def test_files_that_say_nothing_are_noted(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "torn").write_bytes(bytes(128) + b"DICM\x02\x00")
    notes = read_volume(tmp_path).notes
    assert "empty files (1" in notes[0] and "empty.dcm" in notes[0]
    assert "damaged DICOM files" in notes[1] and "torn" in notes[1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_devices_and_loops_are_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    os.mkfifo(tmp_path / "0pipe")
    (tmp_path / "1zero").symlink_to("/dev/zero")
    (tmp_path / "2pipe").symlink_to(tmp_path / "0pipe")
    (tmp_path / "3loop").symlink_to(tmp_path / "3loop")
    (tmp_path / "4up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "5gone").symlink_to(tmp_path / "nowhere")
    assert [case.path for case in find_inputs(tmp_path)] == [tmp_path]
    assert whole(read_volume(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "ct", STACK):
        path.rename(Path(os.fsdecode(os.fsencode(path) + b"\xff\xe4")))
    assert whole(read_volume(tmp_path / "ct"))
