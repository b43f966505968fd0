"""Volumes survive every format on anisotropic oblique grids; bad files are refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_files import write_series
from flare_core.errors import InputError
from flare_core.imaging import files, nifti
from flare_core.imaging.geometry import CANONICAL, Geometry
from flare_core.imaging.volume import Volume

SHAPE = (9, 11, 13)
SPACING = (2.5, 0.8, 0.7)
ORIGIN = (-11.5, 12.25, -313.0)
LPS_DIRECTIONS = {
    "canonical": np.asarray(CANONICAL),
    "ras": np.array([[0.0, 0, 1], [0, -1, 0], [-1, 0, 0]]),
    "left-handed": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "sagittal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "oblique": np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0],
}
ONE_FILE = (".nii.gz", ".nii", ".nrrd", ".mha")


def make(dtype: type = np.int16, direction: str = "oblique") -> Volume:
    """Random voxels on an anisotropic grid."""
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    rows = tuple(tuple(row) for row in LPS_DIRECTIONS[direction].tolist())
    return Volume(array, Geometry(SHAPE, SPACING, ORIGIN, rows))


def labels(direction: str = "oblique") -> Volume:
    return make(np.uint8, direction)


def refused(path: Path, words: str) -> InputError:
    """The error of reading `path`; every part of it says something."""
    with pytest.raises(InputError, match=words) as caught:
        files.read_volume(path)
    assert caught.value.parts[0] == str(path)
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond 1000 bytes: what a full disk does to every write."""
    resource = pytest.importorskip("resource", reason="Windows has no file size limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("direction", LPS_DIRECTIONS)
@pytest.mark.parametrize("suffix", ONE_FILE)
def test_round_trip(tmp_path: Path, suffix: str, direction: str) -> None:
    volume = make(direction=direction)
    for compressed in (True, False):
        path = tmp_path / f"a{suffix}"
        files.write_volume(path, volume, compressed=compressed)
        back = files.read_volume(path)
        assert back.array.dtype == np.int16
        assert np.array_equal(back.array, volume.array)
        assert back.geometry.same_grid(volume.geometry, 1e-4)
        assert back.geometry.spacing_mm == pytest.approx(SPACING, rel=1e-6)
        assert files.read_geometry(path) == back.geometry
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("direction", LPS_DIRECTIONS)
@pytest.mark.parametrize("suffix", [*ONE_FILE, ".nhdr", ".mhd"])
def test_files_of_itk_lie_where_itk_says(tmp_path: Path, suffix: str, direction: str) -> None:
    volume = make(np.uint16, direction)
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN)
    image.SetDirection(LPS_DIRECTIONS[direction][::-1].T.ravel().tolist())
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    back = files.read_volume(path)
    assert back.array.dtype == np.int16
    assert back.array.flags.owndata or back.array.base is not None
    assert np.array_equal(back.array, volume.array)
    index = np.array([7, 3, 11])
    there = image.TransformContinuousIndexToPhysicalPoint(index[::-1].astype(float).tolist())
    assert back.geometry.voxel_to_lps(index) == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize("suffix", ONE_FILE)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.float64([0.25, -1000]), np.float32),
        (np.float64([-1024, 3071]), np.int16),
        (np.float32([70000, 1]), np.float32),
        (np.int32([70000, 1]), np.float32),
        (np.int32([-32768, 32767]), np.int16),
        (np.uint16([0, 65535]), np.float32),
    ],
)
def test_stored_types(tmp_path: Path, suffix: str, values: np.ndarray, dtype: type) -> None:
    array = np.resize(values, SHAPE)
    path = tmp_path / f"a{suffix}"
    files.write_volume(path, make().with_array(array))
    back = files.read_volume(path).array
    assert back.dtype == dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize("suffix", ONE_FILE)
@pytest.mark.parametrize("dtype", [np.bool_, np.float16])
def test_types_that_no_format_has(tmp_path: Path, suffix: str, dtype: type) -> None:
    array = (make().array % 2).astype(dtype)
    files.write_volume(tmp_path / f"a{suffix}", make().with_array(array))
    assert np.array_equal(files.read_volume(tmp_path / f"a{suffix}").array, array)


