from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flare_core.errors import Cancelled, InputError
from flare_core.networks import build_network
from flare_core.segment.runtime import choose_runtime, cpu_has_bf16
from flare_core.train import loop
from flare_core.train.batches import Patch
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.log import LogTail
from flare_core.train.loop import CHECKPOINT, LOG, MOST_SKIPPED, WEIGHTS, Trainer
from tiny_training import NETWORK, SPACING_MM, tiny_config, write_config

Facts = list[dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cases: Path, cache: Path) -> Path:
    """A finished run of 60 steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    Trainer(tiny_config(cases), folder, cache).run()
    return folder


def steps(facts: Facts) -> Facts:
    return [each for each in facts if each["event"] == "step"]


def short(config: TrainConfig, count: int) -> TrainConfig:
    return replace(config, phases=(replace(config.phases[0], steps=count),))


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_held_out_organs_are_found(trained: Path) -> None:
    facts = LogTail(trained / LOG).read()
    losses = [each["loss"] for each in steps(facts)]
    assert len(losses) == 3 and losses[-1] < 0.65 * losses[0]
    scores = [each["dsc"] for each in facts if each["event"] == "validation"]
    assert len(scores) == 2 and set(scores[-1]) == {"liver", "spleen"}
    assert sum(scores[-1].values()) / 2 > 0.6


def test_a_run_whose_last_step_outlasts_its_time_is_done_and_no_more(
    tmp_path: Path, cases: Path, cache: Path
) -> None:
    """It told 483 %."""
    config = short(tiny_config(cases), 3)
    phases = tuple(replace(phase, minutes=1e-6) for phase in 2 * config.phases)
    Trainer(replace(config, phases=phases), tmp_path / "run", cache).run()
    facts = steps(LogTail(tmp_path / "run" / LOG).read())
    assert [each["phase_fraction"] for each in facts] == [1.0, 1.0]
    assert [each["run_fraction"] for each in facts] == [0.5, 1.0]


def test_a_run_shorter_than_a_report_has_a_loss(tmp_path: Path, cases: Path, cache: Path) -> None:
    Trainer(short(tiny_config(cases), 3), tmp_path / "run", cache).run()
    facts = steps(LogTail(tmp_path / "run" / LOG).read())
    assert [each["step"] for each in facts] == [3] and facts[0]["loss"] > 0
    assert facts[0]["phase_fraction"] == 1.0


def test_a_finished_run_leaves_weights_and_a_checkpoint(trained: Path, cases: Path) -> None:
    assert {p.name for p in trained.iterdir()} == {CHECKPOINT, WEIGHTS, LOG}
    exported = load_file(trained / WEIGHTS)
    network = build_network(NETWORK)
    network.load_state_dict({k: v.float() for k, v in exported.items()})
    state = load_checkpoint(trained / CHECKPOINT)
    assert same({k: v.half() for k, v in state["ema"].items()}, exported)
    assert not same(state["network"], state["ema"])
    assert state["progress"]["total_steps"] == 60 and state["progress"]["phase"] == 1


def test_progress_says_where_the_run_is(trained: Path) -> None:
    facts = steps(LogTail(trained / LOG).read())
    assert [each["step"] for each in facts] == [20, 40, 60]
    assert [each["phase_fraction"] for each in facts] == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-3)
    assert facts[0]["seconds_left"] > 0 and facts[-1]["seconds_left"] == 0.0
    assert facts[0]["run_seconds_left"] == facts[0]["seconds_left"]
    for each in facts:
        assert each["seconds_per_step"] > each["data_seconds"] > 0 and each["skipped"] == 0
        assert 0 < each["learning_rate"] <= 1e-2


def test_a_run_is_repeatable(cases: Path, cache: Path, tmp_path: Path) -> None:
    config = short(tiny_config(cases, validate_every=0), 4)
    runs = [Trainer(config, tmp_path / name, cache) for name in ("a", "b")]
    other = Trainer(replace(config, seed=1), tmp_path / "c", cache)
    for trainer in (*runs, other):
        trainer.run()
    assert same(weights_of(runs[0]), weights_of(runs[1]))
    assert not same(weights_of(runs[0]), weights_of(other))


def test_a_finished_run_is_not_run_again(trained: Path, cases: Path, cache: Path) -> None:
    told: Facts = []
    before = (trained / CHECKPOINT).stat().st_mtime_ns
    scores = Trainer(tiny_config(cases), trained, cache, report=told.append).run()
    assert set(scores) == {"liver", "spleen"} and [t["event"] for t in told] == ["resume"]
    assert (trained / CHECKPOINT).stat().st_mtime_ns == before


class Stop(Exception):
    """Ends a run from outside, as a signal would."""


def stop_after(step: int) -> Any:
    def report(facts: dict[str, Any]) -> None:
        if facts["event"] == "step" and facts["step"] >= step:
            raise Stop

    return report


def test_a_stopped_run_goes_on_where_its_checkpoint_is(
    cases: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 4)
    config = short(tiny_config(cases, checkpoint_minutes=0.0, validate_every=6), 12)
    with pytest.raises(Stop):
        Trainer(config, tmp_path, cache, report=stop_after(8)).run()
    saved = load_checkpoint(tmp_path / CHECKPOINT)["progress"]
    assert saved["step"] == 7 and len(saved["history"]) == 1
    told: Facts = []
    again = Trainer(config, tmp_path, cache, report=told.append)
    assert again.progress.total_steps == 7
    again.run()
    assert told[0] == {"event": "resume", "phase": 0, "step": 7, "total_steps": 7}
    assert [each["step"] for each in steps(told)] == [8, 12]
    assert load_checkpoint(tmp_path / CHECKPOINT)["progress"]["total_steps"] == 12


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_killed_again_and_again_it_still_arrives(cases: Path, cache: Path, tmp_path: Path) -> None:
    """Killed at any moment, mostly while saving; nothing there is ever half of something."""
    config = short(tiny_config(cases, checkpoint_minutes=0.0, validate_every=3), 24)
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "flare_core", "train", str(write_config(tmp_path / "c.json", config)),
        "-o", str(out), "--cache", str(cache), "--progress", "json",
    ]  # fmt: skip
    reached = 0
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = 0
            for line in process.stdout:
                told += json.loads(line)["event"] == "validation"
                if told == 2:
                    os.kill(process.pid, signal.SIGKILL)
        saved = load_checkpoint(out / CHECKPOINT)["progress"]
        assert reached + 3 <= saved["total_steps"] == saved["step"] < 24
        reached = saved["total_steps"]
        if (out / WEIGHTS).exists():
            assert set(load_file(out / WEIGHTS)) == set(build_network(NETWORK).state_dict())
    Trainer(config, out, cache).run()
    assert load_checkpoint(out / CHECKPOINT)["progress"]["total_steps"] == 24
    assert {p.name for p in out.iterdir()} == {CHECKPOINT, WEIGHTS, LOG}
    assert [each["event"] for each in LogTail(out / LOG).read()].count("resume") == 2


def test_what_a_kill_left_half_written_is_removed(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    for name in (".0123abcd.part.checkpoint.pt", ".0123abcd.part.weights.safetensors"):
        (folder / name).write_bytes(b"half")
    (folder / "notes.txt").touch()
    Trainer(tiny_config(cases), folder, cache)
    assert {p.name for p in folder.iterdir()} == {CHECKPOINT, WEIGHTS, LOG, "notes.txt"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network": replace(NETWORK, features_per_stage=(8, 12))}, "network"),
        ({"organs": ("spleen", "liver")}, "organs"),
    ],
)
def test_a_checkpoint_that_means_something_else_is_refused(
    trained: Path, cases: Path, cache: Path, changes: dict, named: str
) -> None:
    with pytest.raises(InputError) as error:
        Trainer(tiny_config(cases, **changes), trained, cache)
    assert error.value.parts[1] == f"a checkpoint with another {named}"


def test_whom_a_run_has_learnt_from_is_not_held_out_later(
    trained: Path, cases: Path, cache: Path
) -> None:
    with pytest.raises(InputError, match="may have learnt from them") as error:
        Trainer(tiny_config(cases, held_out_patients=("bert", "carl")), trained, cache)
    assert error.value.parts[0] == "held_out_patients" and error.value.parts[1].startswith("bert,")


def test_what_changed_on_the_way_is_told(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    told: Facts = []
    config = tiny_config(cases, threads=1, validate_every=3)
    Trainer(config, folder, cache, report=told.append)
    Trainer(replace(config, seed=7, edited_weight=1.0), folder, cache, report=told.append)
    notes = [each["text"] for each in told if each["event"] == "note"]
    assert len(notes) == 1 and notes[0].startswith("edited_weight, seed: not as before")


@pytest.mark.parametrize("strategy", ["supervised", "mean_teacher", "cross_pseudo"])
def test_a_run_with_stops_is_the_run_without(
    cases: Path, cache: Path, tmp_path: Path, strategy: str
) -> None:
    """To the bit: patches, rates, optimiser, running mean, further networks, scores."""
    config = tiny_config(
        cases, strategy={"kind": strategy}, optimiser="sgd", rate_decay="poly", validate_every=3,
        batch_size=2, one_set_batches=True,
    )  # fmt: skip
    phase = replace(config.phases[0], steps=4)
    config = replace(config, phases=(phase, replace(phase, steps=2)))
    whole = Trainer(config, tmp_path / "whole", cache)
    whole.run()
    for steps_more in (1, 2, 2, 9):
        asked = [*[False] * (steps_more - 1), True]
        parts = Trainer(config, tmp_path / "parts", cache, asked=partial(asked.pop, 0))
        with nullcontext() if steps_more == 9 else pytest.raises(Cancelled):
            parts.run()
    assert same(weights_of(whole), weights_of(parts))
    assert same(whole.mean.network.state_dict(), parts.mean.network.state_dict())
    assert same(whole.training_step.extra.state_dict(), parts.training_step.extra.state_dict())
    assert whole.progress.history == parts.progress.history and len(parts.progress.history) == 3


def test_the_factor_of_float16_losses_is_kept(
    cases: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graphics processor's, on which nothing is run here: a processor takes float32 instead."""
    config = tiny_config(cases, precision="fp16", device="cpu")
    half = replace(choose_runtime("cpu", "float32", 1), precision="fp16")
    monkeypatch.setattr("flare_core.train.loop.choose_runtime", lambda *_: half)
    first = Trainer(config, tmp_path, cache)
    state = first.scaler.state_dict() | {"scale": 1024.0, "_growth_tracker": 77}
    first.scaler.load_state_dict(state)
    first._save()
    assert Trainer(config, tmp_path, cache).scaler.state_dict() == state
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    for odd in ({"scale": math.nan}, {"scale": 1.0}, [], {**state, "scale": "x"}):
        torch.save({**saved, "scaler": odd}, tmp_path / CHECKPOINT)
        with pytest.raises(InputError, match="a part scaler"):
            Trainer(config, tmp_path, cache)
    del saved["scaler"]  # of a version before
    torch.save(saved, tmp_path / CHECKPOINT)
    assert Trainer(config, tmp_path, cache).scaler.state_dict()["_growth_tracker"] == 0


