from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import flare_core.atomic
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models import package as package_module
from flare_core.models.card import CATALOGUE, KnownModel, ModelCard
from flare_core.models.package import (
    MAX_CARD_BYTES,
    Package,
    installed_models,
    load_package,
    read_weights,
    write_package,
)

NewCard = Callable[..., ModelCard]
NewTensors = Callable[..., dict[str, dict[str, torch.Tensor]]]


def put(home: Home, card: ModelCard, tensors: dict[str, Any]) -> Package:
    return write_package(home.model(card.name, card.version), card, tensors)


def test_written_package_loads_with_the_same_tensors(
    package: Package, new_tensors: NewTensors
) -> None:
    loaded = load_package(package.folder)
    assert loaded == package
    assert loaded.fingerprint == package.fingerprint
    for stage in loaded.card.stages:
        tensors = read_weights(loaded.weights_path(stage))
        expected = new_tensors()[stage.name]
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in tensors)


def test_sizes_and_hashes_are_filled_in(package: Package) -> None:
    for weights in package.card.weights_files:
        assert weights.size_bytes == (package.folder / weights.file).stat().st_size
        assert len(weights.sha256) == 64
    assert sorted(path.name for path in package.folder.iterdir()) == [
        "card.json", "localiser.safetensors", "organs.safetensors", "organs_fold1.safetensors",
    ]  # fmt: skip


def test_folds_are_found_by_stage_name_or_stage(package: Package) -> None:
    names = [path.name for path in package.weights_paths("organs")]
    assert names == ["organs.safetensors", "organs_fold1.safetensors"]
    assert package.weights_path("localiser").is_file()
    with pytest.raises(InputError, match="localiser, organs"):
        package.weights_path("lesions")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_keep_their_type(
    tmp_path: Path, card: ModelCard, new_tensors: NewTensors, dtype: torch.dtype
) -> None:
    tensors = {
        key: {name: tensor.to(dtype) for name, tensor in named.items()}
        for key, named in new_tensors().items()
    }
    package = write_package(tmp_path / "half", card, tensors)
    back = read_weights(package.weights_path("organs"))
    assert back["head.weight"].dtype == dtype
    assert torch.equal(back["head.weight"], tensors["organs"]["head.weight"])


def test_gradients_and_strides_do_not_matter(
    tmp_path: Path, card: ModelCard, new_tensors: NewTensors
) -> None:
    tensors = new_tensors()
    weight = torch.arange(12.0).reshape(3, 4).requires_grad_().T
    tensors["localiser"]["head.weight"] = weight
    package = write_package(tmp_path / "p", card, tensors)
    assert torch.equal(read_weights(package.weights_path("localiser"))["head.weight"], weight)


def test_same_tensors_give_the_same_fingerprint(
    tmp_path: Path, card: ModelCard, new_tensors: NewTensors
) -> None:
    first = write_package(tmp_path / "a", card, new_tensors())
    second = write_package(tmp_path / "b", card, new_tensors())
    other = write_package(tmp_path / "c", card, new_tensors(seed=1))
    assert first.fingerprint == second.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["localiser.safetensors", "organs_fold1.safetensors"])
def test_one_flipped_bit_is_caught(package: Package, name: str) -> None:
    path = package.folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="SHA-256") as caught:
        load_package(package.folder)
    expected = next(w.sha256 for w in package.card.weights_files if w.file == name)
    assert name in str(caught.value) and expected in str(caught.value)


def test_missing_and_truncated_weights(package: Package) -> None:
    path = package.weights_path("organs")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="bytes, as its card states"):
        load_package(package.folder)
    path.unlink()
    with pytest.raises(InputError, match=r"organs\.safetensors.*\n.*No such file"):
        load_package(package.folder)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{}", b"[1]", b" " * (MAX_CARD_BYTES + 1)])
def test_damaged_card(package: Package, data: bytes) -> None:
    (package.folder / "card.json").write_bytes(data)
    with pytest.raises(InputError, match=r"card\.json"):
        load_package(package.folder)


