"""How much memory a training takes: said before it starts, not when it is killed."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from flare_core.errors import InputError
from flare_core.imaging.checks import free_memory_gib
from flare_core.networks import build_network
from flare_core.segment.runtime import choose_runtime
from flare_core.train.config import TrainConfig

KEPT = ("Conv3d", "ConvTranspose3d", "InstanceNorm", "Linear", "LayerNorm", "LeakyReLU", "GELU")
"""Modules whose result waits for the way back."""

COPIES = 5
"""Of the weights: they, their gradient, two moments, the running mean."""

BYTES = {"float32": 4, "bf16": 2, "fp16": 2}


def training_gib(config: TrainConfig, bytes_each: int = 4) -> float:
    """Return about how much memory one patch's training step takes, GiB.

    The network runs without memory (torch's ``meta`` device); results of convolutions and
    normalisations are counted twice, for the way back has gradients of their size.
    """
    patch = max((phase.patch for phase in config.phases), key=prod)
    with torch.device("meta"):
        network = build_network(config.network)
    seen = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal seen
        if type(module).__name__ in KEPT:
            seen += result.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    with torch.no_grad():
        network.eval()(torch.empty(1, config.network.input_channels, *patch, device="meta"))
    for hook in hooks:
        hook.remove()
    weights = sum(p.numel() for p in network.parameters())
    classes = 3 * 4 * prod(patch) * config.network.output_channels
    return (2 * seen * bytes_each + COPIES * 4 * weights + classes) / 2**30


def require_room(config: TrainConfig, name: str) -> None:
    """Refuse a training that this machine cannot hold.

    Raises
    ------
    InputError
        If it needs more memory than the device has free.
    """
    runtime = choose_runtime(config.device, config.precision, config.threads)
    need, free = training_gib(config, BYTES[runtime.precision]), _free_gib(runtime.device)
    if free is not None and need > free:
        patch = " x ".join(map(str, config.phases[-1].patch))
        raise InputError(
            f"device {runtime.device}",
            f"{free:.1f} GiB free",
            f"about {need:.1f} GiB to train {name} on patches of {patch} voxels",
            "Use a larger GPU, or --scale small, which shrinks widths and patches.",
        )


def _free_gib(device: str) -> float | None:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] / 2**30
    return free_memory_gib()
