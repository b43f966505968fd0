"""DICOM pixel values become HU by slope and intercept alone, or are refused; padding is air."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_files import (
    BIG_ENDIAN,
    IMPLICIT,
    Series,
    Tag,
    fragments,
    place,
    write_series,
    write_slice,
)
from flare_core.errors import InputError
from flare_core.imaging.files import read_volume
from flare_core.imaging.volume import Volume

SHAPE = (7, 16, 10)
STACK = np.random.default_rng(1).integers(0, 3000, SHAPE).astype(np.uint16)
HU = STACK.astype(int) - 1024


def change(element: int, vr: str, value: object, group: int = 0x28) -> Tag:
    """One element instead of the usual one."""
    return group, element, vr, value


INTERCEPT, SLOPE, PADDING = 0x1052, 0x1053, 0x0120


def read(folder: Path, stack: np.ndarray = STACK, *changes: Tag, **more: object) -> Volume:
    """The volume of a series written with these changes."""
    write_series(folder, stack, replace(Series(changes=changes), **more))
    return read_volume(folder)


def refused(folder: Path) -> InputError:
    """The error of reading a folder."""
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    assert all(part.strip() for part in caught.value.parts)
    return caught.value


@pytest.mark.parametrize(
    "shown",
    [
        (change(4, "CS", "MONOCHROME1"),),
        (change(0x1050, "DS", "40"), change(0x1051, "DS", "400")),
        (change(0x3010, "SQ", b"\xfe\xff\x00\xe0\x00\x00\x00\x00"),),
        (change(0x3000, "SQ", b"\xfe\xff\x00\xe0\x00\x00\x00\x00"),),
        (change(0x1101, "US", 256), change(0x1201, "OW", bytes(512))),
        (change(0x0020, "CS", "INVERSE", group=0x2050),),
        (change(0x1054, "LO", "HU"),),
    ],
    ids=["monochrome1", "window", "voi table", "modality table", "palette", "inverse", "unit"],
)
def test_how_a_picture_is_shown_touches_no_value(tmp_path: Path, shown: tuple[Tag, ...]) -> None:
    assert np.array_equal(read(tmp_path, STACK, *shown).array, HU)


@pytest.mark.parametrize("photometric", ["PALETTE COLOR", "RGB", "YBR_FULL"])
def test_colours_are_refused(tmp_path: Path, photometric: str) -> None:
    write_series(tmp_path, STACK, Series(changes=(change(4, "CS", photometric),)))
    assert "colour" in refused(tmp_path).parts[1]


@pytest.mark.parametrize(
    ("element", "value"),
    [
        *((tag, text) for tag in (INTERCEPT, SLOPE) for text in (None, "", "NaN", "inf", "1\\2")),
        *((SLOPE, text) for text in ("0", "-1", "1e9", "1e-9")),
        (INTERCEPT, "999999"),
        (INTERCEPT, "-1024,0"),
        (0x1054, "Z_EFF"),
    ],
)
@pytest.mark.parametrize("where", ["everywhere", "in one slice"])
def test_a_scale_that_gives_no_hu_is_refused(
    tmp_path: Path, element: int, value: str | None, where: str
) -> None:
    odd = Series(changes=(change(element, "DS", value),))
    paths = write_series(tmp_path, STACK, odd if where == "everywhere" else Series())
    write_slice(paths[3], STACK[3], place(3), odd)
    error = refused(tmp_path)
    assert "Rescale" in error.parts[1]
    if where == "in one slice":
        assert error.parts[0] == str(paths[3])


def test_a_lookup_table_instead_of_a_scale_is_named(tmp_path: Path) -> None:
    table = change(0x3000, "SQ", b"\xfe\xff\x00\xe0\x00\x00\x00\x00")
    write_series(tmp_path, STACK, Series(slope=None, changes=(table,)))
    assert "lookup table" in refused(tmp_path).parts[1]


def test_another_scale_in_one_slice_must_fit_its_neighbours(tmp_path: Path) -> None:
    smooth = np.full(SHAPE, 1000, np.uint16) + np.arange(10, dtype=np.uint16)
    paths = write_series(tmp_path, smooth)
    for odd, words in ((Series(intercept=0.0), "1024 HU"), (Series(slope=3.0), "HU beside")):
        write_slice(paths[3], smooth[3], place(3), odd)
        error = refused(tmp_path)
        assert error.parts[0] == str(paths[3])
        assert words in error.parts[1]
    write_slice(paths[3], smooth[3] - 900, place(3), Series(intercept=-124.0))
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.array, smooth.astype(int) - 1024)
    assert "its own" in volume.notes[0]


@pytest.mark.parametrize(
    ("padding", "signed", "vr"),
    [(63536, 0, "US"), (63536, 0, "SS"), (-2000, 1, "SS"), (32767, 1, "SS"), (4500, 0, "US")],
)
def test_declared_padding_is_air(tmp_path: Path, padding: int, signed: int, vr: str) -> None:
    stack = STACK.copy()
    stack[:, :4] = np.int64(padding) & 0xFFFF
    if vr == "SS" and padding > 32767:
        padding -= 65536  # the right bits under the wrong name
    tags = (change(PADDING, vr, padding), change(0x0103, "US", signed))
    volume = read(tmp_path, stack, *tags)
    assert np.array_equal(volume.array[:, 4:], HU[:, 4:])
    assert (volume.array[:, :4] <= -1024).all()
    # what is below air already stays as it is: check_ct says so
    assert bool(volume.notes) == (padding != -2000 or not signed)


def test_padding_is_one_value_or_a_range(tmp_path: Path) -> None:
    stack = STACK.copy()
    stack[:, :2], stack[:, 2:4] = 60000, 60500
    volume = read(tmp_path, stack, change(PADDING, "US", 60500), change(0x0121, "US", 60000))
    assert (volume.array[:, :4] == -1024).all()
    assert np.array_equal(volume.array[:, 4:], HU[:, 4:])
    assert "448" not in volume.notes[0] and f"{7 * 4 * 10} voxels" in volume.notes[0]


def test_padding_with_a_value_of_tissue_counts_only_from_the_edge(tmp_path: Path) -> None:
    stack = np.full(SHAPE, 1100, np.uint16)
    stack[:, 0] = 1064  # 40 HU, declared as padding and reaching the edge
    stack[:, 8, 5] = 1064  # the liver has such a voxel, too
    array = read(tmp_path, stack, change(PADDING, "US", 1064)).array
    assert (array[:, 0] == -1024).all()
    assert (array[:, 8, 5] == 40).all()


def test_padding_in_all_allocated_bits(tmp_path: Path) -> None:
    stack = STACK.copy()
    stack[:, :4] = 63536
    bits = (change(0x0101, "US", 12), change(0x0102, "US", 11), change(PADDING, "US", 63536))
    array = read(tmp_path, stack, *bits).array
    assert (array[:, :4] == -1024).all()
    assert np.array_equal(array[:, 4:], HU[:, 4:])


def test_slices_may_differ_in_representation(tmp_path: Path) -> None:
    paths = write_series(tmp_path, STACK)
    signed = Series(intercept=0.0, changes=(change(0x0103, "US", 1),))
    write_slice(paths[3], (STACK[3].astype(np.int16) - 1024).view(np.uint16), place(3), signed)
    assert np.array_equal(read_volume(tmp_path).array, HU)


@pytest.mark.parametrize("extended", [True, False])
def test_twelve_signed_bits(tmp_path: Path, extended: bool) -> None:
    values = (STACK.astype(np.int16) - 1500).clip(-2048, 2047)
    words = values.view(np.uint16) if extended else values.view(np.uint16) & 0xFFF
    bits = (change(0x0101, "US", 12), change(0x0102, "US", 11), change(0x0103, "US", 1))
    assert np.array_equal(read(tmp_path, words, *bits, intercept=-24.0).array, values - 24)


def test_bits_below_the_stored_ones(tmp_path: Path) -> None:
    bits = (change(0x0101, "US", 12), change(0x0102, "US", 15))
    assert np.array_equal(read(tmp_path, STACK << 4 | 9, *bits).array, HU)


def test_overlays_in_the_upper_bits_are_no_values(tmp_path: Path) -> None:
    bits = (change(0x0101, "US", 12), change(0x0102, "US", 11))
    drawn = STACK | 0x8000
    overlay = change(0x0102, "US", 15, group=0x6000)
    assert np.array_equal(read(tmp_path / "a", drawn, *bits, overlay).array, HU)
    write_series(tmp_path / "b", drawn, Series(changes=bits))
    assert "BitsStored" in refused(tmp_path / "b").parts[1]


def test_a_signed_value_too_large_for_its_bits(tmp_path: Path) -> None:
    words = STACK.copy()
    words[:, 0, 0], words[:, 0, 1] = 0xFFFF, 3000  # -1 with its sign, then what 12 bits cannot hold
    bits = (change(0x0101, "US", 12), change(0x0102, "US", 11), change(0x0103, "US", 1))
    write_series(tmp_path, words, Series(changes=bits))
    assert "BitsStored" in refused(tmp_path).parts[1]


@pytest.mark.parametrize(
    "bits", [(12, 12, 11, 0), (16, 17, 16, 0), (16, 12, 10, 0), (16, 12, 16, 0), (16, 16, 15, 2)]
)
def test_impossible_bits(tmp_path: Path, bits: tuple[int, ...]) -> None:
    tags = tuple(change(0x0100 + i, "US", n) for i, n in enumerate(bits))
    write_series(tmp_path, STACK, Series(changes=tags))
    assert "Bits" in refused(tmp_path).parts[1]


@pytest.mark.parametrize(("element", "size"), [(0x10, 8), (0x10, 17), (0x11, 9), (0x11, 20)])
def test_rows_and_columns_must_be_those_of_the_pixels(
    tmp_path: Path, element: int, size: int
) -> None:
    write_series(tmp_path, STACK, Series(changes=(change(element, "US", size),)))
    assert "bytes of pixel data" in refused(tmp_path).parts[1]


@pytest.mark.parametrize("size", [0, None])
def test_no_rows(tmp_path: Path, size: int | None) -> None:
    write_series(tmp_path, STACK, Series(changes=(change(0x10, "US", size),)))
    assert "0 rows" in refused(tmp_path).parts[1]


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN])
def test_other_plain_codings(tmp_path: Path, syntax: str) -> None:
    assert np.array_equal(read(tmp_path, STACK, syntax=syntax).array, HU)


def run_lengths(pixels: np.ndarray) -> bytes:
    """A slice as RLE: two segments, high bytes first, all runs literal."""
    planes = []
    for plane in ((pixels >> 8).astype(np.uint8), pixels.astype(np.uint8)):
        data = plane.tobytes()
        packed = b"".join(
            bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128]
            for i in range(0, len(data), 128)
        )
        planes.append(packed + b"\0" * (len(packed) % 2))
    offsets = (64, 64 + len(planes[0]), *[0] * 13)
    return struct.pack("<16I", 2, *offsets) + b"".join(planes)


def write_compressed(
    folder: Path, syntax: str, streams: list[bytes], *changes: Tag, **more: object
) -> None:
    """A series with these streams as pixel data."""
    for z, stream in enumerate(streams):
        tag = change(0x10, "OB", fragments(stream), group=0x7FE0)
        series = replace(Series(syntax=syntax, changes=(*changes, tag)), **more)
        write_slice(folder / f"{z}", STACK[z], place(z), series)


@pytest.mark.parametrize("in_memory", [True, False])
def test_run_lengths(tmp_path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    write_compressed(tmp_path, "1.2.840.10008.1.2.5", [run_lengths(p) for p in STACK])
    assert np.array_equal(read_volume(tmp_path).array, HU)


def jpeg_streams(folder: Path, compressor: str) -> list[bytes]:
    """The slices as a library's writer compresses them, taken out of its files."""
    import SimpleITK as sitk

    from flare_core.imaging.dicom.elements import read_elements

    streams = []
    for z, pixels in enumerate(STACK):
        path = folder / f"{z}.dcm"
        folder.mkdir(exist_ok=True)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(pixels[None]))
        pixel_data = read_elements(path).pixels
        assert pixel_data is not None and pixel_data.fragments is not None
        data = path.read_bytes()
        streams.append(b"".join(data[at : at + n] for at, n in pixel_data.fragments[1:]))
    return streams