def test_longer_phases_may_continue_a_checkpoint(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    first = tiny_config(cases).phases[0]
    second = Phase((10.0, 8.0, 8.0), (8, 12, 12), steps=2)
    trainer = Trainer(tiny_config(cases, phases=(first, second)), folder, cache)
    trainer.run()
    assert trainer.progress.total_steps == 62
    assert trainer.progress.history[-1]["step"] == 62


def test_a_damaged_checkpoint_is_told_and_kept(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    data = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=CHECKPOINT):
        Trainer(tiny_config(cases), folder, cache)
    assert (folder / CHECKPOINT).stat().st_size == len(data) * 2 // 3


def test_an_optimiser_of_other_weights_is_refused(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    state = load_checkpoint(folder / CHECKPOINT)
    kept, groups = state["optimiser"]["state"], state["optimiser"]["param_groups"]
    for other in (
        {"state": kept, "param_groups": []},
        {"state": kept, "param_groups": [{"params": [0]}]},
        {"state": kept | {0: {"step": "x"}}, "param_groups": groups},
        {"state": kept | {0: kept[0] | {"exp_avg": torch.ones(2)}}, "param_groups": groups},
    ):
        torch.save({**state, "optimiser": other}, folder / CHECKPOINT)
        with pytest.raises(InputError, match="optimiser belongs to other weights"):
            Trainer(tiny_config(cases), folder, cache)
    for text in ("{}", '{"network": 5, "strategy": "x"}'):
        torch.save({**state, "config": text}, folder / CHECKPOINT)
        with pytest.raises(InputError, match="another network"):
            Trainer(tiny_config(cases), folder, cache)


def test_a_run_can_start_from_the_weights_of_another(
    trained: Path, cases: Path, cache: Path, tmp_path: Path
) -> None:
    for name in (CHECKPOINT, WEIGHTS):
        config = tiny_config(cases, init_from=str(trained / name))
        trainer = Trainer(config, tmp_path / name, cache)
        expected = {k: v.float() for k, v in load_file(trained / WEIGHTS).items()}
        for got in (trainer.network.state_dict(), trainer.mean.network.state_dict()):
            assert all(torch.allclose(got[k], expected[k], atol=1e-3) for k in expected)
        assert trainer.progress.total_steps == 0
    other = replace(NETWORK, features_per_stage=(8, 12))
    with pytest.raises(InputError, match="conv.weight"):
        config = tiny_config(cases, network=other, init_from=str(trained / WEIGHTS))
        Trainer(config, tmp_path / "other", cache)


def test_a_run_in_fp16_on_a_processor_trains_in_float32_and_says_so(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    told: Facts = []
    config = tiny_config(cases, precision="fp16")
    trainer = Trainer(config, tmp_path / "run", cache, report=told.append)
    assert [each["text"] for each in told if each["event"] == "note"] == [*trainer.runtime.notes]
    assert 0 < trainer.optimiser_step([patch(0.0)], 1e-3) < 10
    assert "fp16, so float32" in trainer.runtime.notes[0]


def patch(value: float) -> Patch:
    classes = torch.zeros(1, 1, 12, 12, 12, dtype=torch.uint8)
    classes[:, :, 3:9, 3:9, 3:9] = 1
    image = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0)) + value
    return Patch(image, classes, (True, True, True))


@pytest.fixture
def trainer(cases: Path, cache: Path, tmp_path: Path) -> Trainer:
    return Trainer(tiny_config(cases), tmp_path / "run", cache)


def test_a_step_moves_weights_and_their_mean_at_the_given_rate(trainer: Trainer) -> None:
    start, loss = weights_of(trainer), trainer.optimiser_step([patch(0.0)], 1e-3)
    moved = weights_of(trainer)
    assert 0 < loss < 10 and not same(start, moved)
    largest = max(float((moved[k] - start[k]).abs().max()) for k in start)
    assert largest <= 1.1e-3  # Adam's first step is as long as the rate
    mean = trainer.mean.network.state_dict()
    assert not same(mean, start)


def test_a_batch_is_the_mean_of_its_patches(trainer: Trainer) -> None:
    one, other = trainer.training_step(patch(0.0)).item(), trainer.training_step(patch(2.0)).item()
    assert trainer.optimiser_step([patch(0.0), patch(2.0)], 1e-3) == pytest.approx(
        (one + other) / 2
    )


def test_a_step_without_a_finite_gradient_is_skipped(trainer: Trainer) -> None:
    start = weights_of(trainer)
    trainer.optimiser_step([patch(float("nan"))], 1e-3)
    assert trainer.progress.skipped == 1
    assert same(start, weights_of(trainer)) and same(start, trainer.mean.network.state_dict())
    trainer.optimiser_step([patch(0.0)], 1e-3)
    assert trainer.progress.skipped == 1 and not same(start, weights_of(trainer))


def test_a_run_that_diverged_ends_with_a_reason(trainer: Trainer) -> None:
    trainer.skipped_in_a_row = MOST_SKIPPED - 1
    with pytest.raises(InputError, match="no finite gradient"):
        trainer.optimiser_step([patch(float("nan"))], 1e-3)


def test_unannotated_organs_do_not_teach_that_they_are_background(trainer: Trainer) -> None:
    """The spleen's own output must not be pushed down where a case does not annotate it."""
    nothing = replace(patch(0.0), classes=torch.zeros_like(patch(0.0).classes))
    partial = replace(nothing, annotated=(True, True, False))
    head = trainer.network.decoder.seg_layers[-1]
    for one, sign in ((nothing, 1), (partial, -1)):
        with torch.no_grad():
            head.bias.copy_(torch.tensor([0.0, 0.0, 3.0]))  # it says spleen everywhere
        trainer.optimiser.zero_grad()
        trainer.training_step(one).backward()
        assert sign * float(head.bias.grad[2]) > 0


@pytest.mark.skipif(not cpu_has_bf16(), reason="bf16 is emulated here, and slow")
def test_bf16_learns_as_float32_does(cases: Path, cache: Path, tmp_path: Path) -> None:
    found = {}
    for precision in ("bf16", "float32"):
        config = short(tiny_config(cases, precision=precision, validate_every=0), 40)
        told: Facts = []
        trainer = Trainer(config, tmp_path / precision, cache, report=told.append)
        trainer.run()
        found[precision] = [each["loss"] for each in steps(told)]
        assert told[-1]["skipped"] == 0 and found[precision][1] < 0.9 * found[precision][0]
        assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.05)


