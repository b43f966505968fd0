"""Losses over annotated organs only.

Logits and labels may come in any voxel order as long as it is the same (see
`networks.space_to_depth.blocks_along_x`), because no term asks for a voxel's neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flare_core.models.stage_card import NetworkSpec
from flare_core.networks.space_to_depth import blocks_along_x, fold

SMOOTH = 1.0
"""Voxels added to Dice's numerator and denominator, so that a sliver of an organ does not rule."""

BLOCK = 16384
"""Voxels a CPU works on at a time: their (classes, voxels) matrix fits its second-level cache."""


def merge_unannotated(logits: Tensor, annotated: Sequence[bool], *, pooled: bool = False) -> Tensor:
    """Fold the classes that a case does not annotate into its background.

    Parameters
    ----------
    logits : (B, K, Z, Y, X)
    annotated : K booleans, the background's is ignored
    pooled : bool
        Whether the background's logit becomes the largest of its own and the unannotated classes'
        (FLARE23's second team) instead of what the sum of their probabilities asks for.

    Returns
    -------
    (B, K, Z, Y, X)
        The probability of the background is the sum of its own and the unannotated classes'; those
        classes get none (marginal loss; Shi et al. 2021, Medical Image Analysis 70:101979).
    """
    hidden = [k for k in range(1, logits.shape[1]) if not annotated[k]]
    if not hidden:
        return logits
    among = logits[:, [0, *hidden]]
    background = among.amax(1, keepdim=True) if pooled else among.logsumexp(1, keepdim=True)
    merged = logits.clone()
    merged[:, hidden] = torch.finfo(logits.dtype).min
    return torch.cat((background, merged[:, 1:]), dim=1)


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    annotated: Sequence[bool],
    *,
    focal_gamma: float = 0.0,
    balance: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return Dice + cross entropy, or Dice + focal loss.

    Parameters
    ----------
    logits : (B, K, Z, Y, X)
    labels : uint8 (B, 1, Z, Y, X)
        Class of each voxel; classes that are not annotated must not occur.
    annotated : K booleans, the background's is ignored
    focal_gamma : float
        0 is cross entropy; FLARE23's winner used 2 (focal loss: Lin et al. 2017).
    balance : float
        Voxels of a class weigh its frequency in the patch to the power of minus this, in the
        point-wise term. 0 is no weight; .5 makes an adrenal gland's voxels weigh about 40 times
        the background's, which gets small organs learned in a short training.
    weights : float32 (B, 1, Z, Y, X), optional
        How much each voxel counts in the point-wise term; a voxel of 0 counts in no term.
    """
    merged = logits if all(annotated[1:]) else merge_unannotated(logits.float(), annotated)
    rows = merged.permute(0, 2, 3, 4, 1).reshape(-1, merged.shape[1])  # (V, K)
    target = labels.reshape(-1).long()
    if weights is None:
        return _DicePlusPoint.apply(rows, target, focal_gamma, balance, None)
    weights = weights.reshape(-1)
    kept = weights > 0
    if not bool(kept.any()):
        return logits.sum() * 0.0
    if not bool(kept.all()):
        rows, target, weights = rows[kept], target[kept], weights[kept]
    return _DicePlusPoint.apply(rows, target, focal_gamma, balance, weights)


def soft_loss(
    logits: Tensor,
    first: Tensor,
    second: Tensor,
    share: Tensor,
    annotated: Sequence[bool],
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the cross entropy against soft labels of two classes a voxel.

    Parameters
    ----------
    logits : (B, K, Z, Y, X)
    first, second : uint8 (B, 1, Z, Y, X)
        Most and second most likely class of each voxel.
    share : float32 (B, 1, Z, Y, X)
        The first's probability; the rest is the second's.
    annotated : K booleans, the background's is ignored
    weights : float32 (B, 1, Z, Y, X), optional
        How much each voxel counts, as in `segmentation_loss`; one of 0 is left out.
    """
    log_p = merge_unannotated(logits.float(), annotated).log_softmax(dim=1)
    one, other = (log_p.gather(1, classes.long()) for classes in (first, second))
    doubt = -(share * one + (1 - share) * other)
    if weights is None:
        return doubt.mean()
    return (doubt * weights).sum() / (weights > 0).sum().clamp_(min=1)


