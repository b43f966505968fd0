"""Spoilt scans and label maps: NIfTI, NRRD, MHA, MHD, DICOM folders, all made of a phantom."""

from __future__ import annotations

import random
import struct
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from dicom_files import Series, write_series
from flare_core.datasets.phantom.make import PhantomCase, PhantomSettings, make_phantom
from flare_core.imaging import apart
from flare_core.imaging.dicom.series import list_series
from flare_core.imaging.files import (
    read_geometry,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from flare_core.imaging.inputs import find_inputs
from flare_core.imaging.label_map import label_counts
from flare_core.imaging.volume import Volume
from force.children import Reader
from force.mutations import DEEP, LONG, WORDS, spoil_bytes, spoil_header, spoil_zipped

ANY_LENGTH = ("OB", "OW", "UN", "SQ")


@lru_cache
def phantom() -> PhantomCase:
    """A whole abdomen on a coarse grid, oblique; made before the children are forked."""
    return make_phantom(PhantomSettings(seed=3, spacing_mm=(18.0, 12.0, 11.0), oblique_degrees=6.0))


@lru_cache
def scan_bytes(suffix: str, labels: bool = False, compressed: bool = True) -> bytes:
    """The phantom, or its labels, as a file of this format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{suffix}"
        if labels and suffix.startswith(".nii"):
            write_labels(path, phantom().labels)
        else:
            volume = phantom().labels if labels else phantom().image
            write_volume(path, volume, compressed=compressed)
        return path.read_bytes()


def sound(volume: Volume) -> None:
    """Refuse a volume that cannot be: a grid without size, numbers that are none."""
    grid = volume.geometry
    assert volume.array.shape == tuple(grid.shape), "array and grid differ in shape"
    assert min(grid.shape) > 0, "an empty grid"
    assert np.isfinite(grid.spacing_mm).all() and min(grid.spacing_mm) > 0, "spacing"
    assert np.isfinite(grid.origin_mm).all() and np.isfinite(grid.direction).all(), "place"
    turned = np.abs(np.linalg.det(np.asarray(grid.direction)))
    assert abs(turned - 1) < 1e-2, f"axes that are not at right angles: {turned}"
    assert np.isfinite(volume.array).all(), "voxels that are no numbers"


def _read_scan(path: Path) -> None:
    """Read as `flare segment` does: look what is there, then its grid, then its voxels."""
    (case,) = find_inputs(path)
    volume = read_volume(case.path)
    sound(volume)
    if path.is_file():
        assert read_geometry(path).shape == volume.geometry.shape, "header and voxels differ"


def _read_labels(path: Path) -> None:
    sound(read_labels(path))
    assert sum(label_counts(path)) > 0, "no voxel counted"


def _apart(path: Path) -> None:
    sound(apart.read_volume(path))


def _labels_apart(path: Path) -> None:
    sound(apart.read_labels(path))


def _nifti(folder: Path, chance: random.Random, *, labels: bool = False) -> Path:
    if chance.random() < 0.7:
        path, data = folder / "scan.nii.gz", spoil_zipped(scan_bytes(".nii.gz", labels), chance)
    else:
        path = folder / "scan.nii"
        data = spoil_bytes(scan_bytes(".nii", labels), chance, head=352)
    path.write_bytes(data)
    return path


def _label_map(folder: Path, chance: random.Random) -> Path:
    if chance.random() < 0.6:
        return _nifti(folder, chance, labels=True)
    return _texted(folder, chance, chance.choice((".nrrd", ".mha")), labels=True)


def _texted(folder: Path, chance: random.Random, suffix: str, *, labels: bool = False) -> Path:
    data = scan_bytes(suffix, labels, compressed=chance.random() < 0.5)
    end, mark = (b"\n\n", ":") if suffix == ".nrrd" else (b"ElementDataFile = LOCAL", "=")
    data = spoil_header(data, chance, end=end, mark=mark)
    if suffix == ".mha" and chance.random() < 0.2:
        return _detached(folder, data, chance)
    path = folder / f"scan{suffix}"
    path.write_bytes(data)
    return path


def _detached(folder: Path, data: bytes, chance: random.Random) -> Path:
    """An MHD whose voxels lie in another file: the right one, none, a folder, a device."""
    head, _, voxels = data.partition(b"LOCAL\n")
    place = chance.choice(
        ("scan.raw", "scan.raw", "absent.raw", "LIST", "scan%d.raw 1 9 1", "/dev/zero", ".",
         "../../../../etc/passwd", "A" * LONG, "scan.mhd", "/dev/stdin")
    )  # fmt: skip
    path = folder / "scan.mhd"
    path.write_bytes(head + place.encode() + b"\n")
    (folder / "scan.raw").write_bytes(voxels)
    return path


def _nrrd(folder: Path, chance: random.Random) -> Path:
    return _texted(folder, chance, ".nrrd")


def _mha(folder: Path, chance: random.Random) -> Path:
    return _texted(folder, chance, ".mha")


# --- DICOM


@lru_cache
def slices(number: int = 1) -> dict[str, bytes]:
    """A few slices of the phantom as a series: name -> file."""
    stack = phantom().image.array[5:11].astype(np.int32) + 1024
    with tempfile.TemporaryDirectory() as folder:
        series = replace(Series(), number=number, spacing=(10.0, 9.0))
        paths = write_series(Path(folder), stack.astype(np.uint16), series, step=(0.0, 0.0, 12.0))
        return {path.name: path.read_bytes() for path in paths}


def _dicom(folder: Path, chance: random.Random) -> Path:
    """A folder in which one slice, some or all are spoilt, or odd files lie beside them."""
    files = dict(slices())
    if chance.random() < 0.2:
        files |= {f"B{name}": data for name, data in slices(2).items()}
    names = sorted(files)
    chosen = chance.choice(([names[0]], [chance.choice(names)], names[:3], names, names))
    how = chance.choice((_element_changed, _element_changed, _element_changed, _any_byte))
    if len(chosen) == len(names):  # the same change in all slices
        state = chance.getstate()
        for name in chosen:
            chance.setstate(state)
            files[name] = how(files[name], chance)
    else:
        files |= {name: how(files[name], chance) for name in chosen}
    if chance.random() < 0.3:
        _beside(files, chance)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _any_byte(data: bytes, chance: random.Random) -> bytes:
    return data[:128] + spoil_bytes(data[128:], chance, head=900)


def _beside(files: dict[str, bytes], chance: random.Random) -> None:
    """Put something else into the folder, or take a slice away."""
    name = min(files)
    odd = chance.choice((b"", b"DICM", b"\xff" * 200, bytes(128) + b"DICM", b"scout", files[name]))
    where = chance.choice(("0000", "dicomdir", "DICOMDIR", "zzz.dcm", ".hidden", "LICENSE"))
    if chance.random() < 0.7:
        files[where] = odd
    else:
        del files[chance.choice(sorted(files))]


def elements(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Parse explicit little endian: (tag, representation, value) after the preamble."""
    found, place = [], 132
    while place + 8 <= len(data):
        tag, kind = data[place : place + 4], data[place + 4 : place + 6]
        wide = kind.decode("latin-1") in ANY_LENGTH
        size = struct.unpack_from("<I" if wide else "<H", data, place + (8 if wide else 6))[0]
        place += 12 if wide else 8
        found.append((tag, kind, data[place : place + size]))
        place += size
    return found


def joined(found: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Write what `elements` parsed."""
    parts = [bytes(128) + b"DICM"]
    for tag, kind, value in found:
        wide = kind.decode("latin-1") in ANY_LENGTH
        size = min(len(value), 2**32 - 1 if wide else 2**16 - 1)
        parts.append(
            tag + kind + (struct.pack("<HI", 0, size) if wide else struct.pack("<H", size))
        )
        parts.append(value)
    return b"".join(parts)


def _element_changed(data: bytes, chance: random.Random) -> bytes:
    """Change the value, representation or number of one element, or nest sequences."""
    found = elements(data)
    place = chance.randrange(3, len(found))
    tag, kind, value = found[place]
    how = chance.randrange(9)
    if how <= 3:
        found[place] = (tag, kind, _value(kind, chance))
    elif how == 4:
        del found[place]
    elif how == 5:
        found.insert(place, found[place])
    elif how == 6:
        found[place] = (tag, chance.choice((b"UN", b"OB", b"DS", b"US", b"SQ", b"??")), value)
    elif how == 7:
        found[place] = (tag, kind, spoil_bytes(value, chance, head=len(value)))
    else:
        depth = chance.choice((3, 200, DEEP))
        item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        found.insert(4, (b"\x08\x00\x15\x11", b"UN", item * depth))
        raw = joined(found)
        return raw[:132] + raw[132:].replace(b"\x15\x11UN", b"\x15\x11SQ", 1)
    return joined(found)


def _value(kind: bytes, chance: random.Random) -> bytes:
    """Another value of an element."""
    if kind in (b"US", b"UL"):
        return struct.pack("<H", chance.choice((0, 1, 2, 8, 12, 16, 32, 255, 65535)))
    if kind == b"OW":
        return bytes(chance.choice((0, 2, 100, 10_000, 5_000_000)))
    word = chance.choice(
        (*WORDS, "1\\2", "1\\2\\3", "0\\0\\0", "0\\0\\0\\0\\0\\0", "1e30\\1e30", "1\\1\\1\\1\\1\\1")
    )
    data = word.encode("utf-8")[:60_000]
    return data + b" " * (len(data) % 2)


def _read_dicom(path: Path) -> None:
    for info in list_series(path):
        assert info is not None
    _read_scan(path)


def _plain(folder: Path, suffix: str, *, labels: bool = False) -> Path:
    path = folder / f"scan{suffix}"
    path.write_bytes(scan_bytes(suffix, labels))
    return path


def _plain_dicom(folder: Path) -> Path:
    for name, data in slices().items():
        (folder / name).write_bytes(joined(elements(data)))
    return folder


READERS: dict[str, Reader] = {
    "nifti": Reader("imaging", _nifti, _read_scan, lambda f: _plain(f, ".nii.gz"), _apart, phantom),
    "nrrd": Reader("imaging", _nrrd, _read_scan, lambda f: _plain(f, ".nrrd"), _apart, phantom),
    "mha": Reader("imaging", _mha, _read_scan, lambda f: _plain(f, ".mha"), _apart, phantom),
    "labels": Reader(
        "imaging",
        _label_map,
        _read_labels,
        lambda f: _plain(f, ".nii.gz", labels=True),
        _labels_apart,
        phantom,
    ),
    "dicom": Reader("dicom", _dicom, _read_dicom, _plain_dicom, _apart, phantom),
}
"""Fuzzed readers by name."""
