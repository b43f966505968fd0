"""Which of the names in an nnU-Net checkpoint are ours.

nnU-Net's modules hold some of their parts twice, and a state dict lists both: a block's `conv` and
`norm` again under `all_modules`, the encoder again under `decoder.encoder`. The tensors are the
same, so one name of each is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.")
"""Put before every name by distributed training and by torch.compile."""


def without_duplicates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of nnU-Net's PlainConvUNet or ResidualEncoderUNet under our names.

    Examples
    --------
    >>> names = ("decoder.encoder.stem.convs.0.conv.bias", "module.encoder.stem.convs.0.conv.bias")
    >>> list(without_duplicates(dict.fromkeys(names)))
    ['encoder.stem.convs.0.conv.bias']
    """
    plain = {without_wrapper(name): tensor for name, tensor in state.items()}
    return {
        name: tensor
        for name, tensor in plain.items()
        if not name.startswith("decoder.encoder.") and ".all_modules." not in name
    }


def without_wrapper(name: str) -> str:
    """Return a tensor's name without what wrappers put before it."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def from_generic_unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of nnU-Net v1's Generic_UNet under our names.

    Its deepest stage and all decoder stages are two stacks behind each other, here one. Its
    transposed convolutions and heads have no bias, here a bias of 0.
    """
    found: dict[str, Tensor] = {}
    for _, (name, ours) in sorted(_stacks(state).items()):
        for block in sorted(_numbers(state, name)):
            place = len(_numbers(found, f"{ours}.convs."))
            for part, our_part in (("conv", "conv"), ("instnorm", "norm")):
                for kind in ("weight", "bias"):
                    theirs = f"{name}{block}.{part}.{kind}"
                    if theirs in state:
                        found[f"{ours}.convs.{place}.{our_part}.{kind}"] = state[theirs]
    for ours, theirs, axis in (("transpconvs", "tu", 1), ("seg_layers", "seg_outputs", 0)):
        for i in sorted(_numbers(state, f"{theirs}.")):
            weight = state[f"{theirs}.{i}.weight"]
            zeros = weight.new_zeros(weight.shape[axis] if weight.ndim > axis else 0)
            found[f"decoder.{ours}.{i}.weight"] = weight
            found[f"decoder.{ours}.{i}.bias"] = state.get(f"{theirs}.{i}.bias", zeros)
    return found


def _stacks(state: Mapping[str, Tensor]) -> dict[tuple[str, int, int], tuple[str, str]]:
    """Return the stacks of blocks: (part, stage, stack) -> (their prefix, our stage's name)."""
    found = {}
    for theirs, ours in (
        ("conv_blocks_context", "encoder.stages.{}.0"),
        ("conv_blocks_localization", "decoder.stages.{}"),
    ):
        for name in state:
            if name.startswith(theirs + "."):
                head = name.partition(".blocks.")[0]
                numbers = [int(n) for n in head.split(".")[1:] if n.isdecimal()]
                if numbers:
                    key = (theirs, numbers[0], numbers[1] if len(numbers) > 1 else 0)
                    found[key] = (f"{head}.blocks.", ours.format(numbers[0]))
    return found


def _numbers(state: Mapping[str, Tensor], start: str) -> set[int]:
    """Return the numbers that follow `start` in the names."""
    found = {name[len(start) :].partition(".")[0] for name in state if name.startswith(start)}
    return {int(number) for number in found if number.isdecimal()}
