"""Volumes survive every format on anisotropic oblique grids, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond 1000 bytes: what a full disk does to every write.

    Not a fixture: pytest's own report, where it goes to a file, must not be cut.
    """
    resource = pytest.importorskip("resource", reason="Windows has no file size limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
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
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the result of an earlier run")
    noise = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    with full_disk(), pytest.raises(InputError, match="free space") as caught:
        files.write_volume(path, make().with_array(noise.astype(np.int16) * 17))
    assert caught.value.parts[0] == str(path)
    if suffix.startswith(".nii"):
        with full_disk(), pytest.raises(InputError, match="free space"):
            files.write_labels(path, labels().with_array(noise))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the result of an earlier run"


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_folder_that_is_not_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match="writing failed"):
        files.write_volume(tmp_path / "nowhere" / f"a{suffix}", make())
    assert not list(tmp_path.iterdir())


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


def test_labels_that_miss_a_whole_number_by_rounding_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    true = make(np.uint8).array % 14
    off = (true + np.float32(1e-7) * (true % 3)).astype(np.float32)
    files.write_volume(path, make().with_array(off))
    back = files.read_labels(path).array
    assert back.dtype == np.uint8
    assert np.array_equal(back, true)


@pytest.mark.parametrize("value", [6.0156865, -1.0, 256.0, np.nan, np.inf, 2.999, 1e20])
def test_the_first_value_that_is_no_label_is_named(tmp_path: Path, value: float) -> None:
    array = (make(np.uint8).array % 14).astype(np.float32)
    array[4, 5, 6] = array[7, 1, 1] = value
    path = tmp_path / "a.nii.gz"
    files.write_volume(path, make().with_array(array))
    with pytest.raises(InputError, match="in voxel 4, 5, 6") as caught:
        files.read_labels(path)
    assert f"is {np.float32(value)}" in caught.value.parts[1] or value in (-1.0, 256.0)
    assert ("no whole number" in caught.value.parts[1]) == (value not in (-1.0, 256.0, 1e20))
