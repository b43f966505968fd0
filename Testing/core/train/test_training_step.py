from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_core.segment.runtime import Runtime
from flare_core.train.batches import Patch
from flare_core.train.strategies import build_strategy
from flare_core.train.training_step import TrainingStep
from tiny_training import NETWORK, tiny_config

CPU = Runtime("cpu", "float32", 1)


def training(kind: str = "mean_teacher", **changes: object) -> TrainingStep:
    torch.manual_seed(0)
    config = tiny_config(Path(), strategy={"kind": kind}, **changes)
    return TrainingStep(config, build_strategy(config.strategy), CPU).train()


IMAGE = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(1))


def test_the_student_starts_the_same_whatever_the_strategy() -> None:
    a, b = (training(kind).student.state_dict() for kind in ("supervised", "mean_teacher"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_answer_is_that_of_the_product_and_leaves_no_trace() -> None:
    """Also with folded voxels, whose logits come in another order while training."""
    made = training(network=replace(NETWORK, space_to_depth=(1, 2, 2)))
    answer = made.answer(made.student, IMAGE)
    assert answer.shape == (1, 3, 12, 12, 12) and not answer.requires_grad
    assert made.student.training and made.student.network.decoder.training
    with torch.no_grad():
        assert torch.equal(answer, made.student.eval()(IMAGE))


def test_what_is_trained_is_what_wants_a_gradient() -> None:
    counts = {kind: len(training(kind).trained()) for kind in ("supervised", "cross_pseudo")}
    assert len(training("mean_teacher").trained()) == counts["supervised"] < counts["cross_pseudo"]


@pytest.mark.parametrize("deep", [True, False])
def test_weights_reach_the_loss(deep: bool) -> None:
    made = training("supervised", network=replace(NETWORK, deep_supervision=deep))
    classes = (IMAGE > 0.5).to(torch.uint8)
    patch = Patch(IMAGE, classes, (True, True, True))
    plain = float(made(patch).detach())
    alike = float(made(replace(patch, weights=torch.ones_like(IMAGE))).detach())
    heavy = float(made(replace(patch, weights=torch.full_like(IMAGE, 3.0))).detach())
    assert alike == pytest.approx(plain, rel=1e-5) and heavy > 1.5 * plain


def test_pooled_background_changes_the_loss_of_partly_labelled_patches_alone() -> None:
    classes = torch.zeros(1, 1, 12, 12, 12, dtype=torch.uint8)
    classes[..., :5] = 1
    losses = {}
    for way in ("sum", "max"):
        made = training("supervised", unannotated=way)
        for annotated in ((True, True, True), (True, True, False)):
            patch = Patch(IMAGE, classes, annotated)
            losses[way, annotated[2]] = float(made(patch).detach())
    assert losses["sum", True] == losses["max", True]
    assert abs(losses["max", False] - losses["sum", False]) > 0.01
