from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flare_core import cli
from flare_core.cli import train
from flare_core.cli.train import progress_line
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.config_file import load_config
from flare_core.train.loop import CHECKPOINT, WEIGHTS
from tiny_training import make_cases, tiny_config, write_config

STEP = {
    "event": "step", "phase": 1, "step": 40, "loss": 0.51234, "skipped": 0, "learning_rate": 1e-3,
    "seconds_per_step": 0.804, "data_seconds": 0.031, "phase_fraction": 0.4, "seconds_left": 300.0,
    "run_seconds_left": None,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    run = tiny_config(make_cases(tmp_path / "cases"), validate_every=20)
    return write_config(
        tmp_path / "tiny.json", replace(run, phases=(replace(run.phases[0], steps=20),))
    )


def test_train_writes_weights_and_says_where(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert cli.main(["train", str(config), "-o", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == f"weights: {out / WEIGHTS}" and (out / WEIGHTS).is_file()
    assert "step 20  loss" in shown.err and "held-out DSC after 20 steps: mean" in shown.err
    assert (out / "cache").is_dir()


def test_programs_get_json_lines_and_a_second_run_goes_on(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(config), "-o", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    assert cli.main([*words, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events] == ["step", "validation", "done"]
    assert Path(events[-1]["weights"]).is_file() and set(events[-1]["dsc"]) == {"liver", "spleen"}
    assert not (tmp_path / "run" / "cache").exists()
    assert cli.main([*words, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events] == ["resume", "done"]


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process there")
def test_a_system_that_shuts_down_costs_no_step(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_config(config)
    write_config(config, replace(run, validate_every=7))

    def end(facts: dict[str, Any]) -> None:
        if facts["event"] == "validation":
            os.kill(os.getpid(), signal.SIGTERM)

    words = ["train", str(config), "-o", str(tmp_path / "run"), "--progress", "none"]
    monkeypatch.setattr(train, "progress_line", end)
    assert cli.main(words) == 130
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["progress"]["total_steps"] == 7
    monkeypatch.undo()
    assert cli.main(words) == 0
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["progress"]["total_steps"] == 20


def test_silence_can_be_asked_for(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(config), "-o", str(tmp_path / "run"), "--progress", "none"]
    assert cli.main(words) == 0
    assert not capsys.readouterr().err


def test_mistakes_are_told_in_four_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", str(tmp_path / "absent.json"), "-o", str(tmp_path / "run")]) == 2
    assert "to do:" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_line_for_people() -> None:
    line = progress_line(STEP)
    assert line == (
        "phase 2  step 40  loss 0.512  0.80 s/step (data 0.03)  40 %  5 min left in phase"
    )
    whole = progress_line({**STEP, "run_seconds_left": 1200.0, "skipped": 3, "loss": None})
    assert "loss not finite" in whole and "3 skipped" in whole and whole.endswith("20 min left")


def test_lines_about_notes_validation_and_resuming() -> None:
    assert progress_line({"event": "note", "text": "float32 instead"}) == "float32 instead"
    assert "nothing to score" in progress_line({"event": "validation", "step": 5, "dsc": {}})
    line = progress_line({"event": "resume", "phase": 0, "step": 39, "total_steps": 39})
    assert line == "going on with phase 1 after 39 of its steps"
