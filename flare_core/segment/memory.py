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

BESIDE_GIB = 2.0
"""Memory for tiles that are run beside the first."""

BYTES = {"float32": 4, "bf16": 2, "fp16": 2}


def needed_gib(
    card: StageCard, shape: Sequence[int], runtime: Runtime, *, at_once: int = 1
) -> float:
    """Return the memory that a stage takes beside its weights and the scan, GiB.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the stage's grid (z, y, x), canonical axes.
    at_once : int
        How many tiles a CPU runs at a time.
    """
    voxels = math.prod(max(n, p) for n, p in zip(shape, patch_here(card), strict=True))
    classes = card.network.output_channels
    scores = voxels * classes * (4 if card.nnunet is None or card.folds else 2)
    image = voxels * 4 * 3  # the image, a copy with a border, the sum of weights
    each = tile_gib(card, runtime)
    if runtime.device != "cpu":
        return (scores + image) / 2**30 + each
    waiting = 0.0 if at_once == 1 else _scores_gib(card)  # done, while others are still run
    return (scores + image) / 2**30 + at_once * each + waiting


def tile_gib(card: StageCard, runtime: Runtime) -> float:
    """Return the memory of this machine that one tile takes while it is run, GiB."""
    if runtime.device != "cpu":
        return _scores_gib(card)
    folded = math.prod(card.network.space_to_depth)
    held = ACTIVATIONS.get(card.network.kind, MOST_ACTIVATIONS)
    width = max(card.network.features_per_stage[0], 1) * BYTES[runtime.precision]
    return _scores_gib(card) + held * width * math.prod(card.patch) // folded / 2**30


def _scores_gib(card: StageCard) -> float:
    """Return the memory of a tile's scores, GiB."""
    copies = 2 if card.folds else 1
    return math.prod(card.patch) * card.network.output_channels * 4 * copies / 2**30


def tiles_at_once(
    card: StageCard, shape: Sequence[int], runtime: Runtime, *, free_gib: float | None = None
) -> int:
    """Return how many tiles to run at a time: one a thread, as far as memory goes.

    Those beside the first take at most `BESIDE_GIB`, and half of what would still be free.
    """
    if runtime.device != "cpu":
        return 1
    free = free_memory_gib() if free_gib is None else free_gib
    spare = BESIDE_GIB
    if free is not None:
        spare = min(spare, (free - needed_gib(card, shape, runtime)) / 2)
    more = int((spare - _scores_gib(card)) / tile_gib(card, runtime))
    allowed = min(runtime.threads, 1 + max(0, more))
    return runtime.threads // math.ceil(runtime.threads / allowed)


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