def test_folder_without_card(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"card\.json"):
        load_package(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00.", b"\xff" * 64])
def test_a_pickle_or_garbage_is_not_read_as_weights(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match="a safetensors file"):
        read_weights(path)


def test_names_resolve_to_newest_or_asked_version(
    home: Home, new_card: NewCard, new_tensors: NewTensors
) -> None:
    for version in ("1.9", "1.10", "1.10-beta1"):
        put(home, new_card(version), new_tensors())
    assert load_package("tiny", home=home).card.version == "1.10"
    assert load_package("tiny@1.9", home=home).card.version == "1.9"
    assert load_package("tiny@1.10-beta1", home=home).card.version == "1.10-beta1"
    assert installed_models(home) == (("tiny", "1.9"), ("tiny", "1.10-beta1"), ("tiny", "1.10"))


@pytest.mark.parametrize("name", ["tinny", "tiny@3", "tiny@", "@1.0", ""])
def test_unknown_model_lists_what_is_there(
    home: Home, card: ModelCard, new_tensors: NewTensors, name: str
) -> None:
    put(home, card, new_tensors())
    with pytest.raises(InputError) as caught:
        load_package(name, home=home)
    assert "tiny@1.0.0" in str(caught.value)


def test_catalogue_name_and_version(
    home: Home, package: Package, new_card: NewCard, new_tensors: NewTensors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(CATALOGUE, "tiny", KnownModel("built in", package.folder))
    put(home, new_card("2.0"), new_tensors())
    assert load_package("tiny", home=home).folder == package.folder
    assert load_package("tiny@1.0.0", home=home).folder == package.folder
    assert load_package("tiny@2.0", home=home).card.version == "2.0"
    with pytest.raises(InputError, match=r"tiny@2\.0"):
        load_package("tiny@3.0", home=home)


def test_folder_by_text_and_what_is_no_folder(
    package: Package, tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("written", "./written", str(package.folder)):
        assert load_package(text, home=home).card == package.card
    (tmp_path / "m.zip").write_bytes(b"")
    with pytest.raises(InputError, match="installed first"):
        load_package("./m.zip", home=home)
    with pytest.raises(InputError, match="does not exist"):
        load_package(tmp_path / "nowhere", home=home)


def test_loading_creates_no_home(package: Package, home: Home) -> None:
    load_package(package.folder, home=home)
    assert not home.path.exists()


def test_a_version_never_changes(package: Package, new_tensors: NewTensors) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_package(package.folder, package.card, new_tensors(seed=1))
    assert load_package(package.folder) == package


@pytest.mark.parametrize("change", [{"organs": None}, {"extra": {}}])
def test_tensors_must_fit_the_stages(
    tmp_path: Path, card: ModelCard, new_tensors: NewTensors, change: dict[str, Any]
) -> None:
    tensors = {k: v for k, v in (new_tensors() | change).items() if v is not None}
    with pytest.raises(InputError, match="every stage"):
        write_package(tmp_path / "p", card, tensors)
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_cannot_be_json_leaves_no_trace(
    tmp_path: Path, card: ModelCard, new_tensors: NewTensors
) -> None:
    with pytest.raises(InputError, match="NaN becomes null"):
        write_package(tmp_path / "p", replace(card, metrics={"a": float("nan")}), new_tensors())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_trace(
    home: Home, card: ModelCard, new_tensors: NewTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if path.name.endswith("organs.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(flare_core.atomic, "flush_to_disk", full)
    with pytest.raises(InputError, match="No space left"):
        put(home, card, new_tensors())
    assert not home.path.exists()


def test_an_interrupted_write_leaves_no_trace(
    home: Home, card: ModelCard, new_tensors: NewTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, text: str) -> None:
        assert len(list(path.parent.iterdir())) == 3, "the weights are written by now"
        raise KeyboardInterrupt

    monkeypatch.setattr(package_module, "write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        put(home, card, new_tensors())
    assert not home.path.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from flare_core.models import package
from flare_core.models.card import ModelCard
package.write_text = lambda path, text: os.kill(os.getpid(), signal.SIGKILL)
card = ModelCard.from_json(Path(sys.argv[1], "card.json").read_text())
keys = ("localiser", "organs", "organs_fold1.safetensors")
package.write_package(sys.argv[2], card, {key: {"a": torch.ones(3)} for key in keys})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_write_leaves_nothing_that_counts(
    package: Package, home: Home, new_tensors: NewTensors
) -> None:
    target = home.model("tiny", "1.0.0")
    command = [sys.executable, "-c", KILLED, str(package.folder), str(target)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = target.parent.iterdir()
    assert left.name.startswith(".") and len(list(left.iterdir())) == 3
    assert installed_models(home) == ()
    with pytest.raises(InputError):
        load_package("tiny", home=home)
    put(home, package.card, new_tensors())
    assert [path.name for path in target.parent.iterdir()] == ["1.0.0"]
    assert load_package("tiny", home=home).card == package.card


def test_a_package_that_was_moved_still_loads(package: Package, tmp_path: Path) -> None:
    moved = shutil.move(package.folder, tmp_path / "moved")
    assert load_package(moved).card == package.card
