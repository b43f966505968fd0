"""A network over a volume larger than its patch: overlapping tiles, blended, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.errors import InputError
from flare_core.imaging.geometry import AxisMap, Box, Index
from flare_core.models.stage_card import Skipping
from flare_core.segment.device_memory import OWN_MEMORY, or_own_memory
from flare_core.segment.nnunet import nnunet_starts, nnunet_weights
from flare_core.segment.runtime import Runtime
from flare_core.segment.side_by_side import in_order
from flare_core.segment.tile_choice import TileChoice, Wanted, with_a_middle
from flare_core.segment.tile_sums import TileSums, tile_place

Notify = Callable[[float], None]


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles, and what becomes of a tile's logits."""

    axes: AxisMap = AxisMap((0, 1, 2), (False, False, False))
    """From the image's axes to those the network was trained on."""
    nnunet: bool = False
    """Whether tiles lie, count and are padded exactly as nnU-Net's."""
    probabilities: bool = False
    """Whether probabilities are averaged (nnU-Net v1) and not logits."""
    regions: bool = False
    """Whether the channels are independent: the probability is a sigmoid's, less one half."""
    at_once: int = 1
    """How many tiles a CPU runs at a time; the sums are the same."""
    skipping: Skipping | None = None
    """Whether the middle tile decides on those beside it, and how; None: it does not."""
    sums_there: bool = True
    """Whether a device that keeps scores has room for the sums too, by an estimate."""
    edges: bool = False
    """Whether an image smaller than a tile goes on as its edge, and not as its lowest value."""

    def into(self, tile: Tensor) -> Tensor:
        """Return an image (Z, Y, X) in the network's axes."""
        flipped = [a for a, flip in enumerate(self.axes.flips) if flip]
        turned = tile.permute(self.axes.permutation)
        return turned.flip(flipped) if flipped else turned  # which copies, if there is nothing, too

    def back(self, scores: Tensor) -> Tensor:
        """Return scores (..., network's axes) in the image's axes (..., Z, Y, X)."""
        lead = scores.dim() - 3
        flipped = [lead + a for a, flip in enumerate(self.axes.flips) if flip]
        order = [lead + self.axes.permutation.index(a) for a in range(3)]
        turned = scores.flip(flipped) if flipped else scores
        return turned.permute(*range(lead), *order)

    def patch(self, patch: Index) -> Index:
        """Return a patch (network's axes) in the image's axes."""
        z, y, x = (patch[self.axes.permutation.index(a)] for a in range(3))
        return z, y, x

    def is_flipped(self, axis: int) -> bool:
        """Whether the network sees an axis of the image backwards."""
        return self.axes.flips[self.axes.permutation.index(axis)]

    def starts(self, shape: Sequence[int], patch: Index, tile_step: float) -> list[list[int]]:
        """Return where tiles begin along each axis of an image."""
        found = []
        for axis, (size, n) in enumerate(zip(shape, patch, strict=True)):
            starts = (nnunet_starts if self.nnunet else tile_starts)(size, n, tile_step)
            if self.skipping and axis > 0:
                starts = with_a_middle(starts)
            mirrored = self.nnunet and self.is_flipped(axis)
            found.append([size - n - a for a in reversed(starts)] if mirrored else starts)
        return found

    def in_order(self, tiles: list[Index]) -> list[Index]:
        """Return the tiles in the order in which nnU-Net runs them: float16 sums depend on it."""
        signs = [-1 if flip else 1 for flip in self.axes.flips]
        order = self.axes.permutation
        return sorted(tiles, key=lambda t: [s * t[a] for s, a in zip(signs, order, strict=True)])

    def weights(self, patch: Index) -> Tensor:
        """Return the weight of each voxel of a tile (Z, Y, X), from the patch in network's axes."""
        return self.back(nnunet_weights(patch)) if self.nnunet else tile_weights(self.patch(patch))

    @property
    def sum_type(self) -> torch.dtype:
        """Return the type of the sums: nnU-Net v2 adds in float16, and so its tails are rounded."""
        return torch.float16 if self.nnunet and not self.probabilities else torch.float32

    def averaged(self, logits: Tensor) -> Tensor:
        """Return what is averaged, from logits (C, ...)."""
        if not self.probabilities:
            return logits
        return logits.sigmoid() - 0.5 if self.regions else logits.softmax(dim=0)


MOST_TILES = 50_000
"""Tiles of a stage; a scan from head to feet at 1.5 mm has about two thousand of 128 voxels."""

OWN = Tiling()
"""This project's way, axes as they are."""


