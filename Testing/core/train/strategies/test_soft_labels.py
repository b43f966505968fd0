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


def test_voxels_that_are_left_out_teach_no_doubt_either(
    training: Callable[..., TrainingStep], patch: Callable[..., Patch]
) -> None:
    """A lesion is neither background nor, for sure, its organ."""
    made, one = training({"kind": "soft_labels", "soft": 1.0}), soft(patch(), 0.7)
    weights = torch.ones(one.image.shape)
    weights[:, :, 4:8, 4:8, 4:8] = 0.0
    wrong = one.classes.clone()
    wrong[weights.bool().logical_not()] = 2
    left_out = [replace(one, classes=labels, weights=weights) for labels in (one.classes, wrong)]
    assert float(made(left_out[0])) == float(made(left_out[1]))
    assert float(made(replace(one, classes=wrong))) != float(made(one))


def test_what_a_person_edited_weighs_more_in_the_doubt_too() -> None:
    logits = torch.randn(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    first, second = (torch.full((1, 1, 2, 2, 2), k, dtype=torch.uint8) for k in (1, 2))
    share = torch.full(first.shape, 0.8)
    weights = torch.ones(first.shape)
    weights[..., 0], weights[..., 0, 1] = 3.0, 0.0
    log_p = logits.double().log_softmax(1)
    each = -(0.8 * log_p[:, 1] + 0.2 * log_p[:, 2])
    expected = float((each * weights[:, 0]).sum() / 6)
    found = soft_loss(logits, first, second, share, (True,) * 3, weights=weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)


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
