"""Which of the names in an nnU-Net checkpoint are ours.

nnU-Net's modules hold some of their parts twice, and a state dict lists both: a block's `conv` and
`norm` again under `all_modules`, the encoder again under `decoder.encoder`. The tensors are the
same, so one name of each is enough.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    plain = {_without_wrapper(name): tensor for name, tensor in state.items()}
    return {
        name: tensor
        for name, tensor in plain.items()
        if not name.startswith("decoder.encoder.") and ".all_modules." not in name
    }


def _without_wrapper(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
