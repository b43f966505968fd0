"""The hand-written loss against autograd in double precision, and what partial labels may teach."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.models.card import NetworkSpec
from flare_core.networks import build_network
from flare_core.networks.space_to_depth import blocks_along_x, fold
from flare_core.train import losses
from flare_core.train.losses import (
    SMOOTH,
    deep_supervision_loss,
    level_targets,
    merge_unannotated,
    segmentation_loss,
    soft_loss,
)

ALL = (True, True, True, True)


def draw(shape: tuple[int, ...] = (1, 4, 5, 6, 7), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels; class 3 never occurs."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator)
    size = (shape[0], 1, *shape[2:])
    return logits, torch.randint(0, 3, size, generator=generator, dtype=torch.uint8)


def by_definition(logits: Tensor, labels: Tensor, gamma: float, balance: float = 0.0) -> Tensor:
    """The loss as its docstring writes it, for autograd, in double precision."""
    p = functional.softmax(logits.double(), dim=1)
    truth = functional.one_hot(labels[:, 0].long(), logits.shape[1]).movedim(-1, 1).double()
    p_true = (p * truth).sum(dim=1)
    axes = (0, 2, 3, 4)
    both, sizes, predicted = (p * truth).sum(axes), truth.sum(axes), p.sum(axes)
    weight = ((sizes.view(1, -1, 1, 1, 1) / sizes.sum()).clamp(min=1e-9) ** -balance * truth).sum(1)
    point = (-((1 - p_true) ** gamma) * p_true.log() * weight).mean() / weight.mean()
    score = (2 * both + SMOOTH) / (sizes + predicted + SMOOTH)
    present = [k for k in range(1, logits.shape[1]) if sizes[k] > 0]
    return point + ((1 - score[present]).mean() if present else 0.0)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 4, 5, 6, 7), (2, 4, 3, 4, 5), (1, 4, 1, 1, 1)])
def test_loss_and_gradient_are_those_of_the_definition(
    gamma: float, balance: float, shape: tuple[int, ...]
) -> None:
    logits, labels = draw(shape)
    if labels.numel() > 1:
        labels[:, :, :2] = 0  # one class is rarer than another
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, ALL, focal_gamma=gamma, balance=balance)
    expected = by_definition(logits, labels, gamma, balance)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = gradient(3.0 * loss, logits), gradient(3.0 * expected, logits).float()
    assert float((ours - theirs).abs().max()) < 1e-6 * max(1.0, float(theirs.abs().max()) * 10)


@pytest.mark.parametrize("last", [False, True])
def test_the_logits_are_not_changed(last: bool) -> None:
    """One image, one block, channels first: the soft-max could work on the logits' own memory."""
    logits, labels = draw()
    if last:
        logits = logits.contiguous(memory_format=torch.channels_last_3d)
    before = logits.clone()
    segmentation_loss(logits, labels, ALL, focal_gamma=2.0)
    assert torch.equal(logits, before)


def test_so_they_are_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw()
    logits.requires_grad_()
    whole = segmentation_loss(logits, labels, ALL)
    whole_gradient = gradient(whole, logits)
    monkeypatch.setattr(losses, "BLOCK", 13)
    parts = segmentation_loss(logits, labels, ALL)
    assert whole.item() == pytest.approx(parts.item(), rel=1e-6)
    assert float((whole_gradient - gradient(parts, logits)).abs().max()) < 1e-7


def test_balance_makes_the_voxels_of_a_rare_class_count_more() -> None:
    """With balance 1 every class that is there weighs the same, whatever its size."""
    logits = torch.zeros(1, 2, 1, 10, 10, requires_grad=True)
    labels = torch.zeros(1, 1, 1, 10, 10, dtype=torch.uint8)
    labels[..., 0, 0] = 1
    pushed = []
    for balance in (0.0, 0.5, 1.0):
        slope = gradient(segmentation_loss(logits, labels, (True, True), balance=balance), logits)
        without_dice = slope - gradient(segmentation_loss(logits, labels, (True, True)), logits)
        pushed.append(float(without_dice[0, 1, 0, 0, 0]))
    one_percent, sure = 0.01, 0.5  # its share of the voxels; the slope of -log p at p = 1/2
    assert pushed[0] == 0.0
    assert pushed[2] == pytest.approx(-sure * (1 / (2 * one_percent) - 1) * one_percent, rel=1e-3)
    assert pushed[2] < pushed[1] < 0


