"""A training that is asked to stop loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_core.errors import Cancelled
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.config import TrainConfig
from flare_core.train.loop import CHECKPOINT, Trainer
from tiny_training import tiny_config


def config_of(cases: Path, validate_every: int) -> TrainConfig:
    """A training of nine steps that saves by itself only at its end."""
    config = tiny_config(cases, validate_every=validate_every, checkpoint_minutes=60.0)
    return replace(config, phases=(replace(config.phases[0], steps=9),))


def same_weights(one: Trainer, other: Trainer) -> bool:
    a, b = one.network.state_dict(), other.network.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_is_asked_to_stop_goes_on_at_that_very_step(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    config = config_of(cases, validate_every=4)
    whole = Trainer(config, tmp_path / "whole", cache)
    whole.run()
    answers = iter([False] * 4 + [True])
    stopped = Trainer(config, tmp_path / "run", cache, asked=lambda: next(answers))
    with pytest.raises(Cancelled):
        stopped.run()
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["progress"]["step"] == 5
    again = Trainer(config, tmp_path / "run", cache)
    assert again.progress.step == 5 and len(again.progress.history) == 1
    again.run()
    assert same_weights(whole, again)
    assert [row["step"] for row in again.progress.history] == [4, 8, 9]


def test_whoever_watches_may_stop_it_and_loses_nothing(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    def stop(facts: dict[str, Any]) -> None:
        raise Cancelled(facts["event"])

    config = config_of(cases, validate_every=3)
    with pytest.raises(Cancelled, match="validation"):
        Trainer(config, tmp_path, cache, report=stop).run()
    saved = load_checkpoint(tmp_path / CHECKPOINT)["progress"]
    assert saved["step"] == 3 and len(saved["history"]) == 1
