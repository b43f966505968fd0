"""How much memory a stage takes on a scan: said before it starts, not when it is killed.

On a graphics card a tile must fit, and all it is blended into need not (`tile_sums`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flare_core.errors import InputError
from flare_core.imaging.checks import free_memory_gib
from flare_core.models.stage_card import StageCard
from flare_core.segment.device_memory import TOO_LITTLE, free_device_gib
from flare_core.segment.nnunet import patch_here
from flare_core.segment.runtime import Runtime

ACTIVATIONS = {"plain_unet": 3, "residual_encoder_unet": 4, "masked_residual_unet": 4}
"""Tensors of the finest level's width that a network run slab by slab (`networks.slabs`) holds at
once: what a block reads and writes, its branches, and slabs of them with the coarser levels. One in
bricks (`networks.bricks`) holds what it skips, what it joins and the coarser levels: 3.6 measured
where the organ fills a quarter of the tile."""

MOST_ACTIVATIONS = 6
"""Of networks of another kind."""

BESIDE_GIB = 2.0
"""Memory for tiles that are run beside the first."""

DEVICE_ACTIVATIONS = {
    "plain_unet": 5,
    "residual_encoder_unet": 6,
    "stunet": 7,
    "dual_decoder_unet": 7,
    "phtrans": 6,
    "light_residual_unet": 8,
    "masked_residual_unet": 10,
}
"""The same of networks run as a whole, on a device: counted on tensors without numbers (`meta`),
and a half more for the libraries' own. A test counts again."""

MOST_DEVICE_ACTIVATIONS = 26
"""Of networks of another kind, which have wide layers at the finest level."""

DEVICE_FIXED_GIB = 0.25
"""Kernels and what they work in; assumed, as no graphics card was at hand."""

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
    voxels = _voxels(card, shape)
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


def device_gib(
    card: StageCard, shape: Sequence[int], runtime: Runtime, *, with_sums: bool
) -> float:
    """Return the memory that a stage takes of a device beside its weights, GiB (an estimate).

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the stage's grid (z, y, x), canonical axes.
    with_sums : bool
        Whether the sums of tiles' scores are there.
    """
    voxels = _voxels(card, shape)
    classes, width = card.network.output_channels, BYTES[runtime.precision]
    features = max(card.network.features_per_stage[0], 1)
    held = DEVICE_ACTIVATIONS.get(card.network.kind, MOST_DEVICE_ACTIVATIONS) * features
    folded = math.prod(card.network.space_to_depth)
    tile = math.prod(card.patch) * width * (held / folded + classes * (3 if card.folds else 1))
    image = voxels * (2 * width if card.nnunet is None else 2 * BYTES["float32"])
    each = BYTES["float32"] if card.nnunet is None else BYTES["fp16"] * (2 if card.folds else 1)
    sums = voxels * (each * (classes + 1) + 1) if with_sums else 0
    return DEVICE_FIXED_GIB + (tile + image + sums) / 2**30


def sums_fit(
    card: StageCard, shape: Sequence[int], runtime: Runtime, *, free_gib: float | None = None
) -> bool:
    """Whether a stage's sums can stay on a device that keeps scores.

    Some drivers do not refuse what does not fit but move it to and fro, which takes for ever.
    """
    if not runtime.keeps_scores:
        return False
    free = free_device_gib(runtime.where) if free_gib is None else free_gib
    return free is None or device_gib(card, shape, runtime, with_sums=True) <= free


def _voxels(card: StageCard, shape: Sequence[int]) -> int:
    """Return the voxels of a stage's grid (z, y, x), at least one tile."""
    return math.prod(max(n, p) for n, p in zip(shape, patch_here(card), strict=True))


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
        If less memory is free than the stage needs for a grid of `shape`, here or on the device.
    """
    free = free_memory_gib() if free_gib is None else free_gib
    need = needed_gib(card, shape, runtime)
    if free is not None and need > free:
        action = "Close other programs, cut the scan to the abdomen, or choose a coarser model."
        raise _too_little("memory", free, need, _work(card, shape), action)
    free = free_device_gib(runtime.where)
    need = device_gib(card, shape, runtime, with_sums=False)
    if free is not None and need > free:
        patch = " x ".join(map(str, card.patch))
        work = f"stage {card.name} (tiles of {patch} voxels in {runtime.precision})"
        raise _too_little("memory of the graphics card", free, need, work, TOO_LITTLE)


def _too_little(what: str, free: float, need: float, work: str, action: str) -> InputError:
    return InputError(what, f"{free:.1f} GiB free", f"about {need:.1f} GiB for {work}", action)


def _work(card: StageCard, shape: Sequence[int]) -> str:
    voxels = " x ".join(map(str, shape))
    classes = card.network.output_channels
    return f"stage {card.name} ({classes} classes on {voxels} voxels of its grid)"
