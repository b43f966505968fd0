from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from flare_core.train.batches import Patch
from flare_core.train.strategies.second_opinion import ramp
from flare_core.train.training_step import TrainingStep

LABELLED, PARTLY, BARE = (True, True, True), (True, True, False), (True, False, False)
SETTINGS = {"kind": "mean_teacher", "ramp_steps": 0}
EVERYWHERE = SETTINGS | {"least_probability": 0.0}


def says(training: TrainingStep, channel: int, logit: float = 20.0) -> None:
    """Let the teacher answer one class everywhere."""
    head = training.extra["teacher"].decoder.seg_layers[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[channel] = logit


def test_the_teacher_begins_as_the_student_and_is_not_trained(
    training: Callable[..., TrainingStep],
) -> None:
    made = training(SETTINGS)
    teacher, student = made.extra["teacher"].state_dict(), made.student.state_dict()
    assert all(torch.equal(teacher[name], student[name]) for name in student)
    assert len(made.trained()) == len(student)


def test_the_teacher_is_a_running_mean(training: Callable[..., TrainingStep]) -> None:
    made = training(SETTINGS | {"decay": 0.99})
    before = [p.clone() for p in made.extra["teacher"].parameters()]
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.add_(1.0)
    for steps, decay in ((0, 0.1), (100_000, 0.99)):
        made.steps = steps
        made.strategy.after_step(made)
        for mean, was, now in zip(
            made.extra["teacher"].parameters(), before, made.student.parameters(), strict=True
        ):
            assert torch.allclose(mean, decay * was + (1 - decay) * now, atol=1e-6)
        before = [p.clone() for p in made.extra["teacher"].parameters()]


@pytest.mark.parametrize(("annotated", "weight"), [(LABELLED, 1.0), (PARTLY, 0.5), (BARE, 0.5)])
def test_patches_weigh_what_is_known_of_them(
    annotated: tuple,
    weight: float,
    training: Callable[..., TrainingStep],
    patch: Callable[..., Patch],
) -> None:
    made, one = training(SETTINGS), patch(annotated)
    says(made, 0)
    told = replace(one, annotated=LABELLED)  # the teacher finds nothing else
    expected = float(made.loss(made.levels(one.image), told).detach())
    assert float(made(one).detach()) == pytest.approx(weight * expected, rel=1e-6)


def test_the_teachers_answer_is_the_target_of_a_bare_scan(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training(SETTINGS), patch(BARE)
    says(made, 2)
    completed = made.strategy._completed(one, made)
    assert bool((completed.classes == 2).all()) and completed.annotated == LABELLED


def test_the_reference_is_forced_in(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made, one = training(SETTINGS), patch(PARTLY)
    says(made, 2)
    expected = torch.where(one.classes == 1, 1, 2)
    assert torch.equal(made.strategy._completed(one, made).classes, expected.to(torch.uint8))


def test_the_teacher_sees_the_scan_as_it_was(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(SETTINGS)
    seen = []
    made.extra["teacher"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    one = replace(patch(BARE), plain=torch.full_like(patch().image, 0.25))
    made(one)
    assert len(seen) == 1 and torch.equal(seen[0], one.plain)


def test_what_the_teacher_doubts_is_left_out(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(SETTINGS | {"least_probability": 0.9})
    says(made, 2, logit=0.1)
    weights = made.strategy._completed(patch(PARTLY), made).weights
    assert torch.equal(weights > 0, patch(PARTLY).classes > 0)


def test_at_first_the_teacher_is_hardly_listened_to(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    made = training(EVERYWHERE | {"ramp_steps": 100})
    late = {}
    for steps in (0, 100):
        made.steps = steps
        late[steps] = float(made(patch(BARE)))
    assert late[0] == pytest.approx(ramp(0, 100) * late[100], rel=1e-4)
