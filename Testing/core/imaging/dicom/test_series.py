"""DICOM folders: the right series, a regular stack, HU; everything else refused by name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_files import Series, place, write_series, write_slice
from flare_core.errors import InputError
from flare_core.imaging.dicom.series import list_series
from flare_core.imaging.files import read_volume

SHAPE = (7, 12, 10)
STACK = np.random.default_rng(1).integers(0, 3000, SHAPE).astype(np.uint16)
TURNED = tuple(
    np.round([math.cos(0.2), math.sin(0.2), 0, 0, 0, -1], 9).tolist()
)  # an oblique coronal series: x turned towards posterior, y pointing down


def refused(folder: Path, series: str | None = None) -> InputError:
    """The error of reading a folder; every part of it says something."""
    with pytest.raises(InputError) as caught:
        read_volume(folder, series=series)
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


def test_slices_are_sorted_and_rescaled(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, STACK.astype(int) - 1024)
    geometry = volume.geometry
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert geometry.origin_mm == pytest.approx(place(0))
    assert geometry.direction == ((0, 0, 1), (0, 1, 0), (1, 0, 0))


def test_slices_stored_from_the_top_lie_at_the_same_places(tmp_path: Path) -> None:
    write_series(tmp_path, STACK, step=(0, 0, -2.5))
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.array, STACK[::-1].astype(int) - 1024)
    assert volume.geometry.voxel_to_lps((6, 0, 0)) == pytest.approx(place(0))


def test_oblique_series(tmp_path: Path) -> None:
    x, y = np.reshape(TURNED, (2, 3))
    normal = np.cross(x, y)
    step = tuple((3.0 * normal).tolist())
    write_series(tmp_path, STACK, Series(axes=TURNED), step=step)
    volume = read_volume(tmp_path)
    index = np.array([5, 7, 3])
    expected = np.array(place(5, step)) + 7 * 0.8 * y + 3 * 0.7 * x
    assert volume.geometry.voxel_to_lps(index) == pytest.approx(expected)
    assert volume.geometry.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    assert volume.array[5, 7, 3] == int(STACK[5, 7, 3]) - 1024


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("DERIVED\\SECONDARY\\AXIAL\\MIP", "MIP"),
        ("DERIVED\\PRIMARY\\MPR\\MIN_IP", "MIN_IP"),
        ("derived\\secondary\\axial\\ iodine_map ", "IODINE_MAP"),
        ("DERIVED\\SECONDARY\\AXIAL\\MPR", ""),
        ("ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", ""),
        ("DERIVED\\PRIMARY\\AXIAL\\DET_AB\\VNC", ""),
    ],
)
def test_a_series_that_was_made_of_others_is_told(tmp_path: Path, kind: str, word: str) -> None:
    write_series(tmp_path, STACK, Series(kind=kind))
    notes = read_volume(tmp_path).notes
    assert [f"({word}, " in note for note in notes] == [True] * bool(word)


def test_itk_sees_the_same_points(tmp_path: Path) -> None:
    import SimpleITK as sitk

    x, y = np.reshape(TURNED, (2, 3))
    step = tuple((3.0 * np.cross(x, y)).tolist())
    write_series(tmp_path, STACK, Series(axes=TURNED), step=step)
    volume = read_volume(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    inside = image.TransformPhysicalPointToIndex(volume.geometry.voxel_to_lps((2, 8, 1)).tolist())
    assert image[inside] == volume.array[2, 8, 1]


def test_fractions_become_float(tmp_path: Path) -> None:
    write_series(tmp_path, STACK, Series(slope=0.5, intercept=-1000.0))
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, STACK * 0.5 - 1000)


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    for z, pixels in enumerate(STACK):
        series = Series(slope=0.5 if z == 3 else 1.0)
        write_slice(tmp_path / f"{z}", pixels, place(z), series)
    volume = read_volume(tmp_path)
    expected = STACK - 1024.0
    expected[3] = STACK[3] * 0.5 - 1024
    assert np.array_equal(volume.array, expected)


def test_nested_folders_and_other_files(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "b", STACK)
    (tmp_path / "a" / "notes.txt").write_text("a note")
    (tmp_path / "a" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a" / ".IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a" / "report").write_bytes(bytes(128) + b"DICM" + b"a structured report")
    assert np.array_equal(read_volume(tmp_path).array, STACK.astype(int) - 1024)


def test_copies_of_an_image_count_once(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "a", STACK):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    assert read_volume(tmp_path).array.shape == SHAPE


def test_several_series_are_listed(tmp_path: Path) -> None:
    portal = Series(number=12, description="PORTAL VENOUS")
    write_series(tmp_path / "x", STACK, portal)
    write_series(tmp_path / "y", STACK[:5] // 2, Series(number=3, description="ARTERIAL"))
    error = refused(tmp_path)
    assert "2 DICOM series" in error.parts[1]
    for words in ("PORTAL VENOUS", "ARTERIAL", portal.uid, "7 images", "2.5 mm apart"):
        assert words in error.parts[1]
    assert "--series" in error.parts[3]
    infos = list_series(tmp_path)
    assert [(i.description, i.count, i.modality) for i in infos] == [
        ("ARTERIAL", 5, "CT"),
        ("PORTAL VENOUS", 7, "CT"),
    ]
    assert infos[1].spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_a_series_is_chosen_by_uid_prefix_or_number(tmp_path: Path) -> None:
    write_series(tmp_path, STACK[:5], Series(number=3))
    for path in write_series(tmp_path / "y", STACK, Series(number=12)):
        path.rename(tmp_path / f"portal_{path.name}")
    uid = Series(number=12).uid
    for series in (uid, uid[:-1], "2"):
        assert read_volume(tmp_path, series=series).array.shape == SHAPE
    assert read_volume(tmp_path, series="1").array.shape == (5, *SHAPE[1:])


@pytest.mark.parametrize(
    ("series", "words"),
    [("9", "no series"), ("1.9", "no series"), ("1.2.826", "more than one"), ("", "no series")],
)
def test_a_series_that_is_not_there(tmp_path: Path, series: str, words: str) -> None:
    write_series(tmp_path / "x", STACK, Series(number=1))
    write_series(tmp_path / "y", STACK, Series(number=2))
    error = refused(tmp_path, series)
    assert error.parts[0] == "--series"
    assert words in error.parts[1]
    assert Series(number=2).uid in error.parts[1]


def test_an_exact_uid_wins_over_a_longer_one(tmp_path: Path) -> None:
    write_series(tmp_path / "x", STACK[:4], Series(number=1))
    write_series(tmp_path / "y", STACK, Series(number=11))
    assert read_volume(tmp_path, series=Series(number=1).uid).array.shape[0] == 4


def test_what_is_no_volume_does_not_stand_in_the_way(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", STACK, Series(number=2))
    write_series(
        tmp_path / "scout", STACK[:2], Series(number=1, kind="ORIGINAL\\PRIMARY\\LOCALIZER")
    )
    write_series(tmp_path / "mr", STACK, Series(number=4, modality="MR"))
    write_slice(tmp_path / "dose", STACK[0], None, Series(number=5, kind="DERIVED\\SECONDARY"))
    write_series(tmp_path / "bolus", STACK[:3], Series(number=6), step=(0, 0, 0))
    assert read_volume(tmp_path).array.shape == SHAPE
    problems = [info.problem for info in list_series(tmp_path)]
    for problem, words in zip(
        problems, ("scout", "", "modality MR", "without a place", "single position"), strict=True
    ):
        assert (words in problem) if words else (problem == "")


@pytest.mark.parametrize(("number", "words"), [("1", "localiser"), ("4", "modality MR")])
def test_asking_for_what_is_no_volume(tmp_path: Path, number: str, words: str) -> None:
    series = [
        Series(number=1, kind="ORIGINAL\\PRIMARY\\LOCALIZER"),
        Series(number=2),
        Series(number=3),
        Series(number=4, modality="MR"),
    ]
    for each in series:
        write_series(tmp_path / str(each.number), STACK, each)
    assert words in refused(tmp_path, number).parts[1]


def test_enhanced_dicom_is_named(tmp_path: Path) -> None:
    write_slice(tmp_path / "enhanced", STACK[0], place(0), Series(frames=4))
    error = refused(tmp_path)
    assert "multi-frame" in error.parts[1] and "dcm2niix -z y" in error.parts[3]


def test_no_ct_at_all(tmp_path: Path) -> None:
    write_series(tmp_path, STACK, Series(modality="MR", description="T2 HASTE"))
    error = refused(tmp_path)
    assert "no CT volume" in error.parts[1]
    assert "T2 HASTE" in error.parts[1]


def test_a_scout_inside_the_series_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    scout = Series(kind="ORIGINAL\\PRIMARY\\LOCALIZER", axes=(0, 1, 0, 0, 0, -1))
    write_slice(tmp_path / "scout", STACK[0], (-5, -6, -7), scout)
    assert read_volume(tmp_path).array.shape == SHAPE


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, STACK)
    paths[3].unlink()
    error = refused(tmp_path)
    for words in ("5.00 mm", "2.50 mm", paths[2].name, paths[4].name, "z = -295.00 mm"):
        assert words in error.parts[1]


def test_slices_that_drift_apart_are_refused(tmp_path: Path) -> None:
    for z in range(40):  # every gap is within 10 % of the usual one, the sum is not
        depth = 5.0 * z if z < 20 else 100.0 + 5.4 * (z - 20)
        write_slice(tmp_path / f"{z}", STACK[z % 7], (0, 0, depth), Series())
    assert "5.00 to 5.40 mm apart" in refused(tmp_path).parts[1]


def test_rounded_positions_are_even_enough(tmp_path: Path) -> None:
    for z in range(7):
        write_slice(tmp_path / f"{z}", STACK[z], (0, 0, round(0.625 * z, 1)), Series())
    assert read_volume(tmp_path).geometry.spacing_mm[0] == pytest.approx(0.625, abs=0.02)


def test_two_images_at_one_position(tmp_path: Path) -> None:
    write_series(tmp_path / "first", STACK)
    for z, pixels in enumerate(STACK):
        write_slice(tmp_path / f"again{z}", pixels, place(z), Series())
    assert "7 positions with two images" in refused(tmp_path).parts[1]


@pytest.mark.parametrize(
    ("pixels", "series", "words"),
    [
        (STACK[0], Series(axes=(0, 1, 0, 0, 0, -1)), "mixed orientations"),
        (STACK[0, :6], Series(), "mixed sizes"),
        (STACK[0], Series(spacing=(0.9, 0.9)), "mixed pixel spacings"),
        (STACK[0], Series(changes=((0x0010, 0x0020, "LO", "B"),)), "mixed patients"),
    ],
)
def test_slices_that_differ(tmp_path: Path, pixels: np.ndarray, series: Series, words: str) -> None:
    write_series(tmp_path, STACK)
    write_slice(tmp_path / "odd", pixels, place(7), series)
    error = refused(tmp_path)
    assert words in error.parts[1]
    assert "odd" in error.parts[1]


def test_an_image_without_position_among_the_slices(tmp_path: Path) -> None:
    write_series(tmp_path, STACK)
    write_slice(tmp_path / "odd", STACK[0], None, Series())
    assert "without position (odd)" in refused(tmp_path).parts[1]


def test_gantry_tilt(tmp_path: Path) -> None:
    tilt = math.radians(15)
    write_series(tmp_path, STACK, step=(0, 2.5 * math.tan(tilt), 2.5))
    error = refused(tmp_path)
    assert "15.0 degrees" in error.parts[1]
    assert "dcm2niix" in error.parts[3]


@pytest.mark.parametrize("keep", [200, 600, -30])
def test_a_truncated_slice_is_named(tmp_path: Path, keep: int) -> None:
    path = write_series(tmp_path, STACK)[3]
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(tmp_path)
    assert error.parts[0] == str(path)
    assert "truncated" in error.parts[1]


def test_absurd_pixel_spacing(tmp_path: Path) -> None:
    write_series(tmp_path, STACK, Series(spacing=(0.0, 0.7)))
    assert "spacing of 2.5 x 0 x 0.7 mm" in refused(tmp_path).parts[1]


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert "without DICOM" in refused(tmp_path).parts[1]
    with pytest.raises(InputError, match="without DICOM"):
        list_series(tmp_path)


def test_nothing_is_said_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_series(tmp_path, STACK)[0]
    read_volume(tmp_path)
    path.write_bytes(path.read_bytes()[:400])
    refused(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_description_in_another_alphabet(tmp_path: Path) -> None:
    write_series(tmp_path, STACK, replace(Series(), description="Oberbauch nativ für ö"))
    (info,) = list_series(tmp_path)
    assert info.description.startswith("Oberbauch nativ")
    info.description.encode("utf-8")
