"""What recipes share: nnU-Net's strides and kernels, optimiser and loss; a window; departures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flare_core.anatomy.organs import LESION
from flare_core.datasets.case import ALL_ORGANS
from flare_core.models.stage_card import NetworkSpec, Normalisation
from flare_core.train.config import LEAST_DEPTH
from flare_core.train.recipes.recipe import Departure

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]

WITH_LESION = (*ALL_ORGANS, LESION.key)
"""The 13 organs and a channel for lesions, as FLARE23's labels."""

SOFT_TISSUE = Normalisation("window", -160, 240, 40.0, 100.0)
"""A window for the abdomen. The teams took percentiles of their training set, which a recipe that
runs on anybody's scans does not know."""

SGD: dict[str, Any] = {
    "optimiser": "sgd", "momentum": 0.99, "rate_decay": "poly", "weight_decay": 3e-5,
    "clip_norm": 12.0, "warm_up_steps": 0,
}  # fmt: skip
"""nnU-Net's optimiser, written out; `NNUNET` says so."""

DICE_CE: dict[str, Any] = {"class_balance": 0.0, "centred": 0.33, "batch_size": 2}
"""nnU-Net's loss without weights, a third of the patches on foreground, two a step."""

EPOCH = 250
"""Steps of an epoch, as in nnU-Net."""

OURS = {
    "*.normalisation": "ours, see the departures",
    "*.ema_decay": "ours: this library exports the running mean of the weights",
}
NNUNET = dict.fromkeys(
    (
        "*.optimiser", "*.momentum", "*.rate_decay", "*.weight_decay", "*.clip_norm",
        "*.warm_up_steps", "*.class_balance", "*.centred", "*.batch_size",
    ),
    "nnU-Net's default, which the team kept or nothing else is known of",
)  # fmt: skip
"""Knob -> source, for trainings that are nnU-Net's but for what the recipe says."""

MULTICLASS_REGION = Departure(
    "a binary region of interest",
    "the region network names the 13 organs",
    "the cascade draws its box around the organs that are wanted, and says which were not found",
)
ANY_WINDOW = Departure(
    "intensities clipped at percentiles of the training set's foreground",
    "a window of -160 to 240 HU",
    "the recipe is written before anybody's scans are known",
)
RUNNING_MEAN = Departure(
    "the weights of the last step",
    "the running mean of the weights",
    "that is what every training of this library exports",
)
FIXED_MM = Departure(
    "the region resized to so many voxels",
    "a fixed voxel size at which the region of an abdomen fills as many",
    "a training draws patches; a longer region is then several tiles and not a squeezed one",
)
TRAINED_AT_MM = Departure(
    "the lesion network learns from regions resized to a cube",
    "it learns from patches at one voxel size, the mean of such regions, and runs on resized ones",
    "a training draws patches; its augmentation changes sizes by more than regions differ",
)


def unet(
    kind: str,
    widths: Sequence[int],
    patch: Triple,
    spacing_mm: Spacing,
    *,
    classes: int,
    encoder: int | Sequence[int] = 2,
    decoder: int = 2,
    deep: bool = True,
    stem: Triple = (1, 1, 1),
) -> NetworkSpec:
    """Return a network whose strides and kernels follow patch and voxel size, as in nnU-Net.

    Parameters
    ----------
    kind : str
        A key of `networks.NETWORKS`.
    widths : sequence of int
        Channels of each stage; those for which the patch is too small fall away.
    patch : (int, int, int)
        Voxels z, y, x.
    spacing_mm : (float, float, float)
        Of the patch.
    classes : int
        Channels of the logits, background included.
    encoder, decoder : int
        Convolutions, or blocks, in each stage.
    deep : bool
        Whether coarse stages are supervised too.
    stem : (int, int, int)
        Stride of the first stage.

    Examples
    --------
    >>> unet("plain_unet", (16, 32, 64, 128), (32, 128, 192), (4, 1.2, 1.2), classes=14).strides
    ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    """
    strides, kernels = stages(patch, spacing_mm, len(widths), stem)
    count = len(strides)
    blocks = tuple(encoder)[:count] if isinstance(encoder, Sequence) else (encoder,) * count
    return NetworkSpec(
        kind,
        output_channels=classes,
        features_per_stage=tuple(widths[:count]),
        strides=strides,
        kernel_sizes=kernels,
        convolutions_per_stage_encoder=blocks,
        convolutions_per_stage_decoder=(decoder,) * (count - 1),
        deep_supervision=deep,
    )


def stages(
    patch: Triple, spacing_mm: Spacing, most: int, stem: Triple = (1, 1, 1)
) -> tuple[tuple[Triple, ...], tuple[Triple, ...]]:
    """Return strides and kernels of at most so many stages.

    An axis is halved while its voxels are less than twice the finest ones, as in nnU-Net, and while
    `LEAST_DEPTH` voxels are left. A kernel is flat across an axis that has not been halved yet.
    """
    size = [n // s for n, s in zip(patch, stem, strict=True)]
    mm = [m * s for m, s in zip(spacing_mm, stem, strict=True)]
    strides: list[Triple] = [stem]
    kernels = [_kernel(mm, (1, 1, 1))]
    while len(strides) < most:
        can = [n % 2 == 0 and n // 2 >= LEAST_DEPTH for n in size]
        if not any(can):
            break
        finest = min(m for m, c in zip(mm, can, strict=True) if c)
        halved = [c and m < 2 * finest for c, m in zip(can, mm, strict=True)]
        z, y, x = (2 if h else 1 for h in halved)
        size = [n // s for n, s in zip(size, (z, y, x), strict=True)]
        mm = [m * s for m, s in zip(mm, (z, y, x), strict=True)]
        strides.append((z, y, x))
        kernels.append(_kernel(mm, kernels[-1]))
    return tuple(strides), tuple(kernels)


def _kernel(mm: Sequence[float], before: Triple) -> Triple:
    z, y, x = (1 if m > 2 * min(mm) and k == 1 else 3 for m, k in zip(mm, before, strict=True))
    return z, y, x
