"""plans.pkl is read as data: what a pickle would do is never done."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.models.nnunet.v1_pickle import read_plans_pickle
from nnunet_folders import plans_v1


def pickled(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_containers_and_numpys_numbers_come_back_plain(tmp_path: Path, protocol: int) -> None:
    value = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.int64(-7), "c": OrderedDict([(0, "CT")]),
        "d": (1, 2.5, None, True), "e": np.float32(0.5), "f": np.array([1, 2], np.uint8),
        "g": np.bool_(True), "h": np.array([1.5], ">f4"), "i": np.zeros((0, 3)),
    }  # fmt: skip
    found = read_plans_pickle(pickled(tmp_path / "p.pkl", value, protocol))
    assert found == {
        "a": [[0, 1, 2], [3, 4, 5]], "b": -7, "c": {0: "CT"}, "d": [1, 2.5, None, True],
        "e": 0.5, "f": [1, 2], "g": True, "h": [1.5], "i": [],
    }  # fmt: skip


def test_plans_are_read(tmp_path: Path) -> None:
    found = read_plans_pickle(pickled(tmp_path / "plans.pkl", plans_v1()))
    assert found["plans_per_stage"][0]["current_spacing"] == [5.0, 2.0, 2.0]
    assert found["dataset_properties"]["intensityproperties"][0]["sd"] == 60.0


class Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_program_is_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    path = pickled(tmp_path / "plans.pkl", {"a": Evil(os.system, f"touch {trace}")}, protocol)
    with pytest.raises(InputError, match="nothing of it was executed") as error:
        read_plans_pickle(path)
    assert "system" in error.value.parts[1] and not trace.exists()


@pytest.mark.parametrize("call", [exec, open, getattr, __import__, np.load])
def test_only_the_known_names_are_found(tmp_path: Path, call: Any) -> None:
    with pytest.raises(InputError, match="calls"):
        read_plans_pickle(pickled(tmp_path / "plans.pkl", Evil(call, "1")))


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x04}", b"\x80\x04K\x01"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "plans.pkl").write_bytes(data)
    with pytest.raises(InputError, match=r"plans.pkl"):
        read_plans_pickle(tmp_path / "plans.pkl")


def test_arrays_of_strange_types_are_refused(tmp_path: Path) -> None:
    for array in (np.array([1j]), np.array(["text"]), np.asfortranarray(np.ones((2, 2)))):
        with pytest.raises(InputError, match="not readable"):
            read_plans_pickle(pickled(tmp_path / "plans.pkl", array))
