"""Weights into a network: all of them, or an error that names the first that does not fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flare_core.errors import InputError
from flare_core.models.nnunet.shapes import KINDS, has_more_numbers
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network

SLACK_BLOCKS = 16
"""Blocks that cost nothing to build."""

SLACK = 1_000_000
"""Numbers that cost nothing worth a refusal; what does not fit is then named tensor by tensor."""


def fill(network: nn.Module, weights: Mapping[str, Tensor], *, source: str, action: str) -> None:
    """Load `weights` into `network`.

    Parameters
    ----------
    network : nn.Module
    weights : mapping of str to Tensor
        By state-dict name, float32.
    source : str
        Where they come from, for the error.
    action : str
        What to do if they do not fit, for the error.

    Raises
    ------
    InputError
        If a tensor is missing, left over, of another shape, or holds NaN or infinity.
    """
    wrong = first_difference(network.state_dict(), weights)
    if wrong:
        raise InputError(source, wrong[0], wrong[1], action)
    network.load_state_dict(dict(weights))


def require_size(
    spec: NetworkSpec, weights: Mapping[str, Tensor], *, source: str, action: str
) -> None:
    """Refuse a network much larger than its weights, before memory is asked for it.

    A card is text of anybody's, and a few digits in it may name a network of terabytes.

    Raises
    ------
    InputError
        If the network has more than twice the numbers that there are.
    """
    there = sum(tensor.numel() for tensor in weights.values())
    most = 2 * there + SLACK
    known = spec.kind in KINDS and not spec.separable
    if has_more_numbers(spec, most) if known else _others_have_more(spec, most, len(weights)):
        came = f"{len(weights)} tensors, {there} numbers"
        legal = f"those of the card's {spec.kind}, which has more than {most}"
        raise InputError(source, came, legal, action)


def _others_have_more(spec: NetworkSpec, most: int, tensors: int) -> bool:
    """Whether a network that `nnunet.shapes` does not know is larger; built without memory."""
    blocks = sum(spec.convolutions_per_stage_encoder) + sum(spec.convolutions_per_stage_decoder)
    if blocks > 2 * tensors + SLACK_BLOCKS:  # a block has a tensor or so: don't even count them
        return True
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(spec).parameters()) > most


def first_difference(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[str, str] | None:
    """Return (what came, what was wanted) for the first tensor that differs; None if none does.

    Examples
    --------
    >>> import torch
    >>> first_difference({"a": torch.zeros(2, 3)}, {"a": torch.zeros(2, 4)})
    ('tensor a of shape (2, 4)', 'tensor a of shape (2, 3)')
    """
    for name, tensor in wanted.items():
        shape = f"tensor {name} of shape {tuple(tensor.shape)}"
        if name not in given:
            return f"no tensor {name}", shape
        if given[name].shape != tensor.shape:
            return f"tensor {name} of shape {tuple(given[name].shape)}", shape
        if not bool(given[name].isfinite().all()):
            return f"tensor {name} with NaN or infinite values", "finite weights"
    left = next((name for name in given if name not in wanted), None)
    if left is not None:
        return f"a tensor {left} too many", f"the {len(wanted)} tensors of the network"
    return None
