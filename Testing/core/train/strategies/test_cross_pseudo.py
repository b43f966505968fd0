from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.networks.small_specs import KINDS
from flare_core.errors import InputError
from flare_core.train.batches import Patch
from flare_core.train.config_file import load_config
from flare_core.train.strategies.cross_pseudo import WITH_DECODER
from flare_core.train.training_step import TrainingStep
from tiny_training import NETWORK, tiny_config, write_config

LABELLED, PARTLY, BARE = (True, True, True), (True, True, False), (True, False, False)
SETTINGS = {"kind": "cross_pseudo", "ramp_steps": 0, "weight": 0.5, "least_probability": 0.0}
FOLDED = replace(NETWORK, space_to_depth=(1, 2, 2))


@pytest.mark.parametrize("network", [NETWORK, FOLDED])
def test_the_students_decoder_answers_as_the_student_does(
    network: object, training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(SETTINGS, network=network)
    one, other = made.strategy._answers(patch().image, made)
    alone = made.levels(patch().image)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one.levels, alone, strict=True))
    answer = made.answer(made.student, patch().image)
    assert torch.allclose(one.finest, answer, atol=1e-5) and not one.finest.requires_grad
    assert not torch.allclose(other.levels[0], one.levels[0], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_a_decoder_to_double_is_refused_before_training(
    kind: str, training: Callable[..., TrainingStep], patch: Callable[..., Patch], tmp_path: Path
) -> None:
    """It ended in a traceback once all scans had been resampled, or in a round labelled."""
    network = replace(NETWORK, kind=kind)
    config = tiny_config(tmp_path, network=network, strategy=SETTINGS)
    if kind in WITH_DECODER:
        load_config(write_config(tmp_path / "c.json", config))
        training(SETTINGS, network=network)(patch(PARTLY)).backward()
        return
    with pytest.raises(InputError, match=f"cross_pseudo for a network {kind}"):
        load_config(write_config(tmp_path / "c.json", config))


def test_both_decoders_learn_from_labels(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training(SETTINGS), patch(LABELLED)
    answers = made.strategy._answers(one.image, made)
    expected = sum(made.loss(each.levels, one) for each in answers) / 2
    loss = made(one)
    assert torch.allclose(loss, expected, rtol=1e-6)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in made.extra.parameters())


def test_each_decoder_learns_from_the_other_on_a_bare_scan(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training(SETTINGS), patch(BARE)
    a, b = made.strategy._answers(one.image, made)
    expected = 0.0
    for levels, other in ((a.levels, b), (b.levels, a)):
        classes = other.finest.argmax(dim=1, keepdim=True).to(torch.uint8)
        told = replace(one, classes=classes, annotated=LABELLED)
        expected += 0.5 * float(made.loss(levels, told).detach()) / 2
    assert float(made(one)) == pytest.approx(expected, rel=1e-6)


def test_a_partly_labelled_scan_teaches_both_ways(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, alone, one = training(SETTINGS), training(SETTINGS | {"weight": 0.0}), patch(PARTLY)
    answers = alone.strategy._answers(one.image, alone)
    expected = sum(float(alone.loss(each.levels, one).detach()) for each in answers) / 2
    assert float(alone(one)) == pytest.approx(expected, rel=1e-6)
    assert float(made(one)) > expected + 0.05


@pytest.mark.parametrize(("least", "learns"), [(0.0, True), (0.9, False)])
def test_decoders_that_are_sure_of_nothing_teach_each_other_nothing(
    least: float, learns: bool, training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(SETTINGS | {"least_probability": least})
    for decoder in (made.student.decoder, made.extra["decoder"]):
        for parameter in decoder.seg_layers.parameters():
            torch.nn.init.zeros_(parameter)  # a third for each class
    assert (float(made(patch(BARE)).detach()) > 0) == learns


def test_a_network_with_two_decoders_teaches_itself_and_needs_none_beside(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(SETTINGS, network=replace(NETWORK, kind="dual_decoder_unet"))
    assert len(made.extra) == 0
    one, other = made.strategy._answers(patch().image, made)
    assert not torch.allclose(other.levels[0], one.levels[0], atol=1e-3)
    made(patch(BARE)).backward()
    for decoder in (made.student.decoder, made.student.second):
        assert any(bool(p.grad.abs().sum() > 0) for p in decoder.parameters() if p.grad is not None)
