"""What all strategies have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flare_core.errors import InputError
from flare_core.networks import build_network
from flare_core.train.batches import Patch
from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.config_file import config_text, load_config
from flare_core.train.loop import CHECKPOINT, WEIGHTS, Trainer
from flare_core.train.strategies import STRATEGIES, build_strategy
from flare_core.train.strategies.candidate import Candidate
from flare_core.train.training_step import TrainingStep
from tiny_training import NETWORK, make_cases, tiny_config, write_config

KINDS = sorted(STRATEGIES)


class Stop(Exception):
    """Ends a run from outside, as a signal would."""


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cases(tmp_path_factory.mktemp("partial"), {"bert": ("spleen",)})


def config_of(kind: str, data: Path, tmp_path: Path, **changes: Any):
    reads = build_strategy({"kind": kind}).uses_unlabelled
    bare = make_cases(tmp_path / "bare") if reads else None
    fields = {
        "strategy": {"kind": kind},
        "unlabelled": (str(bare),) if bare else (),
        "validate_every": 0,
        "checkpoint_minutes": 0.0,
        "batch_size": 2,
    }
    config = tiny_config(data, **(fields | changes))
    return replace(config, phases=(replace(config.phases[0], steps=4),))


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.training_step.state_dict().items()}


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, partial: Path, tmp_path_factory: Any, cache: Path) -> Any:
    """A strategy's run without a stop; (kind, its folder, trainer)."""
    folder = tmp_path_factory.mktemp(request.param)
    trainer = Trainer(config_of(request.param, partial, folder), folder / "whole", cache)
    trainer.run()
    return request.param, folder, trainer


def test_a_stopped_run_arrives_at_the_same_weights(
    whole: tuple[str, Path, Trainer], cache: Path, tmp_path: Path
) -> None:
    """Stopped after any step: the strategy's own networks come back with the student's."""
    _, _, alone = whole
    config = alone.config
    again = Trainer(config, tmp_path / "parts", cache)
    again._run_steps = stop_in(again, 2)  # type: ignore[method-assign]
    with pytest.raises(Stop):
        again.run()
    for _ in range(2):  # goes on, and is then found finished
        again = Trainer(config, tmp_path / "parts", cache)
        again.run()
    expected, got = weights_of(alone), weights_of(again)
    assert set(expected) == set(got)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def stop_in(trainer: Trainer, count: int) -> Callable[..., None]:
    steps = trainer._run_steps

    def run(*arguments: Any) -> None:
        step = trainer.optimiser_step

        def counted(*inner: Any) -> float:
            if trainer.progress.step == count:
                raise Stop
            return step(*inner)

        trainer.optimiser_step = counted  # type: ignore[method-assign]
        steps(*arguments)

    return run


def test_the_exported_weights_are_the_plain_network(whole: tuple[str, Path, Trainer]) -> None:
    kind, folder, trainer = whole
    exported = load_file(folder / "whole" / WEIGHTS)
    assert set(exported) == set(build_network(NETWORK).state_dict())
    state = load_checkpoint(folder / "whole" / CHECKPOINT)
    extra = build_strategy({"kind": kind}).networks(trainer.config)
    assert {name.partition(".")[0] for name in state["strategy"]} == set(extra)


@pytest.mark.parametrize("kind", KINDS)
def test_every_strategy_learns_from_labels(
    kind: str, training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training({"kind": kind})
    optimiser = torch.optim.Adam(made.trained(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = made(patch())
        loss.backward()
        optimiser.step()
        made.strategy.after_step(made)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_organ_that_is_not_annotated_is_not_pushed_into_the_background(
    kind: str, training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    """Of class 2 nothing is said: where the network finds it, it may stay."""
    made = training({"kind": kind})
    for network in (made.student, *made.extra.values()):
        head = getattr(network, "decoder", network).seg_layers[-1]
        with torch.no_grad():
            head.bias.copy_(torch.tensor([0.0, 0.0, 4.0]))
    head = made.student.decoder.seg_layers[-1]
    signs = []
    for annotated in ((True, True, False), (True, True, True)):
        made.zero_grad()
        made.steps = 10_000
        nothing = replace(
            patch(annotated), classes=torch.zeros_like(patch().classes), annotated=annotated
        )
        made(nothing).backward()
        signs.append(float(head.bias.grad[2]))
    assert signs[0] <= 0 < signs[1]


@pytest.mark.parametrize("kind", KINDS)
def test_select_answers_every_candidate_with_a_reason(
    kind: str, candidate: Callable[..., Candidate]
) -> None:
    cases = [
        candidate("a", 0.1, liver={}, spleen={}),
        candidate("b", 0.9, liver={"confidence": 0.1, "fold_agreement": 0.1, "disagreement": 1.5}),
        candidate("c"),
        candidate("d", liver={"confidence": None, "fold_agreement": None, "border_entropy": None}),
    ]
    decisions = build_strategy({"kind": kind}).select(cases)
    assert [each.case for each in decisions] == ["a", "b", "c", "d"]
    assert all(each.reason for each in decisions) and not decisions[2].accepted
    assert build_strategy({"kind": kind}).select([]) == ()


def test_settings_come_from_the_configuration(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, strategy={"kind": "mean_teacher", "decay": 0.9})
    assert build_strategy(config.strategy).decay == 0.9
    again = load_config(write_config(tmp_path / "c.json", config))
    assert again.strategy == config.strategy and config_text(again) == config_text(config)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "strategy: kind"),
        ({"kind": "magic"}, "magic"),
        ({"kind": "confident", "least": 1.0}, "least"),
        ({"kind": "confident", "least_confidence": 1.5}, "least_confidence"),
        ({"kind": "mean_teacher", "decay": 1.0}, "decay"),
        ({"kind": "mean_teacher", "decay": "slow"}, "decay"),
        ({"kind": "supervised", "weight": 1.0}, "weight"),
    ],
)
def test_illegal_settings_are_refused_when_the_configuration_is_read(
    settings: dict, named: str, tmp_path: Path
) -> None:
    file = write_config(tmp_path / "c.json", tiny_config(tmp_path, strategy=settings))
    with pytest.raises(InputError, match=named):
        load_config(file)


def test_unlabelled_scans_need_a_strategy_that_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    with pytest.raises(InputError, match="bare scans"):
        load_config(write_config(file, tiny_config(tmp_path, unlabelled=("x",))))
    reads = tiny_config(tmp_path, unlabelled=("x",), strategy={"kind": "cross_pseudo"})
    assert load_config(write_config(file, reads))
