from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from flare_core.errors import InputError
from flare_core.train.checkpoint import (
    TrainingProgress,
    load_checkpoint,
    read_start,
    save_checkpoint,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    weights = {"head.weight": torch.arange(4000.0), "head.bias": torch.ones(3)}
    progress = TrainingProgress(1, 20, 3.5, 120, 2, [{"step": 100, "dsc": {"liver": 0.5}}])
    save_checkpoint(
        path,
        network=weights,
        ema={name: 2 * tensor for name, tensor in weights.items()},
        strategy={"teacher.weight": torch.ones(2)},
        optimiser={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        config='{"name": "x"}',
        progress=progress,
    )
    return path


def test_everything_comes_back(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    assert torch.equal(state["ema"]["head.weight"], 2 * torch.arange(4000.0))
    assert state["config"] == '{"name": "x"}' and state["optimiser"]["param_groups"][0]["lr"] == 0.1
    progress = TrainingProgress(**state["progress"])
    assert (progress.phase, progress.step, progress.total_steps) == (1, 20, 120)
    assert progress.history[0]["dsc"] == {"liver": 0.5}
    assert [p.name for p in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def test_the_next_phase_starts_at_0_and_keeps_what_counts_for_the_run() -> None:
    last = TrainingProgress(0, 70, 9.0, 70, 3, [{"step": 70, "dsc": {}}])
    assert last.next_phase() == TrainingProgress(1, 0, 0.0, 70, 3, [{"step": 70, "dsc": {}}])


def damaged(data: bytes) -> list[bytes]:
    flipped = []
    for place in range(40, len(data), max(1, len(data) // 25)):
        one = bytearray(data)
        one[place] ^= 0xFF
        flipped.append(bytes(one))
    return [b"", b"PK", data[: len(data) // 2], data[:-30], *flipped]


def test_damage_anywhere_is_an_error_or_harmless(checkpoint: Path) -> None:
    """Padding between members may change; a single wrong number may not get through."""
    good = load_checkpoint(checkpoint)
    refused = 0
    for data in damaged(checkpoint.read_bytes()):
        checkpoint.write_bytes(data)
        try:
            state = load_checkpoint(checkpoint)
        except InputError as error:
            refused += 1
            assert error.parts[0] == str(checkpoint) and "\n" not in error.parts[1]
        else:
            for part in ("network", "ema"):
                for name, tensor in state[part].items():
                    assert torch.equal(tensor, good[part][name])
    assert refused > 20


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(path)
    path.write_text("no archive")
    with pytest.raises(InputError):
        load_checkpoint(path)
    for value in ([1, 2], {"format": 1}, {"weights": torch.ones(2)}):
        torch.save(value, path)
        with pytest.raises(InputError, match="another kind or format"):
            load_checkpoint(path)


def test_a_newer_format_is_refused(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    torch.save({**state, "format": 2}, checkpoint)
    with pytest.raises(InputError, match="another kind or format"):
        load_checkpoint(checkpoint)
    torch.save({**state, "progress": {**state["progress"], "mood": 1}}, checkpoint)
    with pytest.raises(InputError, match="a part progress"):
        load_checkpoint(checkpoint)


WRONG = {
    "network": [{"head.weight": 1}, [], {3: torch.ones(1)}],
    "ema": [{"head.weight": None}, "x"],
    "strategy": [None, {"teacher": [1.0]}],
    "optimiser": [{}, {"state": [], "param_groups": []}, {"state": {0: 1}, "param_groups": []},
                  {"state": {}, "param_groups": [1]}],
    "config": [None, 3, b"{}", "", "[]", "[" * 100_000, "NaN"],
    "progress": [{"phase": "1"}, {"step": -1}, {"seconds": float("nan")}, {"total_steps": 1.5},
                 {"skipped": True}, {"history": {}}, {"history": [1]}, {"history": [{"step": 1}]}],
}  # fmt: skip


@pytest.mark.parametrize("part", WRONG)
def test_a_part_of_another_type_is_named(checkpoint: Path, part: str) -> None:
    state = load_checkpoint(checkpoint)
    for value in WRONG[part]:
        torch.save({**state, part: value}, checkpoint)
        with pytest.raises(InputError, match=f"a part {part}"):
            load_checkpoint(checkpoint)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "network": Evil()}, path)
    with pytest.raises(InputError):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_another_run_can_start_from_a_checkpoint_or_from_weights(
    checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    assert torch.equal(read_start(checkpoint)["head.bias"], torch.full((3,), 2.0))
    weights = tmp_path / "weights.safetensors"
    save_file({"head.bias": torch.ones(3, dtype=torch.float16)}, weights)
    assert read_start(weights)["head.bias"].dtype == torch.float32
    for absent in (tmp_path / "no.pt", tmp_path / "no.safetensors"):
        with pytest.raises(InputError):
            read_start(absent)


def test_packed_parts_and_little_that_stands_for_much_are_refused(checkpoint: Path) -> None:
    """As strangers' checkpoints: unpacking the one and walking through the other has no end."""
    with zipfile.ZipFile(checkpoint) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="compressed"):
        load_checkpoint(checkpoint)
    laughs = b"\x80\x02]q\x00" + b"]q\x01h\x00ah\x00aq\x00" * 60 + b"."
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, laughs if name.endswith("data.pkl") else data)
    with pytest.raises(InputError, match="stands for more"):
        load_checkpoint(checkpoint)


def test_a_damaged_stream_and_entries_of_another_kind_are_named(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    for name in ("network", "ema", "optimiser", "progress"):
        torch.save(state | {name: 3}, checkpoint)
        with pytest.raises(InputError, match=f"a part {name}"):
            load_checkpoint(checkpoint)
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1000))
    raw = bytearray(checkpoint.read_bytes())
    raw[40] = 0xFF
    checkpoint.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="decompressing"):
        load_checkpoint(checkpoint)
