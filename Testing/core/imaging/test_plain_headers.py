"""Headers that would end ITK's readers never reach them; units of length count."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flare_core.errors import InputError
from flare_core.imaging import files, plain_headers
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

LONG = "A" * 5000
SHAPE = (5, 6, 7)
ARRAY = np.arange(210).reshape(SHAPE).astype(np.int16)
META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "Offset": "-1 2 -3", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "ElementSpacing": "0.7 0.8 2.5",
    "DimSize": "7 6 5", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "7 6 5",
    "space directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)", "endian": "little", "encoding": "raw",
    "space origin": "(-1,2,-3)",
}  # fmt: skip


def meta(path: Path, *, more: str = "", **changes: str) -> Path:
    """Write a MetaImage file with some header lines changed; `more` come first."""
    fields = {**META, **changes}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # it ends the header
    text = more + "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + (ARRAY.tobytes() if path.suffix == ".mha" else b""))
    return path


def nrrd(path: Path, changes: dict[str, str] | None = None, *, more: str = "") -> Path:
    """Write an NRRD file with some header lines changed; `more` come first."""
    fields = {**NRRD, **(changes or {})}
    text = "NRRD0004\n" + more + "".join(f"{name}: {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + (b"\n" + ARRAY.tobytes() if path.suffix == ".nrrd" else b""))
    return path


def without(path: Path, changes: dict[str, str]) -> Path:
    """Write an NRRD file with some lines changed and those named with a minus left out."""
    nrrd(path, {name: value for name, value in changes.items() if name[0] != "-"})
    for name in changes:
        if name[0] == "-":
            start, line = path.read_bytes(), f"\n{name[1:]}: ".encode()
            begin = start.index(line)
            path.write_bytes(start[:begin] + start[start.index(b"\n", begin + 1) :])
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        files.read_volume(path)
    assert caught.value.parts[0] == str(path)
    assert len(str(caught.value)) < 1500
    with pytest.raises(InputError, match=words):
        files.read_geometry(path)


def test_plain_files_are_read(tmp_path: Path) -> None:
    for path in (meta(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd")):
        volume = files.read_volume(path)
        assert np.array_equal(volume.array, ARRAY)
        assert volume.geometry.spacing_mm == (2.5, 0.8, 0.7)
        assert volume.notes == ()


@pytest.mark.parametrize("axes", ["-1", "0", "11", "17", "100", "65536", "2147483647", "", "three"])
def test_numbers_of_axes(tmp_path: Path, axes: str) -> None:
    refused(meta(tmp_path / "a.mha", NDims=axes), "header cannot be read: NDims")
    refused(nrrd(tmp_path / "a.nrrd", {"dimension": axes}), "header cannot be read: dimension")


@pytest.mark.parametrize("name", [*META, "Comment", "Modality"])
def test_long_values_in_metaimage(tmp_path: Path, name: str) -> None:
    refused(meta(tmp_path / "a.mha", **{name: LONG}), "header cannot be read")


@pytest.mark.parametrize("name", [*NRRD, "kinds", "labels", "content", "A" * 1200, " " * 1400])
def test_long_values_in_nrrd(tmp_path: Path, name: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", {name: LONG}), "header cannot be read")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DimSize", "7 6", "NDims '3' with 2 sizes"),
        ("DimSize", "7 6 -5", "DimSize"),
        ("DimSize", "7 6 99999999999999999999", "DimSize"),
        ("DimSize", "7 6 50", "ends after 420 bytes"),
        ("DimSize", "7000 6000 50000", "ends after"),
        ("ElementSpacing", "0.7 0.8", "ElementSpacing"),
        ("TransformMatrix", "1 0 0 0", "TransformMatrix"),
        ("Offset", "1 2 x", "Offset"),
        ("ElementType", "MET_WHATEVER", "ElementType"),
        ("ElementNumberOfChannels", "-3", "ElementNumberOfChannels"),
        ("HeaderSize", "1e9", "HeaderSize"),
        ("Offset", "nan 0 0", "Offset"),
        ("Offset", "1e300 0 0", "first voxel"),
    ],
)
def test_metaimage_headers_that_cannot_be(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    refused(meta(tmp_path / "a.mha", **{name: value}), words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sizes", "7 6", "with 2 sizes"),
        ("sizes", "7 6 0", "sizes"),
        ("sizes", "7 6 5000", "ends after 420 bytes"),
        ("type", "blocks", "type"),
        ("space directions", "(a,b,c)", "space directions"),
        ("1,5", "nan", "the line"),
        ("space origin", "(nan,0,0)", "header cannot be read"),
    ],
)
def test_nrrd_headers_that_cannot_be(tmp_path: Path, name: str, value: str, words: str) -> None:
    refused(nrrd(tmp_path / "a.nrrd", {name: value}), words)


def test_too_many_lines_and_lines_that_come_twice(tmp_path: Path) -> None:
    refused(meta(tmp_path / "a.mha", more="Comment = x\n" * 3000), "lines")
    refused(nrrd(tmp_path / "a.nrrd", more="# x\n" * 3000), "lines")
    refused(meta(tmp_path / "b.mha", more="NDims = 100\n"), "the line")
    refused(nrrd(tmp_path / "b.nrrd", more="dimension: 100\n"), "the line")
    (tmp_path / "c.mha").write_bytes(b"NDims = 3\n" * 100_000)
    refused(tmp_path / "c.mha", "no line ElementDataFile")


@pytest.mark.parametrize(
    "place",
    ["/dev/zero", "/etc/passwd", "../other.raw", "sub/../../other.raw", ".", "absent.raw", "pipe"],
)
def test_voxels_elsewhere(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "other.raw").write_bytes(ARRAY.tobytes())
    if place == "pipe":
        pytest.importorskip("os").mkfifo(folder / "pipe")
    refused(meta(folder / "a.mhd", ElementDataFile=place), "voxels")
    refused(nrrd(folder / "a.nhdr", {"data file": place}), "voxels")


def test_voxels_beside_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(ARRAY.tobytes())
    for number in range(5):
        (tmp_path / f"s{number:02d}.raw").write_bytes(ARRAY[number].tobytes())
    for path in (
        meta(tmp_path / "a.mhd", ElementDataFile="a.raw"),
        meta(tmp_path / "b.mhd", ElementDataFile="s%02d.raw 0 4 1"),
        nrrd(tmp_path / "a.nhdr", {"data file": "a.raw"}),
        nrrd(tmp_path / "b.nhdr", {"data file": "s%02d.raw 0 4 1"}),
    ):
        assert np.array_equal(files.read_volume(path).array, ARRAY), path
    refused(meta(tmp_path / "c.mhd", ElementDataFile="s%999999999d.raw 0 4 1"), "pattern")
    refused(meta(tmp_path / "d.mhd", ElementDataFile="s%02d.raw 0 999999999 1"), "pattern")
    refused(meta(tmp_path / "e.mhd", ElementDataFile="s%s%n.raw 0 4 1"), "pattern")


@pytest.mark.parametrize(
    ("unit", "mm"), [("CM", 10.0), ("m", 1000.0), ("um", 1e-3), ("mm", 1.0), ("?", 1.0)]
)
def test_units(tmp_path: Path, unit: str, mm: float) -> None:
    grid = Geometry(SHAPE, (2.5, 0.8, 0.7), (-1.0, 2.0, -3.0))
    spacing = [f"{s / mm:.12g}" for s in grid.spacing_mm[::-1]]
    origin = [f"{c / mm:.12g}" for c in grid.origin_mm]
    x, y, z = spacing
    first = meta(
        tmp_path / "a.mha", DistanceUnits=unit, ElementSpacing=" ".join(spacing),
        Offset=" ".join(origin),
    )  # fmt: skip
    second = nrrd(
        tmp_path / "a.nrrd",
        {
            "space directions": f"({x},0,0) (0,{y},0) (0,0,{z})",
            "space origin": f"({','.join(origin)})",
            "space units": " ".join([f'"{unit}"'] * 3),
        },
    )
    for path in (first, second):
        volume = files.read_volume(path)
        assert volume.geometry.same_grid(grid, 1e-6), path
        assert files.read_geometry(path) == volume.geometry
        assert bool(volume.notes) == (mm != 1.0)


def test_units_that_are_no_length(tmp_path: Path) -> None:
    refused(nrrd(tmp_path / "a.nrrd", {"space units": '"s" "s" "s"'}), "space units")
    refused(nrrd(tmp_path / "b.nrrd", {"space units": '"mm" "mm" "cm"'}), "that differ")


def test_nrrds_plain_spacings_have_units_of_their_own(tmp_path: Path) -> None:
    plain = {"spacings": "0.07 0.08 0.25", "units": '"cm" "cm" "cm"'}
    for name in ("space", "space directions", "space origin"):
        plain[f"-{name}"] = ""
    volume = files.read_volume(without(tmp_path / "a.nrrd", plain))
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert any("unit of length is 10 mm" in note for note in volume.notes)
    refused(without(tmp_path / "b.nrrd", {**plain, "units": '"s" "mm" "mm"'}), "units 's'")


@pytest.mark.parametrize("spacings", ["", "0.7 0.8 NaN", "0.7 0.8"])
def test_nrrd_without_spacing(tmp_path: Path, spacings: str) -> None:
    away = {"-space": "", "-space directions": "", "-space origin": ""}
    fields = {**away, "spacings": spacings} if spacings else away
    refused(without(tmp_path / "a.nrrd", fields), "how far voxels are apart")


def test_metaimage_without_spacing(tmp_path: Path) -> None:
    path = meta(tmp_path / "a.mha")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"ElementSpacing", b"ElementSize"))
    assert files.read_volume(path).geometry.spacing_mm == (2.5, 0.8, 0.7)
    path.write_bytes(data.replace(b"ElementSpacing = 0.7 0.8 2.5\n", b""))
    refused(path, "how far voxels are apart")


@pytest.mark.parametrize("space", ["", "scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_nrrd_that_names_no_patients_space(tmp_path: Path, space: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", {"space": space or "LPS"})
    if not space:
        path.write_bytes(path.read_bytes().replace(b"space: LPS", b"space dimension: 3"))
    (note,) = files.read_volume(path).notes
    assert "does not say which way right" in note
    for named in ("RAS", "left-anterior-superior", "LPS", "right-anterior-superior"):
        assert files.read_volume(nrrd(tmp_path / "b.nrrd", {"space": named})).notes == ()


def test_metaimage_that_says_two_orientations(tmp_path: Path) -> None:
    volume = files.read_volume(meta(tmp_path / "a.mha", AnatomicalOrientation="RAI"))
    assert volume.notes == ()
    for letters in ("RAS", "LPI", "LAI", "ARI"):
        (note,) = files.read_volume(meta(tmp_path / "a.mha", AnatomicalOrientation=letters)).notes
        assert "the two differ" in note, letters
    assert files.read_volume(meta(tmp_path / "a.mha", AnatomicalOrientation="???")).notes == ()


def test_what_itk_writes_says_one_orientation(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(ARRAY)
    tilted = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.4, 0.6).GetMatrix()
    for axes in permutations(np.eye(3)):
        for signs in product((1, -1), repeat=3):
            rows = np.reshape(tilted, (3, 3)) @ np.array(axes).T * signs
            image.SetDirection(rows.ravel().tolist())
            sitk.WriteImage(image, str(tmp_path / "a.mha"))
            assert files.read_volume(tmp_path / "a.mha").notes == (), signs


def test_metaimage_that_scales_its_values(tmp_path: Path) -> None:
    scale = {"ElementToIntensityFunctionSlope": "2", "ElementToIntensityFunctionOffset": "-1024"}
    volume = files.read_volume(meta(tmp_path / "a.mha", **scale))
    assert np.array_equal(volume.array, ARRAY * 2 - 1024)
    assert volume.notes == ("The file's header scales its values (times 2, plus -1024); that was "
                            "done.",)  # fmt: skip
    refused(meta(tmp_path / "a.mha", ElementToIntensityFunctionSlope="nan"), "IntensityFunction")


def test_what_slicer_writes_is_no_reason_to_refuse(tmp_path: Path) -> None:
    more = "# comment\n" * 3 + f"Segmentation_ConversionParameters:={'x|y&' * 2000}\n"
    path = nrrd(tmp_path / "a.nrrd", {"kinds": "domain domain domain"}, more=more)
    assert np.array_equal(files.read_volume(path).array, ARRAY)
    for suffix in (".nrrd", ".mha"):
        for compressed in (True, False):
            written = tmp_path / f"w{suffix}"
            volume = Volume(ARRAY, Geometry(SHAPE, (2.5, 0.8, 0.7)))
            files.write_volume(written, volume, compressed=compressed)
            check = plain_headers.check_nrrd if suffix == ".nrrd" else plain_headers.check_meta
            assert check(written).bytes_per_number == 2