def test_what_cannot_be_segmented_may_still_be_written(tmp_path: Path) -> None:
    flat = Volume(np.ones((1, 4, 5), np.int16), Geometry((1, 4, 5), (40.0, 30.0, 0.01)))
    for suffix in ONE_FILE:
        files.write_volume(tmp_path / f"a{suffix}", flat)
        assert sitk.ReadImage(str(tmp_path / f"a{suffix}")).GetSize() == (5, 4, 1)


def test_voxels_outlive_the_file_and_may_be_changed(tmp_path: Path) -> None:
    for suffix in ONE_FILE:
        path = tmp_path / f"a{suffix}"
        files.write_volume(path, make())
        array = files.read_volume(path).array
        path.unlink()
        array[0, 0, 0] = 77
        assert array[0, 0, 0] == 77


@pytest.mark.parametrize("direction", LPS_DIRECTIONS)
def test_labels_lie_exactly_on_the_scans_grid(tmp_path: Path, direction: str) -> None:
    scan = tmp_path / "scan_0000.nii.gz"
    files.write_volume(scan, make(direction=direction))
    volume = files.read_volume(scan)
    found = labels(direction).with_array(labels(direction).array)
    out = tmp_path / "out.nii.gz"
    header = nifti.read_header(scan).fields
    for like in (None, scan):
        files.write_labels(out, Volume(found.array, volume.geometry), like=like)
        new = nifti.read_header(out).fields
        for name in nifti.PLACE:
            tolerance = 0.0 if like else 2e-6 if name != "quatern" else 2e-4
            assert np.allclose(new[name], header[name], rtol=tolerance, atol=tolerance), name
        image = sitk.ReadImage(str(out))
        source = sitk.ReadImage(str(scan))
        assert image.GetPixelID() == sitk.sitkUInt8
        assert image.GetSize() == source.GetSize()
        for get in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(image, get)() == pytest.approx(getattr(source, get)(), abs=2e-5)
        assert np.array_equal(sitk.GetArrayFromImage(image), found.array)


def test_labels_keep_codes_that_itk_would_rewrite(tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii"
    files.write_volume(scan, make())
    data = bytearray(scan.read_bytes())
    data[252:256] = np.array([2, 4], "<i2").tobytes()  # ITK now takes the quaternion
    data[268:272] = np.array([99.0], "<f4").tobytes()  # which lies elsewhere
    scan.write_bytes(data)
    volume = files.read_volume(scan)
    assert volume.geometry.origin_mm[0] == pytest.approx(-99.0)
    files.write_labels(tmp_path / "out.nii", Volume(labels().array, volume.geometry), like=scan)
    assert (tmp_path / "out.nii").read_bytes()[252:328] == bytes(data[252:328])


def test_labels_like_a_scan_elsewhere_are_refused(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "scan.nii", make(direction="ras"))
    with pytest.raises(InputError, match="another grid"):
        files.write_labels(tmp_path / "out.nii.gz", labels(), like=tmp_path / "scan.nii")
    assert not (tmp_path / "out.nii.gz").exists()


def test_labels_like_other_formats_use_the_geometry(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "scan.mha", make())
    files.write_labels(tmp_path / "out.nii.gz", labels(), like=tmp_path / "scan.mha")
    files.write_labels(tmp_path / "two.nii.gz", labels(), like=tmp_path)
    assert files.read_geometry(tmp_path / "out.nii.gz").same_grid(make().geometry)


def test_labels_come_back_as_uint8(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint8):
        files.write_labels(tmp_path / "a.nii.gz", labels().with_array(labels().array.astype(dtype)))
        back = files.read_labels(tmp_path / "a.nii.gz")
        assert back.array.dtype == np.uint8
        assert np.array_equal(back.array, labels().array)


@pytest.mark.parametrize("array", [np.full(SHAPE, 256), np.full(SHAPE, -1), np.full(SHAPE, 0.5)])
def test_values_that_are_no_labels(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
        files.write_labels(tmp_path / "a.nii.gz", labels().with_array(array))
    assert not list(tmp_path.iterdir())
    files.write_volume(tmp_path / "b.nii.gz", labels().with_array(array.astype(np.float32)))
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
        files.read_labels(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.png", "a"])
def test_names_that_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="a name that ends in"):
        files.write_volume(tmp_path / name, make())
    with pytest.raises(InputError, match=r"\.nii"):
        files.write_labels(tmp_path / name, labels())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, suffix: str, full_disk: None) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the result of an earlier run")
    noise = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    with pytest.raises(InputError, match="free space") as caught:
        files.write_volume(path, make().with_array(noise.astype(np.int16) * 17))
    assert caught.value.parts[0] == str(path)
    if suffix.startswith(".nii"):
        with pytest.raises(InputError, match="free space"):
            files.write_labels(path, labels().with_array(noise))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the result of an earlier run"


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_folder_that_is_not_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="writing failed"):
        files.write_volume(tmp_path / "nowhere" / f"a{suffix}", make())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz", ".mhd", ".nhdr"])
