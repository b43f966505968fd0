"""Another network's answer as a label: where it is believed, and how soon it is listened to."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from flare_core.train.batches import Patch


def completed(patch: Patch, logits: Tensor, least: float) -> Patch:
    """Return the patch with every organ labelled: the reference first, then another's answer.

    An organ that the case annotates is nowhere but where the reference has it: elsewhere the other
    network is asked what it holds for most likely among the rest. A voxel that neither the
    reference labels nor the other network is sure of counts in no loss: a speck that it half
    believes in would otherwise have a Dice score of its own.

    Parameters
    ----------
    patch : Patch
    logits : (1, K, Z, Y, X)
        The other network's, in the voxels' own order.
    least : float
        Probability from which it is believed, 0 to 1; 0 believes the arg-max everywhere.
    """
    import torch

    known = torch.tensor(patch.annotated, device=logits.device)
    known[0] = False
    left = logits.float().masked_fill(known[:, None, None, None], torch.finfo(torch.float32).min)
    sure, classes = left.softmax(dim=1).max(dim=1, keepdim=True)
    classes = torch.where(patch.classes > 0, patch.classes, classes.to(torch.uint8))
    weights = patch.weights
    if least:
        believed = ((sure >= least) | (patch.classes > 0)).float()
        weights = believed if weights is None else weights * believed
    everything = (True,) * len(patch.annotated)
    return replace(patch, classes=classes, annotated=everything, weights=weights)


def ramp(steps: int, length: int) -> float:
    """Return the weight of what another network says: near 0 while it is new, 1 after `length`.

    exp(-5 (1 - t)^2), as Laine and Aila (2017) and Tarvainen and Valpola (2017).

    Examples
    --------
    >>> [round(ramp(n, 100), 3) for n in (0, 50, 100, 200)]
    [0.007, 0.287, 1.0, 1.0]
    """
    left = 1 - min(1.0, steps / length) if length else 0.0
    return math.exp(-5.0 * left * left)
