"""Files that are damaged, no image, or no volume are refused by name, without noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging import files, nifti
from flare_core.imaging.geometry import CANONICAL, Geometry
from flare_core.imaging.volume import Volume

SHAPE = (9, 11, 13)
DIRECTIONS = {
    "canonical": np.asarray(CANONICAL),
    "ras": np.array([[0.0, 0, 1], [0, -1, 0], [-1, 0, 0]]),
    "oblique": np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0],
}


def make(direction: str = "oblique") -> Volume:
    """Random voxels on an anisotropic grid."""
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    rows = tuple(tuple(row) for row in DIRECTIONS[direction].tolist())
    return Volume(array, Geometry(SHAPE, (2.5, 0.8, 0.7), (-11.5, 12.25, -313.0), rows))


def refused(path: Path, words: str) -> InputError:
    """The error of reading `path`; every part of it says something."""
    with pytest.raises(InputError, match=words) as caught:
        files.read_volume(path)
    assert caught.value.parts[0] == str(path)
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


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
        refused(path, "right angles|by pixdim|NaN")
        return
    geometry = files.read_volume(path).geometry
    rows = np.asarray(geometry.direction)
    assert np.allclose(rows @ rows.T, np.eye(3), atol=1e-9)
    assert geometry.same_grid(make(direction="ras").geometry, 0.05)
    files.write_labels(tmp_path / "out.nii", Volume(make().array % 14, geometry), like=path)
    assert (tmp_path / "out.nii").read_bytes()[252:328] == bytes(data[252:328])


def test_sheared_metaimage(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    files.write_volume(path, make(direction="canonical"))
    data = path.read_bytes()
    assert b"TransformMatrix = 1 0 0" in data
    path.write_bytes(data.replace(b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 1 0"))
    refused(path, "right angles")


def test_a_scan_too_large_for_this_machine_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    files.write_volume(path, make())
    monkeypatch.setattr("flare_core.imaging.checks.free_memory_gib", lambda: 0.5)
    monkeypatch.setattr(nifti, "read_planes", lambda *_: pytest.fail("read"))
    refused(path, "GiB")


def test_absent_path(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "scan_01.nii.gz", make())
    assert "scan_01.nii.gz" in refused(tmp_path / "scan_02.nii.gz", "does not exist").parts[3]


def test_series_of_a_file(tmp_path: Path) -> None:
    files.write_volume(tmp_path / "a.nii", make())
    with pytest.raises(InputError, match="which is a file") as caught:
        files.read_volume(tmp_path / "a.nii", series="1")
    assert caught.value.parts[0] == "--series"