def test_damaged_files(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    image = sitk.GetImageFromArray(make().array)
    path = tmp_path / f"a{suffix}"
    for compressed in (True, False):
        sitk.WriteImage(image, str(path), useCompression=compressed)
        data_file = max(tmp_path.glob("a.*"), key=lambda p: p.stat().st_mtime_ns)
        if suffix in (".mhd", ".nhdr"):
            data_file = next(p for p in tmp_path.glob("a.*") if "raw" in p.name)
        whole = data_file.read_bytes()
        for keep in (0, 60, len(whole) // 3, len(whole) - 50):
            data_file.write_bytes(whole[:keep])
            refused(path, "empty|damaged|truncated|ends after|cannot be read|not NIfTI|shorter")
        for other in tmp_path.glob("a.*"):
            other.unlink()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_metaimage_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    files.write_volume(path, make())
    data = bytearray(path.read_bytes())
    data[-200] ^= 0x55
    data[-20] ^= 0x55
    path.write_bytes(data)
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize(
    "content", [b"", b"plain text, no image\n" * 40, b"\x89PNG\r\n\x1a\n" * 90]
)
def test_files_that_are_no_image(
    tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "empty|not NIfTI|header cannot be read")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
@pytest.mark.parametrize(
    ("shape", "vector", "words"),
    [
        ((3, 5, 6, 7), False, "4D image: 3 volumes"),
        ((1, 6, 7), False, "single slice"),
        ((5, 6, 7, 3), True, "vector image with 3"),
    ],
)
def test_images_that_are_no_volume(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], vector: bool, words: str
) -> None:
    image = sitk.GetImageFromArray(np.zeros(shape, np.uint8), isVector=vector)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    refused(tmp_path / f"a{suffix}", words)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_flat_images(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.Image(5, 6, sitk.sitkInt16), str(tmp_path / f"a{suffix}"))
    refused(tmp_path / f"a{suffix}", "2D image")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_fourth_dimension_of_one_is_harmless(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(make().array[None], isVector=False)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert np.array_equal(files.read_volume(tmp_path / f"a{suffix}").array, make().array)


@pytest.mark.parametrize("spacing", [0.0, -0.7, np.nan, 0.01, 50.0])
def test_absurd_spacing_in_nifti(tmp_path: Path, spacing: float) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make(direction="canonical"))
    data = bytearray(path.read_bytes())
    data[80:84] = np.array([spacing], "<f4").tobytes()
    data[254:256] = bytes(2)
    path.write_bytes(data)
    refused(path, "voxel spacing of 2.5 x 0.8 x")


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", b"ElementSpacing = 0.69999999999999996", b"ElementSpacing = 0"),
        (".mha", b"ElementSpacing = 0.69999999999999996", b"ElementSpacing = 50"),
        (".nrrd", b"space directions: (0.69999999999999996,0,0)", b"space directions: (0,0,0)"),
    ],
)
def test_absurd_spacing_elsewhere(tmp_path: Path, suffix: str, old: bytes, new: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    files.write_volume(path, make(direction="canonical"), compressed=False)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    refused(path, "voxel spacing of 2.5 x 0.8 x")


def test_spacing_that_contradicts_the_sform(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make())
    data = bytearray(path.read_bytes())
    data[80:92] = np.array([1, 1, 1], "<f4").tobytes()
    path.write_bytes(data)
    error = refused(path, "by pixdim")
    assert "1 x 1 x 1 mm by pixdim and 2.5 x 0.8 x 0.7 mm by sform" in error.parts[1]


@pytest.mark.parametrize(("skew", "legal"), [(0.0008, True), (0.05, False), (np.nan, False)])
def test_sheared_sform(tmp_path: Path, skew: float, legal: bool) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make(direction="ras"))
    data = bytearray(path.read_bytes())
    data[252:256] = np.array([0, 1], "<i2").tobytes()  # no qform that ITK could take instead
    data[284:288] = np.array([skew * 0.8], "<f4").tobytes()
    path.write_bytes(data)
    if not legal:
        refused(path, "right angles|by pixdim")
        return
    geometry = files.read_volume(path).geometry
    rows = np.asarray(geometry.direction)
    assert np.allclose(rows @ rows.T, np.eye(3), atol=1e-9)
    assert geometry.same_grid(make(direction="ras").geometry, 0.05)
    files.write_labels(tmp_path / "out.nii", Volume(labels().array, geometry), like=path)
    assert (tmp_path / "out.nii").read_bytes()[252:328] == bytes(data[252:328])