def tile_starts(size: int, patch: int, tile_step: float) -> list[int]:
    """Return where tiles begin along one axis: evenly spread, at most ``tile_step * patch`` apart.

    Examples
    --------
    >>> tile_starts(100, 64, 0.8)
    [0, 36]
    >>> tile_starts(50, 64, 0.8)
    [0]
    """
    if size <= patch:
        return [0]
    count = -(-(size - patch) // max(1, int(patch * tile_step))) + 1
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
    tile_step: float,
    runtime: Runtime,
    *,
    tiling: Tiling = OWN,
    wanted: Wanted | None = None,
    notify: Notify | None = None,
) -> Tensor:
    """Return class scores of a whole volume.

    Parameters
    ----------
    networks : sequence of nn.Module
        Folds, already placed by `runtime`; their logits are averaged tile by tile (as nnU-Net v2:
        one fold after the other).
    image : float (Z, Y, X), normalised
        Anywhere. Smaller ones are padded with their lowest value, which is air (nnU-Net: with 0).
    patch : (int, int, int)
        Tile, voxels along the network's axes.
    tile_step : float
        Distance of tiles as a fraction of the patch.
    runtime : Runtime
        Where the networks were placed.
    tiling : Tiling
        How the tiles lie.
    wanted : callable
        Whether a part of the image (Box) is looked at; where it is not, there is background.
    notify : callable
        Told the share of tiles done, 0 to 1; may raise to stop.

    Returns
    -------
    float32 (C, Z, Y, X), as nnU-Net float16
        Weighted mean of the logits; on a device that keeps scores if they fit there, else in the
        machine's own memory.

    Raises
    ------
    InputError
        If there would be more than `MOST_TILES`, if a device has no memory for a tile, or if
        float16 is not enough for the network's numbers.
    """
    if tiling.sum_type == torch.float16 and len(networks) > 1:
        return _fold_by_fold(networks, image, patch, tile_step, runtime, tiling, notify=notify)
    here = tiling.patch(patch)
    image = image.to(runtime.keeps_at)
    padded, inner = _pad(image, here, tiling)
    z, y, x = tiling.starts(padded.shape, here, tile_step)
    count = len(z) * len(y) * len(x)
    if count > MOST_TILES:
        came = f"{patch} at a step of {tile_step:g}: {count} tiles for {tuple(padded.shape)} voxels"
        action = "Choose another model: this one would take days."
        raise InputError("patch", came, f"at most {MOST_TILES} tiles", action)
    tiles = tiling.in_order(list(product(z, y, x)))
    if len(tiles) == 1:
        scores = _of_one_tile(networks, padded, runtime, tiling)
        _tell(notify, 1.0)
    else:
        choice = TileChoice(tiles, (z, y, x), here, _index(padded.shape), tiling.skipping)
        choice = choice.near(_of_padded(wanted, inner))
        weights = tiling.weights(patch)
        scores = _blend(networks, padded, choice, weights, runtime, tiling, notify=notify)
    _require_numbers(scores, runtime)
    kept = (slice(None), *inner)
    return scores[kept]


def _of_one_tile(
    networks: Sequence[nn.Module], image: Tensor, runtime: Runtime, tiling: Tiling
) -> Tensor:
    """Return the scores (C, Z, Y, X) of an image that is one tile."""
    scores = or_own_memory(image, lambda image: _run(networks, image, runtime, tiling))
    return or_own_memory(scores, lambda scores: tiling.back(scores).to(tiling.sum_type))


def _require_numbers(scores: Tensor, runtime: Runtime) -> None:
    """Refuse scores that float16 could not hold: labels made of them would be wrong in silence.

    Raises
    ------
    InputError
        If a score is NaN or infinite.
    """
    if runtime.precision == "fp16" and not torch.stack(torch.aminmax(scores)).isfinite().all():
        raise InputError(
            "--precision",
            "fp16, in which numbers of this network end at 65504",
            "bf16 or float32 for this model and scan",
            "Run it again with --precision bf16, or float32.",
        )


def _of_padded(wanted: Wanted | None, inner: tuple[slice, slice, slice]) -> Wanted | None:
    """Return `wanted` for boxes of the padded image."""
    if wanted is None:
        return None
    before = tuple(each.start for each in inner)

    def there(box: Box) -> bool:
        start, stop = (
            _index(n - b for n, b in zip(edge, before, strict=True))
            for edge in (box.start, box.stop)
        )
        return wanted(Box(start, stop))

    return there


def _index(numbers: Iterable[int]) -> Index:
    z, y, x = numbers
    return z, y, x