def test_bf16_that_would_be_emulated_is_not_and_a_note_says_so(
    cases: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flare_core.segment.runtime.cpu_has_bf16", lambda: False)
    told: Facts = []
    config = tiny_config(cases, precision="bf16", device="cpu")
    trainer = Trainer(config, tmp_path / "run", cache, report=told.append)
    assert trainer.runtime.precision == "float32"
    assert [each["event"] for each in told] == ["note"] and "float32" in told[0]["text"]


def test_without_held_out_scans_nothing_is_validated(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    config = short(tiny_config(cases, held_out_patients=(), validate_every=1), 2)
    assert Trainer(config, tmp_path, cache).run() == {}
    assert [each["event"] for each in LogTail(tmp_path / LOG).read()] == ["step"]


def test_a_time_limit_ends_a_phase_with_a_validation(
    cases: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 100_000, 2))  # every look at the clock is 2 s later
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    phase = Phase(SPACING_MM, (12, 24, 24), steps=10_000, minutes=0.5)
    trainer = Trainer(tiny_config(cases, phases=(phase,), validate_every=1000), tmp_path, cache)
    trainer.run()
    assert 2 <= trainer.progress.total_steps <= 10
    assert trainer.progress.history[-1]["step"] == trainer.progress.total_steps


def test_a_run_folder_that_cannot_be_is_refused(cases: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="folder of the run"):
            Trainer(tiny_config(cases), folder, cache)


def test_threads_are_those_of_the_configuration(cases: Path, cache: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        Trainer(tiny_config(cases, threads=2), tmp_path, cache)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