JPEGS = {"JPEG": "1.2.840.10008.1.2.4.70", "JPEG2000": "1.2.840.10008.1.2.4.90"}


@pytest.mark.parametrize("compressor", JPEGS)
def test_lossless_jpeg(tmp_path: Path, compressor: str) -> None:
    streams = jpeg_streams(tmp_path / "made", compressor)
    hidden = (change(4, "CS", "MONOCHROME1"), change(PADDING, "US", 2999))
    write_compressed(tmp_path / "ct", JPEGS[compressor], streams, *hidden)
    array = read_volume(tmp_path / "ct").array
    assert np.array_equal(array[HU < 1975], HU[HU < 1975])


@pytest.mark.parametrize("compressor", JPEGS)
def test_a_stream_of_another_size_is_not_decoded(tmp_path: Path, compressor: str) -> None:
    streams = jpeg_streams(tmp_path / "made", compressor)
    big = [
        s.replace(struct.pack(">HH", 16, 10), struct.pack(">HH", 60000, 60000), 1) for s in streams
    ]
    if compressor == "JPEG2000":
        big = [
            s[:8] + struct.pack(">6I", *[60000] * 2, 0, 0, *[60000] * 2) + s[32:] for s in streams
        ]
    write_compressed(tmp_path / "ct", JPEGS[compressor], big)
    assert "60000 x 60000" in refused(tmp_path / "ct").parts[1]


