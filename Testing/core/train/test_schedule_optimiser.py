from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flare_core.train.loop import Trainer
from flare_core.train.schedule import optimiser_of
from tiny_training import tiny_config


def test_sgd_is_nesterovs_with_the_configurations_momentum() -> None:
    config = tiny_config(Path(), optimiser="sgd", momentum=0.9, weight_decay=0.0)
    weight = torch.nn.Parameter(torch.ones(1))
    made = optimiser_of(config, [weight])
    for group in made.param_groups:
        group["lr"] = 0.1
    weight.grad = torch.ones(1)
    made.step()
    assert float(weight.detach()) == pytest.approx(1 - 0.1 * 1.9)  # the first step looks ahead


def test_adamw_is_the_default() -> None:
    made = optimiser_of(tiny_config(Path()), [torch.nn.Parameter(torch.ones(1))])
    assert isinstance(made, torch.optim.AdamW)


def test_a_run_with_sgd_learns_and_goes_on_from_its_checkpoint(
    cases: Path, cache: Path, tmp_path: Path
) -> None:
    config = tiny_config(cases, optimiser="sgd", momentum=0.9, rate_decay="poly", validate_every=0)
    told = []
    Trainer(config, tmp_path / "run", cache, report=told.append).run()
    losses = [facts["loss"] for facts in told if facts["event"] == "step"]
    assert losses[-1] < 0.9 * losses[0]
    again = Trainer(config, tmp_path / "run", cache)
    assert again.progress.phase == 1 and again.optimiser.state
