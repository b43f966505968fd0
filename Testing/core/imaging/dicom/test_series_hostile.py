"""DICOM headers made to crash or to fill the memory are refused in milliseconds."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from dicom_files import Series, Undefined, place, write_series, write_slice
from flare_core.errors import InputError
from flare_core.imaging.dicom import elements as dicom_elements
from flare_core.imaging.dicom.elements import read_elements
from flare_core.imaging.files import read_volume

SHAPE = (5, 12, 10)
STACK = np.random.default_rng(1).integers(0, 3000, SHAPE).astype(np.uint16)
HU = STACK.astype(int) - 1024
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
INNER = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ENDS = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)


def refused(folder: Path) -> InputError:
    """The error of reading a folder, soon and with four parts."""
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    assert time.perf_counter() - start < 5
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("depth", [40, 20_000])
def test_nested_sequences(tmp_path: Path, depth: int, closed: bool) -> None:
    body = ITEM + (INNER + ITEM) * depth + (ENDS * (depth + 1) if closed else b"")
    paths = write_series(tmp_path, STACK)
    odd = Series(changes=((8, 0x1140, "SQ", Undefined(body)),))
    write_slice(paths[2], STACK[2], place(2), odd)
    error = refused(tmp_path)
    assert error.parts[0] == str(paths[2])
    assert "nested" in error.parts[1]


def test_usual_nesting_is_read(tmp_path: Path) -> None:
    decoy = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 9)  # Rows of an icon, not of the image
    icon = decoy + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 2) + b"xy"
    body = ITEM + (INNER + ITEM) * 12 + icon + ENDS * 13
    write_series(tmp_path, STACK, Series(changes=((8, 0x1140, "SQ", Undefined(body)),)))
    assert np.array_equal(read_volume(tmp_path).array, HU)


def test_an_implicit_sequence_of_unknown_type(tmp_path: Path) -> None:
    inside = struct.pack("<HHI", 0x28, 0x10, 2) + b"\x09\x00"
    body = ITEM + inside + ENDS
    write_series(tmp_path, STACK, Series(changes=((9, 0x1001, "UN", Undefined(body)),)))
    assert np.array_equal(read_volume(tmp_path).array, HU)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xF0000000, 0xFFFFFFFE])
def test_bytes_claimed_behind_the_pixels_are_not_asked_for(tmp_path: Path, size: int) -> None:
    for path in write_series(tmp_path, STACK):
        tail = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, size)
        path.write_bytes(path.read_bytes() + tail)
    assert np.array_equal(read_volume(tmp_path).array, HU)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xF0000000, 0xFFFFFFFE])
@pytest.mark.parametrize("tag", [(0x7FE0, 0x10), (0x9, 0x1010)])
def test_bytes_claimed_but_not_there(tmp_path: Path, tag: tuple[int, int], size: int) -> None:
    path = write_series(tmp_path, STACK)[1]
    data = path.read_bytes()
    at = data.rindex(struct.pack("<HH", 0x7FE0, 0x10))
    path.write_bytes(data[:at] + struct.pack("<HH2sHI", *tag, b"OB", 0, size) + data[at + 12 :])
    error = refused(tmp_path)
    assert error.parts[0] == str(path)
    assert "truncated" in error.parts[1]


@pytest.mark.parametrize("rows", [65535, 30000])
def test_gigantic_sizes(tmp_path: Path, rows: int) -> None:
    big = tuple((0x28, tag, "US", rows) for tag in (0x10, 0x11))
    write_series(tmp_path, STACK, Series(changes=big))
    assert "bytes of pixel data" in refused(tmp_path).parts[1]


def test_values_of_any_length_and_kind(tmp_path: Path) -> None:
    long = ((8, 8, "CS", "A" * 60_000), (8, 0x103E, "LO", "\0\x1b[31m" + "\\" * 50_001))
    write_series(tmp_path, STACK, Series(changes=long))
    assert np.array_equal(read_volume(tmp_path).array, HU)
    text = read_elements(next(tmp_path.iterdir())).tags["description"]
    assert text.isprintable() and len(text) <= dicom_elements.MAX_VALUE


def test_two_values_of_one_element(tmp_path: Path) -> None:
    path = write_series(tmp_path, STACK)[1]
    data = path.read_bytes()
    at = data.rindex(struct.pack("<HH", 0x7FE0, 0x10))
    again = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 6)
    path.write_bytes(data[:at] + again + data[at:])
    assert "two different values" in refused(tmp_path).parts[1]


def test_millions_of_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_elements, "MAX_ELEMENTS", 1000)
    path = write_series(tmp_path, STACK)[1]
    data = path.read_bytes()
    at = data.rindex(struct.pack("<HH", 0x7FE0, 0x10))
    path.write_bytes(data[:at] + struct.pack("<HH2sH", 9, 0x10, b"LO", 0) * 1000 + data[at:])
    assert "1000 elements" in refused(tmp_path).parts[1]


def test_spoilt_bytes_are_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(5)
    paths = write_series(tmp_path, STACK)
    good = paths[2].read_bytes()
    for _ in range(80):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(128, len(data) - 240)
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        paths[2].write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            assert np.isfinite(read_volume(tmp_path).array).all()
        except InputError as error:
            assert all(part.strip() for part in error.parts)
