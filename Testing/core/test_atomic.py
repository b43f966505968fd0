"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from flare_core import atomic
from flare_core.errors import InputError


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "note.txt", "Grüße\n")
    atomic.write_json(tmp_path / "facts.json", {"volume_ml": 1.5})
    assert (tmp_path / "note.txt").read_bytes() == "Grüße\n".encode()
    assert json.loads((tmp_path / "facts.json").read_text("utf-8")) == {"volume_ml": 1.5}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["facts.json", "note.txt"]


def test_a_failure_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), atomic.atomic_path(path) as part:
        part.write_bytes(b"ne")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_part_keeps_the_suffixes_that_writers_choose_by(tmp_path: Path) -> None:
    with atomic.atomic_path(tmp_path / "scan.nii.gz") as part:
        assert part.parent == tmp_path
        assert part.name.endswith(".nii.gz")
        part.write_bytes(b"x")
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"x"


def test_a_full_disk_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        atomic.write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was left behind"):
        atomic.write_bytes(tmp_path / "missing" / "a", b"data")
