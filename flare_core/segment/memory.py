"""How much memory a stage takes on a scan: said before it starts, not when it is killed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flare_core.errors import InputError
from flare_core.imaging.checks import free_memory_gib
from flare_core.models.stage_card import StageCard
from flare_core.segment.nnunet import patch_here
from flare_core.segment.runtime import Runtime

ACTIVATIONS = {"plain_unet": 3, "residual_encoder_unet": 4}
"""Tensors of the finest level's width that a network run slab by slab (`networks.slabs`) holds at
once: what a block reads and writes, its branches, and slabs of them with the coarser levels."""

MOST_ACTIVATIONS = 6
"""Of networks of another kind."""

BYTES = {"float32": 4, "bf16": 2, "fp16": 2}


def needed_gib(card: StageCard, shape: Sequence[int], runtime: Runtime) -> float:
    """Return the memory that a stage takes beside its weights and the scan, GiB.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the stage's grid (z, y, x), canonical axes.
    """
    voxels = math.prod(max(n, p) for n, p in zip(shape, patch_here(card), strict=True))
    classes = card.network.output_channels
    scores = voxels * classes * (4 if card.nnunet is None or card.folds else 2)
    image = voxels * 4 * 3  # the image, a copy with a border, the sum of weights
    tile = math.prod(card.patch) * classes * 4 * (2 if card.folds else 1)
    if runtime.device != "cpu":
        return (scores + image + tile) / 2**30
    folded = math.prod(card.network.space_to_depth)
    held = ACTIVATIONS.get(card.network.kind, MOST_ACTIVATIONS)
    width = max(card.network.features_per_stage[0], 1) * BYTES[runtime.precision]
    return (scores + image + tile + held * width * math.prod(card.patch) // folded) / 2**30


def require_memory(
    card: StageCard, shape: Sequence[int], runtime: Runtime, *, free_gib: float | None = None
) -> None:
    """Refuse to start what would not fit.

    Raises
    ------
    InputError
        If less memory is free than the stage needs for a grid of `shape`.
    """
    free = free_memory_gib() if free_gib is None else free_gib
    need = needed_gib(card, shape, runtime)
    if free is not None and need > free:
        raise InputError(
            "memory",
            f"{free:.1f} GiB free",
            f"about {need:.1f} GiB for stage {card.name} ({card.network.output_channels} classes "
            f"on {' x '.join(map(str, shape))} voxels of its grid)",
            "Close other programs, cut the scan to the abdomen, or choose a coarser model.",
        )
