from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from flare_core.train.batches import Patch
from flare_core.train.strategies.second_opinion import completed, ramp

LABELLED, PARTLY, BARE = (True, True, True), (True, True, False), (True, False, False)


def answer(like: Patch, channel: int, logit: float = 20.0) -> torch.Tensor:
    """One class everywhere."""
    logits = torch.zeros(1, 3, *like.image.shape[2:])
    logits[:, channel] = logit
    return logits


def test_a_bare_scan_is_labelled_by_the_answer(patch: Callable[..., Patch]) -> None:
    found = completed(patch(BARE), answer(patch(), 2), 0.9)
    assert bool((found.classes == 2).all()) and found.annotated == LABELLED
    assert found.classes.dtype == torch.uint8 and bool((found.weights == 1).all())


def test_an_annotated_organ_is_nowhere_but_in_the_reference(patch: Callable[..., Patch]) -> None:
    one = patch(PARTLY)
    assert torch.equal(completed(one, answer(one, 1), 0.0).classes, one.classes)
    filled = completed(one, answer(one, 2), 0.0)
    assert torch.equal(filled.classes == 1, one.classes == 1)
    assert bool((filled.classes[one.classes == 0] == 2).all()) and filled.weights is None


def test_a_voxel_that_is_not_what_the_answer_says_may_be_an_organ_nobody_drew(
    patch: Callable[..., Patch],
) -> None:
    """It was taught as background, for sure: the answer was believed, and contradicted at once."""
    one = patch(PARTLY)
    free = one.classes == 0
    logits = answer(one, 1)  # the liver, which is drawn, and is not there
    logits[:, 2] = 0.5  # if it is not the liver, perhaps the spleen
    doubtful = completed(one, logits, 0.9)
    assert doubtful.weights is not None and bool((doubtful.weights[free] == 0).all())
    logits[:, 2] = 10.0
    sure = completed(one, logits, 0.9)
    assert bool((sure.classes[free] == 2).all()) and bool((sure.weights == 1).all())
    assert torch.equal(sure.classes == 1, one.classes == 1)


def test_doubt_is_left_out_but_not_the_reference(patch: Callable[..., Patch]) -> None:
    one = patch(PARTLY)
    doubtful = answer(one, 2, logit=0.5)
    weights = completed(one, doubtful, 0.9).weights
    assert weights is not None and torch.equal(weights > 0, one.classes > 0)
    assert bool((completed(one, answer(one, 2), 0.9).weights == 1).all())
    weighted = replace(one, weights=torch.full_like(one.image, 3.0))
    assert set(completed(weighted, doubtful, 0.9).weights.unique().tolist()) == {0.0, 3.0}


def test_a_ramp_of_no_length_is_no_ramp() -> None:
    assert ramp(0, 0) == 1.0 and 0 < ramp(0, 10) < 0.01 < ramp(5, 10) < ramp(10, 10) == 1.0