class _DicePlusPoint(torch.autograd.Function):
    """Soft Dice plus cross entropy or focal loss, with its gradient written out.

    Autograd through log-softmax reads and writes the (voxels, classes) matrix a dozen times, as
    long as the network itself takes on a CPU. Here it goes through the cache in blocks: three times
    faster, same numbers (Testing/core/train/test_losses.py compares with autograd).

    With p the soft-max and t the true class, the loss is
    mean(-w_t (1 - p_t)^g log p_t) + 1 - mean_k (2 I_k + s) / (S_k + P_k + s) over the organs
    present, where w_t is the class's weight, I_k sums p_k over organ k, S_k counts its voxels and
    P_k sums p_k. Voxel weights, if any, multiply w_t.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        target: Tensor,
        gamma: float,
        balance: float,
        voxels: Tensor | None,
    ) -> Tensor:
        """Return the loss; keep the probabilities (K, V)."""
        count, k = rows.shape
        p = torch.empty(k, count, device=rows.device)
        for part in _blocks(rows):
            z = p[:, part]  # (K, v): classes apart vectorise well
            z.copy_(rows[part].T)
            z.sub_(z.amax(dim=0)).exp_()
            z.div_(z.sum(dim=0))
        p_true = p.gather(0, target[None]).squeeze(0).clamp_(min=1e-8)  # (V,)
        sizes = torch.bincount(target, minlength=k).float()
        weight = _class_weights(sizes, balance)
        each = weight[target] if voxels is None else weight[target] * voxels  # (V,)
        point = -p_true.log() * each
        point = (point * (1 - p_true) ** gamma if gamma else point).mean()
        both = torch.zeros(k, device=rows.device).index_add_(0, target, p_true)
        denominator = sizes + p.sum(dim=1) + SMOOTH
        score = (2 * both + SMOOTH) / denominator
        present = (sizes > 0).float()
        present[0] = 0.0  # the background has no Dice; absent organs are left to the point term
        share = present / present.sum().clamp_(min=1.0)
        ctx.save_for_backward(p, p_true, target, share, score, denominator, each)
        ctx.gamma, ctx.dtype = gamma, rows.dtype
        return point + (share * (1 - score)).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the logits."""
        p, p_true, target, share, score, denominator, each = ctx.saved_tensors
        count = target.shape[0]
        everywhere = share * score / denominator  # dLoss/dp_k of every voxel
        on_truth = p_true * (-2 * share / denominator)[target]  # p_t times its extra part
        on_truth += _point_slope(p_true, ctx.gamma) * each / count
        result = torch.empty(count, p.shape[0], dtype=ctx.dtype, device=p.device)
        for part in _blocks(result):
            q = p[:, part]
            inner = everywhere @ q + on_truth[part]
            g = q * (everywhere[:, None] - inner)
            g.scatter_add_(0, target[None, part], on_truth[None, part])
            result[part] = g.mul_(gradient).T
        return result, None, None, None, None


def _point_slope(p: Tensor, gamma: float) -> Tensor:
    """Return p times the derivative of ``-(1 - p)^gamma log p``."""
    if not gamma:
        return torch.full_like(p, -1.0)
    return gamma * p * (1 - p) ** (gamma - 1) * p.log() - (1 - p) ** gamma


def _class_weights(sizes: Tensor, balance: float) -> Tensor:
    """Return the weight of each class's voxels; their mean over all voxels is 1."""
    weight = sizes.clamp(min=1.0) ** -balance
    return weight * sizes.sum() / (weight * sizes).sum()


def _blocks(rows: Tensor) -> list[slice]:
    """Return consecutive ranges of the rows (V, K); a GPU takes them all at once."""
    count = rows.shape[0]
    size = BLOCK if rows.device.type == "cpu" else max(1, count)
    return [slice(a, min(a + size, count)) for a in range(0, count, size)]


def level_targets(labels: Tensor, spec: NetworkSpec, levels: int) -> list[Tensor]:
    """Return the labels at the resolution and in the voxel order of every level of logits.

    Parameters
    ----------
    labels : (B, 1, Z, Y, X)
        Or any other map that goes with them, such as weights.
    spec : NetworkSpec
        The network's, for its strides and its block.
    levels : int
        How many levels the network gave, finest first.

    Returns
    -------
    list of (B, 1, Z', Y', X' * voxels of the block)
        The finest has the labels' own resolution, as logits do. Coarser ones take the first voxel
        of each stride; averaging would invent classes.
    """
    targets, stride = [], (1, 1, 1)
    for step in ((1, 1, 1), *spec.strides[1:levels]):  # the finest is the image's, whatever a stem
        stride = (stride[0] * step[0], stride[1] * step[1], stride[2] * step[2])
        coarse = labels[:, :, :: stride[0], :: stride[1], :: stride[2]]
        targets.append(blocks_along_x(fold(coarse, spec.space_to_depth), spec.space_to_depth))
    return targets


def deep_supervision_loss(
    levels: Sequence[Tensor],
    targets: Sequence[Tensor],
    annotated: Sequence[bool],
    *,
    focal_gamma: float = 0.0,
    balance: float = 0.0,
    weights: Sequence[Tensor | None] = (),
) -> Tensor:
    """Return the weighted mean of the loss at every resolution, each half as heavy as the finer.

    Parameters
    ----------
    levels : sequence of (B, K, Z, Y, X)
        Logits, finest first.
    targets : sequence of uint8 (B, 1, Z, Y, X)
        What `level_targets` gives for them.
    annotated, focal_gamma, balance
        See `segmentation_loss`.
    weights : sequence of float32 (B, 1, Z, Y, X), optional
        Of the voxels, at every level, as `level_targets` gives them.
    """
    losses = [
        segmentation_loss(a, b, annotated, focal_gamma=focal_gamma, balance=balance, weights=w)
        for a, b, w in zip(levels, targets, weights or [None] * len(levels), strict=True)
    ]
    return mean_over_levels(losses)


def mean_over_levels(losses: Sequence[Tensor]) -> Tensor:
    """Return the weighted mean of losses, finest level first, each half as heavy as the finer."""
    heights = [0.5**i for i in range(len(losses))]
    total = sum(height * loss for height, loss in zip(heights, losses, strict=True))
    return torch.as_tensor(total) / sum(heights)
