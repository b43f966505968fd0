"""Small types without loss; C-level chatter kept back; damaged streams noticed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging.files import write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.itk import check_stream, compact, fits_int16, quiet, reason
from flare_core.imaging.volume import Volume


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8", ">i2", ">f4", "?"])
def test_whole_numbers_become_int16(dtype: str) -> None:
    array = np.array([[[0, 1]], [[1, 0]]]).astype(dtype)
    small = compact(array)
    assert small.dtype == np.int16
    assert small.dtype.isnative
    assert np.array_equal(small, array)


@pytest.mark.parametrize(
    ("value", "fits"),
    [(-32768, True), (32767, True), (32768, False), (-32769, False), (0.5, False)],
)
def test_the_limits_of_int16(value: float, fits: bool) -> None:
    array = np.zeros((3, 1, 2))
    array[2, 0, 1] = value
    assert fits_int16(array) is fits
    small = compact(array)
    assert small.dtype == (np.int16 if fits else np.float32)
    assert small[2, 0, 1] == value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_number_stays_visible(value: float) -> None:
    array = np.zeros((2, 1, 2))
    array[1, 0, 0] = value
    small = compact(array)
    assert small.dtype == np.float32
    assert not np.isfinite(small[1, 0, 0])


def test_slope_and_intercept() -> None:
    array = np.arange(6, dtype=np.uint16).reshape(2, 1, 3)
    whole = compact(array, 2.0, -1024.0)
    assert whole.dtype == np.int16
    assert whole.ravel().tolist() == [-1024, -1022, -1020, -1018, -1016, -1014]
    halves = compact(array, 0.5, 1.0)
    assert halves.dtype == np.float32
    assert halves.ravel().tolist() == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


def test_int16_is_not_copied() -> None:
    array = np.zeros((2, 3, 4), np.int16)
    assert compact(array) is array


def test_standard_error_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"chatter\nand more\n")
        print("python's too", file=sys.__stderr__, flush=True)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_quiet_puts_everything_back_after_an_error() -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    with pytest.raises(KeyError), quiet():
        assert not sitk.ProcessObject.GetGlobalWarningDisplay()
        raise KeyError
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before


def test_reason_is_the_last_sentence() -> None:
    error = RuntimeError("Exception thrown in X\nfile.cxx:12:\nITK ERROR: No such image\n\n")
    assert reason(error) == "No such image"
    assert reason(RuntimeError("")) == "no reason given"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_damaged_byte_of_compressed_voxels_is_noticed(
    tmp_path: Path, suffix: str, compressed: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    array = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=compressed)
    check_stream(path)
    data = path.read_bytes()
    for at in range(len(data) - 120, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        if compressed:
            with pytest.raises(InputError, match="damaged"):
                check_stream(path)
        else:
            check_stream(path)  # nothing to compare with


def test_other_headers_are_left_to_itk(tmp_path: Path) -> None:
    for content in (b"", b"NRRD0004\n", b"CompressedData = True\n" * 4000):
        (tmp_path / "a").write_bytes(content)
        check_stream(tmp_path / "a")


def test_standard_error_comes_back_though_blocks_overlap(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A cancelled read goes on in its thread while the next one begins, and ends in any order."""
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    os.write(2, b"lost")
    first.__exit__(None, None, None)
    os.write(2, b"lost too")
    second.__exit__(None, None, None)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_stream_that_goes_on_and_on_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume = Volume(np.zeros((20, 60, 60), np.int16), Geometry((20, 60, 60), (2.0, 1.0, 1.0)))
    write_volume(path, volume)
    check_stream(path, 200_000)
    with pytest.raises(InputError, match="inflate to more than 50000 bytes"):
        check_stream(path, 50_000)
