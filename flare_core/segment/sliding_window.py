"""A network over a volume larger than its patch: overlapping tiles, blended, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.segment.runtime import Runtime

Index = tuple[int, int, int]
Notify = Callable[[float], None]


def tile_starts(size: int, patch: int, step: float) -> list[int]:
    """Return where tiles begin along one axis: evenly spread, at most ``step * patch`` apart.

    Examples
    --------
    >>> tile_starts(100, 64, 0.8)
    [0, 36]
    >>> tile_starts(50, 64, 0.8)
    [0]
    """
    if size <= patch:
        return [0]
    count = -(-(size - patch) // max(1, int(patch * step))) + 1
    return [round(i * (size - patch) / (count - 1)) for i in range(count)]


def tile_weights(patch: Index) -> Tensor:
    """Return the weight of each voxel of a tile (Z, Y, X): a Gaussian of SD patch / 8, as nnU-Net.

    Its smallest value is kept above 1e-3, so that no voxel divides by almost nothing.
    """
    axes = []
    for n in patch:
        place = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
        axes.append(torch.exp(-0.5 * (place / (n / 8)) ** 2))
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return weights.clamp_(min=1e-3)


def predict_scores(
    networks: Sequence[nn.Module],
    image: Tensor,
    patch: Index,
    step: float,
    runtime: Runtime,
    *,
    notify: Notify | None = None,
) -> Tensor:
    """Return class scores of a whole volume.

    Parameters
    ----------
    networks : sequence of nn.Module
        Folds, already placed by `runtime`; their logits are averaged tile by tile.
    image : float32 (Z, Y, X), normalised
        Smaller volumes are padded with their lowest value, which is air.
    patch : (int, int, int)
        Tile, voxels z, y, x.
    step : float
        Distance of tiles as a fraction of the patch.
    runtime : Runtime
        Where the networks were placed.
    notify : callable
        Told the share of tiles done, 0 to 1; may raise to stop.

    Returns
    -------
    float32 (C, Z, Y, X) on the CPU
        Weighted mean of the logits.
    """
    padded, inner = _pad(image, patch)
    starts = [tile_starts(n, p, step) for n, p in zip(padded.shape, patch, strict=True)]
    tiles = [(z, y, x) for z, y, x in product(*starts)]
    if len(tiles) == 1:
        scores = _run(networks, padded, runtime)
        _tell(notify, 1.0)
        return scores[(slice(None), *inner)]
    return _blend(networks, padded, tiles, patch, runtime, notify)[(slice(None), *inner)]


def _blend(
    networks: Sequence[nn.Module],
    image: Tensor,
    tiles: Sequence[Index],
    patch: Index,
    runtime: Runtime,
    notify: Notify | None,
) -> Tensor:
    """Run the tiles and average their logits where they overlap.

    Tiles of air alone are not run: what only they cover is background.
    """
    weights = tile_weights(patch)
    total: Tensor | None = None
    mass = torch.zeros(image.shape)
    empty = image.min()
    for done, start in enumerate(tiles, 1):
        place = tuple(slice(a, a + n) for a, n in zip(start, patch, strict=True))
        tile = image[place]
        scores = None if bool((tile <= empty).all()) else _run(networks, tile, runtime)
        if total is None and scores is not None:
            total = torch.zeros(scores.shape[0], *image.shape)
        if total is not None and scores is not None:
            total[(slice(None), *place)].addcmul_(scores, weights[None])
            mass[place] += weights
        _tell(notify, done / len(tiles))
    if total is None:  # nothing but air: one tile is run to learn how many classes there are
        place = tuple(slice(a, a + n) for a, n in zip(tiles[0], patch, strict=True))
        total = torch.zeros(_run(networks, image[place], runtime).shape[0], *image.shape)
    total[0] += mass == 0
    return total.div_(mass.clamp_(min=1e-6))


def _run(networks: Sequence[nn.Module], tile: Tensor, runtime: Runtime) -> Tensor:
    """Return mean logits (C, Z, Y, X) float32 of one tile on the CPU."""
    batch = tile[None, None].to(runtime.device, runtime.dtype)  # (1, 1, Z, Y, X)
    batch = batch.contiguous(memory_format=runtime.layout)
    with torch.inference_mode():
        scores = networks[0](batch)
        for network in networks[1:]:
            scores = scores + network(batch)
        return (scores[0] / len(networks)).float().cpu()


def _pad(image: Tensor, patch: Index) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Return the image padded to at least the patch, and where it lies inside."""
    missing = [max(0, p - n) for n, p in zip(image.shape, patch, strict=True)]
    before = [m // 2 for m in missing]
    z, y, x = (slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    if not any(missing):
        return image, (z, y, x)
    widths = [w for m, b in zip(missing[::-1], before[::-1], strict=True) for w in (b, m - b)]
    return functional.pad(image, widths, value=float(image.min())), (z, y, x)


def _tell(notify: Notify | None, fraction: float) -> None:
    if notify is not None:
        notify(fraction)