def _fold_by_fold(
    networks: Sequence[nn.Module],
    image: Tensor,
    patch: Index,
    tile_step: float,
    runtime: Runtime,
    tiling: Tiling,
    *,
    notify: Notify | None,
) -> Tensor:
    """Average the folds' float16 scores, as nnU-Net: its rounding shows where two classes tie."""
    total: Tensor | None = None
    for i, network in enumerate(networks):
        share = None if notify is None else partial(_tell_part, notify, i, len(networks))
        one = predict_scores(
            [network], image, patch, tile_step, runtime, tiling=tiling, notify=share
        )
        if total is not None and total.device != one.device:  # memory was short for one of them
            total, one = total.to(OWN_MEMORY), one.to(OWN_MEMORY)
        total = one if total is None else total.add_(one)
    if total is None:
        raise ValueError("no network")
    return total.div_(len(networks))


def _tell_part(notify: Notify, part: int, parts: int, done: float) -> None:
    notify((part + done) / parts)


def _blend(
    networks: Sequence[nn.Module],
    image: Tensor,
    choice: TileChoice,
    weights: Tensor,
    runtime: Runtime,
    tiling: Tiling,
    *,
    notify: Notify | None,
) -> Tensor:
    """Run the tiles and average their logits where they overlap.

    Tiles of air alone are not run, except as nnU-Net, nor those that a middle one makes needless:
    what only they cover is background.
    """
    sums = TileSums(image.shape, weights, tiling, image.device if tiling.sums_there else OWN_MEMORY)
    empty = -torch.inf if tiling.nnunet else image.min()
    full = [t for t in choice.tiles if not bool((image[tile_place(t, weights)] <= empty).all())]
    first, others = choice.waves(full)
    crowded: set[int] = set()  # where along z a middle tile found something
    done = 0

    def run(tile: Index) -> Tensor:
        part = image[tile_place(tile, weights)]
        return sums.or_move(lambda: _run(networks, part, runtime, tiling))

    while first:
        at_once = tiling.at_once if runtime.device == "cpu" else 1
        results = in_order(run, first, threads=runtime.threads, at_once=at_once)
        with closing(results):
            for tile, scores in zip(first, results, strict=True):
                sums.add(scores, tile)
                if others and choice.worth_going_on(_seen(scores, tiling)):
                    crowded.add(tile[0])
                del scores  # before the next is waited for
                done += 1
                _tell(notify, done / len(full))
        first, others = [tile for tile in others if tile[0] in crowded], []
    if not done:  # nothing to look at: one tile is run to learn how many classes there are
        air = image[tuple(slice(n) for n in weights.shape)]
        sums.start(sums.or_move(lambda: _run(networks, air, runtime, tiling)).shape[0])
    if done < len(full) or not full:
        _tell(notify, 1.0)
    return sums.mean(regions=tiling.regions)


def _seen(scores: Tensor, tiling: Tiling) -> Tensor:
    """Return where a tile's scores (C, network's axes) name anything: bool (Z, Y, X)."""
    best = tiling.back(scores)
    return best.amax(dim=0) > 0 if tiling.regions else best.argmax(dim=0) > 0


def _run(networks: Sequence[nn.Module], tile: Tensor, runtime: Runtime, tiling: Tiling) -> Tensor:
    """Return mean scores (C, network's axes) of one tile, in the network's type.

    They are where they stay: on the device, or beside the processor.
    """
    batch = tiling.into(tile)[None, None].to(runtime.where, runtime.dtype)  # (1, 1, Z, Y, X)
    batch = batch.contiguous(memory_format=runtime.layout)
    with torch.no_grad():  # not inference mode: one tile's scores are the whole, and are changed
        scores = tiling.averaged(networks[0](batch)[0])
        for network in networks[1:]:
            scores = scores + tiling.averaged(network(batch)[0])
        if len(networks) > 1:
            scores.div_(len(networks))
        return scores if runtime.keeps_scores else scores.cpu()


def _pad(image: Tensor, patch: Index, tiling: Tiling) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Return the image padded to at least the patch, and where it lies inside."""
    missing = [max(0, p - n) for n, p in zip(image.shape, patch, strict=True)]
    before = [m - m // 2 if tiling.is_flipped(a) else m // 2 for a, m in enumerate(missing)]
    z, y, x = (slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    if not any(missing):
        return image, (z, y, x)
    widths = [w for m, b in zip(missing[::-1], before[::-1], strict=True) for w in (b, m - b)]
    if tiling.edges:
        return functional.pad(image[None, None], widths, mode="replicate")[0, 0], (z, y, x)
    value = 0.0 if tiling.nnunet else float(image.min())
    return functional.pad(image, widths, value=value), (z, y, x)


def _tell(notify: Notify | None, fraction: float) -> None:
    if notify is not None:
        notify(fraction)
