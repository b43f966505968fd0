"""A stranger's checkpoint gives numbers or an error; it never runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flare_core.errors import InputError
from flare_core.models.nnunet.checkpoint import read_checkpoint


class Evil:
    """Unpickling this would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def saved(path: Path, **content: Any) -> Path:
    torch.save({"network_weights": {"a": torch.ones(2)}, **content}, path)
    return path


def test_weights_and_plain_facts_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", trainer_name="T", init_args={"configuration": "3d_fullres"})
    found = read_checkpoint(path, "network_weights")
    assert found.weights["a"].tolist() == [1, 1]
    assert found.facts["init_args"] == {"configuration": "3d_fullres"}


def test_numpys_numbers_are_passed_over(tmp_path: Path) -> None:
    log = {"dice": [np.float64(0.5), np.float32(1)], "n": np.int64(3), "curve": np.arange(4.0)}
    found = read_checkpoint(saved(tmp_path / "c.pth", logging=log), "network_weights")
    assert found.weights["a"].tolist() == [1, 1]


def test_the_old_format_without_zip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.model"
    content = {"state_dict": {"a": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path, "state_dict").weights["a"].tolist() == [1, 1]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_program_in_a_checkpoint_is_not_run(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    content = {"network_weights": {"a": torch.ones(2)}, "logging": Evil(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="nothing of it was executed") as error:
        read_checkpoint(path, "network_weights")
    assert "system" in error.value.parts[1] and not trace.exists()
    with path.open("rb") as stream:  # the attack itself is real: torch's old way runs it
        torch.load(stream, weights_only=False)
    assert trace.exists()


def test_a_bare_pickle_is_not_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(InputError):
        read_checkpoint(path, "network_weights")
    assert not trace.exists()


def test_objects_among_the_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save({"network_weights": {"a": torch.ones(2), "b": "text"}}, path)
    with pytest.raises(InputError, match="b is no tensor"):
        read_checkpoint(path, "network_weights")


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "missing", "zip", "list"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path / "c.pth")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:400])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        torch.save({"state": 1}, path)
    elif damage == "missing":
        path.unlink()
    elif damage == "list":
        torch.save([1, 2], path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "no checkpoint")
    with pytest.raises(InputError) as error:
        read_checkpoint(path, "network_weights")
    assert str(path) in error.value.parts[0]


def test_packed_parts_are_refused(tmp_path: Path) -> None:
    """A few megabytes of zeros unpack to gigabytes; torch itself stores everything as it is."""
    source, path = saved(tmp_path / "c.pth"), tmp_path / "packed.pth"
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(path, "w") as packed:
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_checkpoint(path, "network_weights")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    """One number that a stride of 0 repeats: it would fill the memory when it is written."""
    path = tmp_path / "c.pth"
    torch.save({"network_weights": {"a": torch.ones(1).expand(10**6, 10**6)}}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match="no larger than their file"):
        read_checkpoint(path, "network_weights")