@pytest.mark.parametrize(
    ("compressor", "at", "byte"),
    [("JPEG", 6, 33), ("JPEG", 6, 0), ("JPEG", 13, 0), ("JPEG2000", 42, 37), ("JPEG2000", 43, 0)],
)
def test_streams_that_crash_decoders(tmp_path: Path, compressor: str, at: int, byte: int) -> None:
    streams = jpeg_streams(tmp_path / "made", compressor)
    bad = [stream[:at] + bytes([byte]) + stream[at + 1 :] for stream in streams]
    write_compressed(tmp_path / "ct", JPEGS[compressor], bad)
    assert "compressed stream" in refused(tmp_path / "ct").parts[1]


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff" * 50, b"nonsense" * 9])
@pytest.mark.parametrize("syntax", [*JPEGS.values(), "1.2.840.10008.1.2.5"])
def test_broken_streams(tmp_path: Path, syntax: str, stream: bytes) -> None:
    write_compressed(tmp_path, syntax, [stream] * 3)
    assert refused(tmp_path).parts[0].startswith(str(tmp_path))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.102", "1.9"])
def test_unknown_compressions_are_named(tmp_path: Path, syntax: str) -> None:
    write_compressed(tmp_path, syntax, [b"x"] * 3)
    error = refused(tmp_path)
    assert syntax in error.parts[1]
    assert "uncompressed" in error.parts[3]


def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flare_core.imaging.dicom import series as dicom

    paths = write_series(tmp_path, STACK)
    for harm in (lambda: paths[2].write_bytes(b"x"), lambda: paths[2].unlink()):
        monkeypatch.setattr(dicom, "check_grid", lambda *_, harm=harm: harm())
        assert refused(tmp_path).parts[0] == str(paths[2])
        write_slice(paths[2], STACK[2], place(2), Series())
