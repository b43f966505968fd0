from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from flare_core.train.batches import Patch
from flare_core.train.losses import level_targets, mean_over_levels, soft_loss
from flare_core.train.strategies.candidate import Candidate
from flare_core.train.strategies.soft_labels import SoftLabels
from flare_core.train.training_step import TrainingStep


def soft(one: Patch, share: float) -> Patch:
    second = torch.full_like(one.classes, 2)
    return replace(one, second=second, share=torch.full(one.image.shape, share))


def test_a_case_without_soft_labels_teaches_its_labels(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training({"kind": "soft_labels"})
    assert float(made(patch())) == float(made.loss(made.levels(patch().image), patch()))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_mixes_doubt_and_label(
    weight: float, training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training({"kind": "soft_labels", "soft": weight}), soft(patch(), 0.7)
    levels = made.levels(one.image)
    spec, count = made.config.network, len(levels)
    parts = [level_targets(t, spec, count) for t in (one.classes, one.second, one.share)]
    doubt = mean_over_levels(
        [soft_loss(*each, one.annotated) for each in zip(levels, *parts, strict=True)]
    )
    expected = weight * float(doubt) + (1 - weight) * float(made.loss(levels, one))
    assert float(made(one)) == pytest.approx(expected, rel=1e-6)


def test_a_student_becomes_as_doubtful_as_its_teacher(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training({"kind": "soft_labels", "soft": 1.0}), soft(patch(), 0.7)
    optimiser = torch.optim.Adam(made.trained(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        made(one).backward()
        optimiser.step()
    p = made.answer(made.student, one.image).softmax(dim=1)[0]
    organ = one.classes[0, 0] == 1
    assert float(p[1][organ].mean()) == pytest.approx(0.7, abs=0.08)
    assert float(p[2][organ].mean()) == pytest.approx(0.3, abs=0.08)


def test_doubtful_cases_are_accepted_and_impossible_ones_are_not(
    candidate: Callable[..., Candidate],
) -> None:
    case = candidate(liver={"confidence": 0.4}, spleen={"volume_plausible": False})
    (decision,) = SoftLabels(weight=0.5).select([case])
    assert decision.organs == ("liver",) and decision.weight == 0.5