@pytest.mark.parametrize("label", [0, 2])
def test_patches_of_one_class_only(label: int) -> None:
    """Background alone has no Dice; an organ alone has only its own."""
    logits, labels = draw()
    labels.fill_(label)
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, ALL)
    expected = by_definition(logits, labels, 0.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    difference = gradient(loss, logits) - gradient(expected, logits).float()
    assert float(difference.abs().max()) < 1e-6


def test_extreme_logits_stay_finite() -> None:
    logits, labels = draw()
    for gamma in (0.0, 2.0):
        for scale in (1e4, -1e4):
            hard = (logits * scale).requires_grad_()
            loss = segmentation_loss(hard, labels, ALL, focal_gamma=gamma)
            assert bool(loss.isfinite()) and bool(gradient(loss, hard).isfinite().all())


def test_half_precision_logits_give_half_precision_gradients() -> None:
    logits, labels = draw()
    for dtype, tolerance in ((torch.bfloat16, 2e-4), (torch.float16, 5e-5)):
        half = logits.to(dtype).requires_grad_()
        loss = segmentation_loss(half, labels, ALL)
        exact = half.detach().float().requires_grad_()
        expected = gradient(segmentation_loss(exact, labels, ALL), exact)
        got = gradient(loss, half)
        assert got.dtype == dtype and float((got.float() - expected).abs().max()) < tolerance


def test_a_better_prediction_has_a_smaller_loss() -> None:
    _, labels = draw()
    perfect = 8.0 * functional.one_hot(labels[:, 0].long(), 4).movedim(-1, 1).float()
    values = [float(segmentation_loss(s * perfect, labels, ALL)) for s in (-1.0, 0.0, 0.3, 1.0)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.01


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_order_of_the_voxels_does_not_matter(gamma: float) -> None:
    logits, labels = draw((1, 4, 4, 6, 8))
    block = (1, 2, 2)
    folded = fold(logits, block)
    moved = blocks_along_x(folded, block)
    order = blocks_along_x(fold(labels, block), block)
    assert moved.shape != logits.shape
    plain = segmentation_loss(logits, labels, ALL, focal_gamma=gamma)
    assert float(segmentation_loss(moved, order, ALL, focal_gamma=gamma)) == pytest.approx(
        float(plain), rel=1e-6
    )


def test_merging_adds_the_probabilities_of_what_is_not_annotated() -> None:
    logits, _ = draw()
    annotated = (False, True, False, False)  # the background's own entry is ignored
    before = functional.softmax(logits, dim=1)
    after = functional.softmax(merge_unannotated(logits, annotated), dim=1)
    assert torch.allclose(after[:, 0], before[:, [0, 2, 3]].sum(dim=1), atol=1e-6)
    assert torch.allclose(after[:, 1], before[:, 1], atol=1e-6)
    assert float(after[:, 2:].max()) == 0.0
    assert merge_unannotated(logits, ALL) is logits


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_voxels_of_a_class_that_is_not_annotated_teach_nothing_about_it(gamma: float) -> None:
    """Background or that organ: the loss cannot tell, so no gradient moves one for the other."""
    logits, labels = draw()
    labels[labels == 2] = 0
    annotated = (True, True, False, True)
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, annotated, focal_gamma=gamma)
    swapped = logits.detach()[:, [2, 1, 0, 3]]
    assert segmentation_loss(swapped, labels, annotated, focal_gamma=gamma).item() == pytest.approx(
        loss.item(), rel=1e-6
    )
    slope = gradient(loss, logits)
    share = functional.softmax(logits.detach()[:, [0, 2]], dim=1)
    together = slope[:, [0, 2]].sum(dim=1, keepdim=True)
    assert torch.allclose(slope[:, [0, 2]], share * together, atol=1e-8)
    assert float(together.abs().max()) > 1e-4  # what both are not is still learned


def test_annotated_classes_learn_the_same_whether_others_are_hidden_apart_or_merged() -> None:
    logits, labels = draw()
    labels[labels == 2] = 0
    merged = torch.cat((logits[:, [0, 2]].logsumexp(dim=1, keepdim=True), logits[:, [1, 3]]), dim=1)
    three = segmentation_loss(merged, labels, (True, True, True))
    four = segmentation_loss(logits, labels, (True, True, False, True))
    assert float(three) == pytest.approx(float(four), rel=1e-5)


def network_spec(block: tuple[int, int, int]) -> NetworkSpec:
    return NetworkSpec(
        "plain_unet",
        output_channels=3,
        features_per_stage=(4, 6, 8),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        kernel_sizes=((3, 3, 3),) * 3,
        convolutions_per_stage_encoder=(1,) * 3,
        convolutions_per_stage_decoder=(1,) * 2,
        space_to_depth=block,
        deep_supervision=True,
    )


@pytest.mark.parametrize("block", [(1, 1, 1), (1, 2, 2)])
def test_targets_fit_the_logits_of_every_level(block: tuple[int, int, int]) -> None:
    spec = network_spec(block)
    labels = torch.zeros(1, 1, 8, 16, 16, dtype=torch.uint8)
    labels[:, :, 2:6, 4:12, 8:] = 1
    logits = build_network(spec).train()(torch.randn(1, 1, 8, 16, 16))
    assert isinstance(logits, list) and len(logits) == 2
    targets = level_targets(labels, spec, len(logits))
    for level, target in zip(logits, targets, strict=True):
        assert level.shape[2:] == target.shape[2:] and target.dtype == torch.uint8
    share = float(labels.float().mean())
    assert [float(t.float().mean()) for t in targets] == pytest.approx([share, share])


def test_targets_lie_where_the_logits_do() -> None:
    """A network whose logits say "the voxel I see is bright" must agree with its targets."""
    spec = network_spec((1, 2, 2))
    labels = (torch.rand(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5).to(
        torch.uint8
    )
    as_logits = blocks_along_x(fold(labels.float(), spec.space_to_depth), spec.space_to_depth)
    assert torch.equal(level_targets(labels, spec, 1)[0].float(), as_logits)


def test_coarser_levels_weigh_half_as_much() -> None:
    logits, labels = draw()
    coarse = logits[:, :, ::2, ::2, ::2]
    coarse_labels = labels[:, :, ::2, ::2, ::2]
    fine = float(segmentation_loss(logits, labels, ALL))
    low = float(segmentation_loss(coarse, coarse_labels, ALL))
    both = deep_supervision_loss([logits, coarse], [labels, coarse_labels], ALL)
    assert float(both) == pytest.approx((fine + 0.5 * low) / 1.5, rel=1e-6)
    only = deep_supervision_loss([logits], [labels], ALL)
    assert float(only) == pytest.approx(fine, rel=1e-6)


def test_weights_multiply_the_point_term_only() -> None:
    logits, labels = draw()
    logits.requires_grad_()
    weights = torch.rand(labels.shape, generator=torch.Generator().manual_seed(3)) + 0.5
    loss = segmentation_loss(logits, labels, ALL, weights=weights)
    p = functional.softmax(logits.double(), dim=1).gather(1, labels.long())
    plain = by_definition(logits, labels, 0.0)
    expected = plain + ((weights - 1) * -p.log()).mean()
    assert torch.allclose(loss.double(), expected, rtol=1e-5)
    assert torch.allclose(gradient(loss, logits), gradient(expected, logits).float(), atol=1e-6)


def test_an_edited_voxel_pulls_harder() -> None:
    logits, labels = draw()
    logits.requires_grad_()
    weights = torch.ones(labels.shape)
    weights[0, 0, 2, 3, 4] = 3.0
    pulls = [
        gradient(segmentation_loss(logits, labels, ALL, weights=w), logits)[0, :, 2, 3, 4].norm()
        for w in (torch.ones(labels.shape), weights)
    ]
    assert pulls[1] > 2 * pulls[0]


@pytest.mark.parametrize("annotated", [ALL, (True, True, False, True)])
def test_a_voxel_of_no_weight_counts_in_no_term(annotated: tuple[bool, ...]) -> None:
    logits, labels = draw()
    labels[labels == 2] = 0
    weights = torch.ones(labels.shape)
    weights[:, :, 2:] = 0
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, annotated, balance=0.5, weights=weights)
    cut = segmentation_loss(logits[:, :, :2], labels[:, :, :2], annotated, balance=0.5)
    assert torch.allclose(loss, cut, rtol=1e-6)
    assert not gradient(loss, logits)[:, :, 2:].any()
    nothing = segmentation_loss(logits, labels, annotated, weights=torch.zeros(labels.shape))
    assert float(nothing) == 0 and not gradient(nothing, logits).any()


def test_weights_reach_every_resolution_in_its_own_order() -> None:
    spec = NetworkSpec(
        "plain_unet",
        output_channels=3,
        features_per_stage=(4, 8, 8),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        kernel_sizes=((3, 3, 3),) * 3,
        convolutions_per_stage_encoder=(1, 1, 1),
        convolutions_per_stage_decoder=(1, 1),
        space_to_depth=(1, 2, 2),
        deep_supervision=True,
    )
    labels = torch.randint(0, 3, (1, 1, 4, 16, 16), dtype=torch.uint8)
    weights = labels.float()
    for a, b in zip(level_targets(labels, spec, 2), level_targets(weights, spec, 2), strict=True):
        assert torch.equal(a.float(), b)


def test_soft_labels_by_hand() -> None:
    logits = torch.tensor([1.0, 2.0, 0.0]).reshape(1, 3, 1, 1, 1)
    first, second = (torch.full((1, 1, 1, 1, 1), k, dtype=torch.uint8) for k in (1, 0))
    log_p = logits.log_softmax(dim=1).flatten()
    for share in (1.0, 0.75):
        expected = -(share * log_p[1] + (1 - share) * log_p[0])
        got = soft_loss(logits, first, second, torch.full((1, 1, 1, 1, 1), share), (True,) * 3)
        assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_soft_labels_say_nothing_of_what_is_not_annotated() -> None:
    logits, _ = draw()
    logits.requires_grad_()
    zeros = torch.zeros(1, 1, 5, 6, 7, dtype=torch.uint8)
    annotated = (True, False, False, False)
    share = torch.full(zeros.shape, 0.6)
    loss = soft_loss(logits, zeros, zeros, share, annotated)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert gradient(loss, logits).abs().max() < 1e-6


def test_pooled_background_is_the_largest_logit_of_what_is_not_annotated() -> None:
    logits, labels = draw()
    labels[labels == 2] = 0
    annotated = (True, True, False, False)
    merged = merge_unannotated(logits, annotated, pooled=True)
    assert torch.equal(merged[:, 0], logits[:, [0, 2, 3]].amax(1))
    assert torch.equal(merged[:, 1], logits[:, 1])
    p = merged.softmax(1)
    assert float(p[:, 2:].max()) == 0.0
    summed = merge_unannotated(logits, annotated).softmax(1)
    assert bool((p[:, 0] < summed[:, 0]).all())  # the sum of three is more than the largest


def test_a_stem_that_halves_at_once_does_not_coarsen_the_finest_targets() -> None:
    spec = NetworkSpec(
        "fasternet_segformer", output_channels=2, features_per_stage=(8, 16),
        strides=((2, 2, 2), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 2,
        convolutions_per_stage_encoder=(1, 1), convolutions_per_stage_decoder=(1,),
    )  # fmt: skip
    _, labels = draw((1, 2, 12, 12, 12))
    with torch.no_grad():
        logits = build_network(spec).train()(torch.randn(1, 1, 12, 12, 12))
    (target,) = level_targets(labels, spec, 1)
    assert target.shape[2:] == logits.shape[2:] and torch.equal(target, labels)
