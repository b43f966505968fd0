"""How much a pickle stands for is known before anything of it is made."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flare_core.errors import InputError
from flare_core.models.nnunet.checkpoint import read_checkpoint
from flare_core.models.nnunet.v1 import read_plans_pickle
from flare_core.models.pickle_size import check_pickle
from nnunet_folders import plans_v1


def laughs(kind: type, levels: int = 60) -> Any:
    """A list or tuple of a list twice, of that twice, and so on."""
    found: Any = kind((1, 1))
    for _ in range(levels):
        found = kind((found, found))
    return found


def nested(levels: int) -> Any:
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


def written_late(levels: int = 60) -> bytes:
    """Empty lists first; each gets the next twice when that is still empty."""
    out = bytearray(b"\x80\x04")
    for n in range(levels):
        out += b"]" + b"q" + bytes([n])
    for n in range(levels - 1):
        out += b"h" + bytes([n]) + (b"h" + bytes([n + 1]) + b"a") * 2
    return bytes(out) + b"."


def key_of_laughs() -> bytes:
    """A dict with such a tuple as its key: unpickling itself takes the hash."""
    body = b"K\x01K\x01\x86q\x00"
    for n in range(60):
        body += b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1])
    return b"\x80\x02}" + body + b"h" + bytes([60]) + b"K\x01s."


loop: list[Any] = []
loop.append(loop)
BOMBS = {
    "lists": pickle.dumps(laughs(list)),
    "tuples": pickle.dumps(laughs(tuple)),
    "written late": written_late(),
    "a key": key_of_laughs(),
    "nested": b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
    "a loop": pickle.dumps(loop),
    "a huge memory": b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".",
    "a long text": b"\x80\x04]" + b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00"
    + b"h\x00a" * 2000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_passes_and_the_stream_stands_behind_it(protocol: int) -> None:
    value = {"a": [1, 2.5, (3, None)], "b": {1, 2}, "c": b"xx", "d": np.arange(3)}
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    check_pickle(stream)
    assert stream.read() == b"rest"


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(BOMBS[name])
    with pytest.raises(InputError, match=r"plans\.pkl") as error:
        read_plans_pickle(path)
    assert all(error.value.parts) and len(str(error.value)) < 1000


@pytest.mark.parametrize("data", [b"", b"x", b"e.", b"\x80\x04s.", b"h\x07.", b"t."])
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        check_pickle(io.BytesIO(data))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("bomb", [laughs(list), {laughs(tuple, 4): 1}, nested(150)])
def test_a_checkpoint_of_little_that_stands_for_much(
    tmp_path: Path, zipped: bool, bomb: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_pickle, "__kwdefaults__", {"most_values": 60, "most_steps": 10**6})
    path = tmp_path / "c.pth"
    content = {"network_weights": {"a": torch.ones(2)}, "trainer_name": bomb}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"(?s)c\.pth.*(values|nested)"):
        read_checkpoint(path, "network_weights")


def test_plans_with_arrays_of_many_axes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps(plans_v1(x=np.zeros((1,) * 20))))
    with pytest.raises(InputError, match="20 axes"):
        read_plans_pickle(path)


def test_keys_of_several_labels_become_text(tmp_path: Path) -> None:
    """Old plans say by such keys which labels are one piece."""
    path = tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps({"keep_only_largest_region": {(1, 2): True, (1,): None}}))
    found = read_plans_pickle(path)
    assert found == {"keep_only_largest_region": {"[1, 2]": True, "[1]": None}}


@pytest.mark.parametrize(
    "name",
    [
        b"cbuiltins\nbytearray\n",
        b"c__builtin__\nbytearray\n",
        b"\x8c\x08builtins\x8c\x09bytearray\x93",
    ],
)
def test_a_call_that_fills_memory_is_refused(tmp_path: Path, name: bytes) -> None:
    """torch's loader takes it for harmless; 64 GiB are written before anybody can look."""
    data = b"\x80\x02" + name + b"\x8a\x05\x00\x00\x00\x00\x10\x85R."
    with pytest.raises(ValueError, match="bytearray"):
        check_pickle(io.BytesIO(data))
    path = tmp_path / "c.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", "3")
    with pytest.raises(InputError, match="bytearray"):
        read_checkpoint(path, "network_weights")
