"""NIfTI bytes: what other programs write is read, what we write they read; damage is noticed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging import files, nifti
from flare_core.imaging.geometry import CANONICAL, Geometry

SHAPE = (5, 6, 7)
GRID = Geometry(SHAPE, (2.5, 0.8, 0.7), (-11.0, 12.0, -313.0))
ARRAY = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def written(path: Path, array: np.ndarray = ARRAY, geometry: Geometry = GRID) -> Path:
    nifti.write(path, array, geometry)
    return path


def read(path: Path) -> np.ndarray:
    return np.stack(list(nifti.read_planes(path, nifti.read_header(path))))


def patch(path: Path, offset: int, kind: str, *values: float) -> None:
    """Change bytes of an uncompressed file's header."""
    data = bytearray(path.read_bytes())
    new = np.array(values, kind).tobytes()
    data[offset : offset + len(new)] = new
    path.write_bytes(data)


def turned(seed: int) -> np.ndarray:
    """A random orthonormal direction of the array axes, left- or right-handed."""
    rows, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return rows


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", list(nifti.VOXEL_TYPES.values()))
def test_every_type_survives(tmp_path: Path, kind: str, suffix: str) -> None:
    array = np.abs(ARRAY).astype(kind)
    back = read(written(tmp_path / f"a{suffix}", array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize("seed", range(6))
def test_itk_reads_the_grid_from_sform_and_from_qform(tmp_path: Path, seed: int) -> None:
    rows = turned(seed)
    geometry = Geometry(SHAPE, (2.5, 0.8, 0.7), (-11.0, 12.0, -313.0), tuple(map(tuple, rows)))
    path = written(tmp_path / "a.nii", geometry=geometry)
    index = np.array([4, 2, 6])
    for code in (1, 0):  # without its sform code ITK has only the quaternion
        patch(path, 254, "<i2", code)
        image = sitk.ReadImage(str(path))
        there = image.TransformContinuousIndexToPhysicalPoint(index[::-1].astype(float).tolist())
        assert there == pytest.approx(geometry.voxel_to_lps(index), abs=1e-5 if code else 0.02)
        assert image[index[::-1].tolist()] == ARRAY[tuple(index)]


def test_quaternion_of_half_turns() -> None:
    for axis in range(3):
        rotation = -np.eye(3)
        rotation[axis, axis] = 1
        assert np.abs(nifti._quaternion(rotation)) == pytest.approx(np.eye(3)[axis])


def test_big_endian_and_trailing_single_dimensions(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    fields = np.frombuffer(path.read_bytes()[:348], nifti.FIELDS).copy()
    fields["dim"][0] = (4, 7, 6, 5, 1, 1, 1, 1)
    swapped = fields.astype(nifti.FIELDS.newbyteorder(">"))
    path.write_bytes(swapped.tobytes() + bytes(4) + ARRAY.astype(">i2").tobytes())
    header = nifti.read_header(path)
    assert header.shape == SHAPE
    assert np.array_equal(read(path), ARRAY)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY)


def test_voxels_behind_an_extension(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    data = path.read_bytes()
    path.write_bytes(data[:348] + b"\1\0\0\0" + b"x" * 160 + data[352:])
    patch(path, 108, "<f4", 512)
    assert np.array_equal(read(path), ARRAY)


@pytest.mark.parametrize(
    ("slope", "intercept", "scale"),
    [
        (1, 0, (1, 0)),
        (0, -1024, (1, 0)),
        (2, -1024, (2, -1024)),
        (np.nan, 0, (1, 0)),
        (2, np.nan, (2, 0)),
    ],
)
def test_scale(tmp_path: Path, slope: float, intercept: float, scale: tuple[float, float]) -> None:
    path = written(tmp_path / "a.nii")
    patch(path, 112, "<f4", slope, intercept)
    assert nifti.read_header(path).scale == scale


def test_gzip_of_several_members_with_padding_and_a_wrong_name(tmp_path: Path) -> None:
    data = written(tmp_path / "a.nii").read_bytes()
    parts = [data[:100], data[100:360], data[360:]]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(512))
    (tmp_path / "c.nii").write_bytes(gzip.compress(data))
    (tmp_path / "d.nii.gz").write_bytes(data)
    for name in ("b.nii.gz", "c.nii", "d.nii.gz"):
        assert np.array_equal(read(tmp_path / name), ARRAY)


def test_output_longer_than_a_block_for_little_input(tmp_path: Path) -> None:
    array = np.zeros((40, 300, 300), np.int16)  # 7 MB that gzip squeezes into one block read
    array[-1, -1, -1] = 7
    path = written(tmp_path / "a.nii.gz", array, Geometry(array.shape, (1.0, 1.0, 1.0)))
    assert path.stat().st_size < nifti.BLOCK
    assert np.array_equal(read(path), array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncation_is_noticed_wherever_it_is(tmp_path: Path, suffix: str) -> None:
    data = written(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"part{suffix}"
    cuts = [0, 1, 2, 10, 50, 100, len(data) // 2, len(data) - 9, len(data) - 8, len(data) - 1]
    for keep in [*cuts, *([347, 348, 352, 353] if suffix == ".nii" else [])]:
        path.write_bytes(data[:keep])
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.parts[0] == str(path)
        assert "again" in caught.value.parts[3]


def test_every_damaged_byte_of_the_stream_is_noticed(tmp_path: Path) -> None:
    data = written(tmp_path / "whole.nii.gz").read_bytes()
    path = tmp_path / "bad.nii.gz"
    for at in range(12, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(InputError):
            read(path)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = written(tmp_path / "a.nii")
        patch(path, 46, "<i2", 500)
        data = path.read_bytes()
        path = tmp_path / f"b{suffix}"
        path.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)
        with pytest.raises(InputError, match="ends after 420 of the 42000 bytes"):
            read(path)


@pytest.mark.parametrize(
    ("offset", "kind", "values", "words"),
    [
        (0, "<i4", (540,), "not NIfTI-1"),
        (344, "S4", (b"ni1",), "not NIfTI-1"),
        (42, "<i2", (0,), "impossible sizes"),
        (46, "<i2", (-5,), "impossible sizes"),
        (40, "<i2", (9,), "impossible sizes"),
        (70, "<i2", (1,), "impossible sizes or types"),
        (70, "<i2", (128,), "colour or vector image with 3"),
        (70, "<i2", (1792,), "vector image with 2"),
        (40, "<i2", (4, 7, 6, 5, 3), "3 volumes of 7 x 6 x 5"),
        (40, "<i2", (5, 7, 6, 5, 1, 3), "vector image with 3"),
        (40, "<i2", (3, 7, 30, 1), "single slice"),
        (40, "<i2", (2, 7, 30), "2D"),
    ],
)
def test_headers_that_are_refused(
    tmp_path: Path, offset: int, kind: str, values: tuple[float, ...], words: str
) -> None:
    path = written(tmp_path / "a.nii")
    patch(path, offset, kind, *values)
    with pytest.raises(InputError, match=words):
        nifti.read_header(path)


def test_another_files_place_is_copied_bit_by_bit(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    patch(path, 252, "<i2", 2, 4)
    patch(path, 256, "<f4", *np.random.default_rng(3).normal(size=18) * 0.3)
    patch(path, 76, "<f4", -1, 0.7, 0.8, 2.5)
    patch(path, 123, "u1", 2)
    nifti.write(tmp_path / "b.nii", ARRAY.astype(np.uint8), GRID, place=nifti.read_header(path))
    old, new = path.read_bytes(), (tmp_path / "b.nii").read_bytes()
    assert new[252:328] == old[252:328]
    assert new[76:108] == old[76:108]
    assert new[123] == 2
    assert read(tmp_path / "b.nii").dtype == np.uint8


def test_place_is_copied_across_byte_orders(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", geometry=Geometry(SHAPE, (2.0, 3.0, 4.0), (1.0, 2.0, 3.0)))
    fields = np.frombuffer(path.read_bytes()[:348], nifti.FIELDS)
    path.write_bytes(
        fields.astype(nifti.FIELDS.newbyteorder(">")).tobytes()
        + bytes(4)
        + ARRAY.astype(">i2").tobytes()
    )
    nifti.write(tmp_path / "b.nii", ARRAY, GRID, place=nifti.read_header(path))
    again = np.frombuffer((tmp_path / "b.nii").read_bytes()[:348], nifti.FIELDS)
    for name in nifti.PLACE:
        assert np.array_equal(again[name], fields[name])


def test_equal_voxels_make_equal_files_and_levels_count(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(40), np.add.outer(np.arange(50), np.arange(60))) // 9
    geometry = Geometry(smooth.shape, (1.0, 1.0, 1.0), direction=CANONICAL)
    sizes = []
    for level in (1, 9):
        for name in ("a", "b"):
            nifti.write(
                tmp_path / f"{name}.nii.gz",
                smooth.astype(np.uint8),
                geometry,
                compression_level=level,
            )
        assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
        sizes.append((tmp_path / "a.nii.gz").stat().st_size)
    assert sizes[1] < sizes[0]


def test_a_view_is_written_as_it_looks(tmp_path: Path) -> None:
    view = ARRAY[::-1, :, ::-1].transpose(1, 0, 2)
    geometry = Geometry(view.shape, (1.0, 1.0, 1.0))
    assert np.array_equal(read(written(tmp_path / "a.nii.gz", view, geometry)), view)
    raw = zlib.decompress((tmp_path / "a.nii.gz").read_bytes(), 31)
    assert len(raw) == 352 + ARRAY.nbytes


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, -5.0, 1e30])
def test_voxels_that_begin_nowhere(tmp_path: Path, offset: float) -> None:
    path = written(tmp_path / "a.nii")
    patch(path, 108, "<f4", offset)
    with pytest.raises(InputError, match="voxels begin at byte"):
        nifti.read_header(path)


def test_a_header_that_promises_more_than_a_stream_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.nii.gz")
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[42:48] = np.array([20000, 20000, 1000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))
    monkeypatch.setattr(nifti.np, "empty", lambda *_: pytest.fail("memory was asked for"))
    header = nifti.read_header(path)
    with pytest.raises(InputError, match="truncated gzip"):
        next(nifti.read_planes(path, header))


def test_a_stream_that_goes_on_and_on_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "MOST_BEHIND", 1 << 20)
    path = written(tmp_path / "a.nii.gz")
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data + bytes(1000)))
    assert np.array_equal(read(path), ARRAY)
    path.write_bytes(gzip.compress(data + bytes(1 << 22)))
    with pytest.raises(InputError, match="behind its voxels"):
        read(path)


@pytest.mark.parametrize(("code", "mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 1e-3)])
@pytest.mark.parametrize("skew", [0.0, 2e-4])
def test_units_count_whether_the_axes_are_sheared_or_not(
    tmp_path: Path, code: int, mm: float, skew: float
) -> None:
    grid = Geometry(ARRAY.shape, (2.5, 0.8, 0.7), (-4.0, 5.0, -6.0))
    path = written(tmp_path / "a.nii", geometry=grid)
    data = np.frombuffer(path.read_bytes(), nifti.FIELDS, 1).copy()
    fields = data[0]
    fields["xyzt_units"] = code
    fields["qform_code"] = 0
    fields["pixdim"][1:4] /= mm
    fields["srow"] /= mm
    fields["srow"][0, 1] += skew * 0.8 / mm
    path.write_bytes(fields.tobytes() + path.read_bytes()[348:])
    found = files.read_volume(path).geometry
    assert found.same_grid(grid, 5e-3)
    assert found.spacing_mm == pytest.approx(grid.spacing_mm, rel=1e-3)
    assert files.read_geometry(path) == found


def test_qform_and_sform_that_mirror_each_other_are_a_note(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    assert files.read_volume(path).notes == ()
    data = np.frombuffer(path.read_bytes(), nifti.FIELDS, 1).copy()
    data[0]["srow"][0] *= -1
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    (note,) = files.read_volume(path).notes
    assert "mirror images" in note
    data[0]["qform_code"] = 0
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    assert files.read_volume(path).notes == ()


@pytest.mark.parametrize("degrees", [0, 30, 90, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_qform_and_sform_that_are_turned_are_a_note(
    tmp_path: Path, degrees: int, mirrored: bool
) -> None:
    # A grid whose z axis runs down is left-handed: its qform says so by the sign of pixdim[0].
    axes = ((0.0, 0.0, -1.0 if mirrored else 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    grid = Geometry(SHAPE, (2.5, 0.8, 0.7), (1.0, 2.0, 3.0), axes)
    path = written(tmp_path / "a.nii", geometry=grid)
    data = np.frombuffer(path.read_bytes(), nifti.FIELDS, 1).copy()
    turn = np.radians(degrees)
    rotation = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    data[0]["srow"] = rotation @ data[0]["srow"].astype(float)
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    notes = files.read_volume(path).notes
    assert [("turned" in note, "mirror" in note) for note in notes] == [(True, False)] * (
        degrees > 45
    )


def test_a_file_without_qform_and_sform_does_not_say_where_right_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii")
    data = np.frombuffer(path.read_bytes(), nifti.FIELDS, 1).copy()
    data[0]["qform_code"] = data[0]["sform_code"] = 0
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    (note,) = files.read_volume(path).notes
    assert "does not say which way right" in note


@pytest.mark.parametrize("kind", ["<f8", "<i8", "<u8"])
def test_wide_voxels_are_never_in_memory_together(tmp_path: Path, kind: str) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    array = (np.arange(64 * 128 * 128).reshape(64, 128, 128) % 3000 - 1000).astype(kind.strip("<"))
    if kind == "<u8":
        array = np.maximum(array.view("i8"), 0).astype("u8")
    path = written(tmp_path / "a.nii", array, Geometry(array.shape, (2.5, 0.8, 0.7)))
    tracemalloc.start()
    volume = files.read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, array)
    assert peak < 2 * array.size + 6e6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["srow", "quatern", "qoffset"])
def test_a_place_that_is_no_number_is_refused_before_itk_looks(
    tmp_path: Path, place: str, value: float
) -> None:
    """With an infinite sform ITK looks for the axes and never ends."""
    path = written(tmp_path / "a.nii")
    data = np.frombuffer(path.read_bytes(), nifti.FIELDS, 1).copy()
    data[0][place].flat[-1] = value
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    for use in (files.read_geometry, files.read_volume):
        with pytest.raises(InputError, match="form holds NaN or infinity"):
            use(path)
    data[0]["sform_code" if place == "srow" else "qform_code"] = 0  # a form that nobody looks at
    path.write_bytes(data.tobytes() + path.read_bytes()[348:])
    assert files.read_geometry(path).shape == SHAPE
