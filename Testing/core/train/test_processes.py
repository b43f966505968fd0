"""Several processes train as one does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_core.errors import InputError
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.config import TrainConfig
from flare_core.train.log import LogTail
from flare_core.train.loop import CHECKPOINT, LOG, WEIGHTS, Trainer, _require_even
from flare_core.train.processes import ALONE, Processes, join
from tiny_training import NETWORK, make_cases, tiny_config, write_config


def torchrun(config: TrainConfig, folder: Path, cache: Path) -> None:
    """Train with two processes, as a person would start them."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "flare_core", "train", str(write_config(folder / "c.json", config)),
        "-o", str(folder / "run"), "--cache", str(cache), "--progress", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1  # the first process alone reports


def far_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert set(a) == set(b)
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_a_pytorch_for_gpus_trains_on_a_processor_too(
    monkeypatch: pytest.MonkeyPatch, device: str, backend: str
) -> None:
    """NCCL is in it, and does not begin where no GPU is."""
    begun: list[str] = []
    dist = torch.distributed
    for name, answer in (
        ("is_torchelastic_launched", True), ("is_initialized", False), ("is_nccl_available", True),
        ("get_node_local_rank", 0), ("get_world_size", 1), ("get_rank", 0),
        ("all_gather_object", None),
    ):  # fmt: skip
        monkeypatch.setattr(dist, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(dist, "init_process_group", lambda name, timeout: begun.append(name))
    monkeypatch.setattr("flare_core.train.processes._take_gpu", lambda place: None)
    join(device)
    assert begun == [backend]


def test_two_processes_arrive_at_the_weights_of_one(cache: Path, tmp_path: Path) -> None:
    """Same patches, averaged gradients: what differs is the order in which numbers are added up.

    Labelled, partly labelled and bare scans, a teacher beside the student, more patches a step than
    processes, a time limit. (Biases before a normalisation have a gradient of nothing but rounding,
    which Adam blows up to whole steps; this network has none.)
    """
    data = make_cases(tmp_path / "data", {"bert": ("spleen",)})
    config = tiny_config(
        data,
        strategy={"kind": "mean_teacher", "ramp_steps": 2},
        unlabelled=(str(make_cases(tmp_path / "bare")),),
        network=replace(NETWORK, conv_bias=False),
        held_out_patients=("carl",),
        batch_size=4,
        validate_every=4,
    )
    phase = replace(config.phases[0], steps=4, minutes=60.0)
    config = replace(config, phases=(phase,))
    torchrun(config, tmp_path, cache)
    alone = Trainer(config, tmp_path / "alone", cache)
    start = {k: v.clone() for k, v in alone.network.state_dict().items()}
    alone.run()
    one, two = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("alone", "run"))
    assert two["progress"]["total_steps"] == 4
    for part in ("network", "ema", "strategy"):
        assert far_apart(one[part], two[part]) < 2e-5
    assert far_apart(one["network"], start) > 5e-3
    scores = [LogTail(tmp_path / name / LOG).read()[-1]["dsc"] for name in ("alone", "run")]
    assert scores[0] == pytest.approx(scores[1], abs=0.01) and len(scores[0]) == 2
    assert {p.name for p in (tmp_path / "run").iterdir()} == {CHECKPOINT, WEIGHTS, LOG}


def test_things_are_dealt_out_once_each() -> None:
    for size in (0, 1, 5, 6):
        dealt = [list(Processes(rank, 3).part_of(size)) for rank in range(3)]
        assert sorted(i for part in dealt for i in part) == list(range(size))


def test_without_torchrun_there_is_one_process() -> None:
    alone = join("cpu")
    assert alone == ALONE and alone.first
    alone.wait()
    assert alone.agree(3.5) == 3.5 and alone.gather([1, 2]) == [1, 2]


def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused() -> None:
    _require_even(4, 2)
    with pytest.raises(InputError, match="3 patches for 2 processes"):
        _require_even(3, 2)
