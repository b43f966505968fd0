from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from flare_core.alive import held_file, sweep
from flare_core.datasets import cache_file
from flare_core.datasets.cache_file import map_arrays, tidy, write_arrays

ARRAYS = {
    "image": np.arange(60_000, dtype=np.int16).reshape(30, 40, 50),
    "turned": np.asfortranarray(np.arange(90_000, dtype=np.float32).reshape(30, 60, 50)),
    "few": np.array([1.5, 2.5, 3.5]),
    "none": np.empty((0, 4), np.int16),
    "truth": np.array([True, False]),
}


def test_arrays_come_back(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", ARRAYS)
    found = map_arrays(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    with np.load(tmp_path / "a.npz") as stored:  # a plain npz, for whoever wants to look
        assert np.array_equal(stored["image"], ARRAYS["image"])


def test_large_arrays_are_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", ARRAYS)
    found = map_arrays(tmp_path / "a.npz")
    assert isinstance(found["image"].base, np.memmap) and found["few"].base is None
    for array in found.values():
        assert not array.flags.writeable
    assert ARRAYS["few"].nbytes <= cache_file.SMALL < ARRAYS["image"].nbytes


def test_a_file_that_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"half")
    with pytest.raises(cache_file.zipfile.BadZipFile):
        map_arrays(tmp_path / "a.npz")


def test_what_a_killed_writer_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    left, living = folder / ".0123abcd.part.a-1.npz", folder / ".4567abcd.part.b-1.npz"
    left.write_bytes(b"half")
    (folder / "c-1.npz").write_bytes(b"whole")
    with held_file(living):
        tidy(folder)
    assert sorted(path.name for path in folder.iterdir()) == [living.name, "c-1.npz"]


def test_a_file_is_held_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def swept(stream: BinaryIO, **arrays: np.ndarray) -> None:
        sweep(tmp_path, ".*", files_s=None)
        kept.extend(tmp_path.iterdir())

    monkeypatch.setattr(np, "savez", swept)
    write_arrays(tmp_path / "a.npz", ARRAYS)
    assert len(kept) == 1 and ".part." in kept[0].name
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
