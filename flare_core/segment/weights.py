"""Weights into a network: all of them, or an error that names the first that does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flare_core.errors import InputError


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