def test_sheared_metaimage(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    files.write_volume(path, make(direction="canonical"))
    data = path.read_bytes()
    assert b"TransformMatrix = 1 0 0" in data
    path.write_bytes(data.replace(b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 1 0"))
    refused(path, "right angles")


def test_rescale_of_nifti_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make(np.uint16))
    data = bytearray(path.read_bytes())
    for slope, intercept in ((1.0, -1024.0), (0.5, 10.0)):
        data[112:120] = np.array([slope, intercept], "<f4").tobytes()
        path.write_bytes(data)
        back = files.read_volume(path).array
        assert back.dtype == (np.int16 if slope == 1 else np.float32)
        assert np.array_equal(back, make().array * slope + intercept)
        assert np.array_equal(back, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_a_scan_too_large_for_this_machine_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make())
    monkeypatch.setattr("flare_core.imaging.checks.free_memory_gib", lambda: 0.5)
    monkeypatch.setattr(nifti, "read_voxels", lambda *_: pytest.fail("read"))
    refused(path, "GiB")


def test_absent_path(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "scan_01.nii.gz", make())
    assert "scan_01.nii.gz" in refused(tmp_path / "scan_02.nii.gz", "does not exist").parts[3]


def test_series_of_a_file(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "a.nii", make())
    with pytest.raises(InputError, match="which is a file") as caught:
        files.read_volume(tmp_path / "a.nii", series="1")
    assert caught.value.parts[0] == "--series"


def test_a_dicom_folder_is_read_too(tmp_path: Path) -> None:
    stack = np.random.default_rng(1).integers(0, 3000, (4, 5, 6)).astype(np.uint16)
    write_series(tmp_path / "ct", stack)
    assert np.array_equal(files.read_volume(tmp_path / "ct").array, stack - 1024.0)


def test_no_reader_changes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    files.write_volume(path, make())
    before = path.read_bytes()
    os.chmod(path, 0o444)
    files.read_volume(path)
    assert path.read_bytes() == before


def test_reading_loads_no_torch() -> None:
    code = "import sys, flare_core.imaging.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_scan_and_labels(real_data: Path, tmp_path: Path) -> None:
    scan = real_data / "ct" / "totalseg_ct.nii.gz"
    volume, truth = files.read_volume(scan), files.read_labels(real_data / "labels" / scan.name)
    image = sitk.ReadImage(str(scan))
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    assert volume.geometry.same_grid(truth.geometry)
    files.write_labels(tmp_path / "out.nii.gz", truth, like=scan)
    back = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert back.GetOrigin() == image.GetOrigin()
    assert back.GetDirection() == image.GetDirection()
    assert back.GetSpacing() == image.GetSpacing()
    assert np.array_equal(sitk.GetArrayFromImage(back), truth.array)
