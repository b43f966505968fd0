"""One model of the cascade on one part of one scan."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.imaging.geometry import Box, Geometry, Index, box_of_world
from flare_core.imaging.hounsfield import normalise, normalised
from flare_core.imaging.resample import (
    ComputeDevice,
    covered,
    grid_weights,
    resample_labels,
    resampled,
    span,
)
from flare_core.imaging.resample_scores import (
    ON_CPU,
    ON_DEVICE,
    Weights,
    last_above_zero,
    streamed_argmax,
)
from flare_core.imaging.volume import Volume, body_box
from flare_core.models.package import Package, read_weights
from flare_core.models.stage_card import OrganMask, StageCard
from flare_core.networks import build_network
from flare_core.networks.separable import multiply_out, separate
from flare_core.segment.device_memory import Relief, or_own_memory
from flare_core.segment.memory import require_memory, sums_fit, tiles_at_once
from flare_core.segment.nnunet import (
    ResamplingPlan,
    network_axes,
    network_input,
    patch_here,
    resampling_plan,
    spacing_here,
)
from flare_core.segment.organ_mask import seen_voxels
from flare_core.segment.runtime import Runtime
from flare_core.segment.side_by_side import in_order
from flare_core.segment.sliding_window import Tiling, predict_scores
from flare_core.segment.weights import fill, require_size

MOST_LOADED = 6
"""Stages kept in memory of models that are no longer among the `MODELS_HELD`."""

MOST_CLASSES = 254
"""Classes of a stage, background included: they are counted in bytes, and 255 means unsure."""

SLICES = 16
"""Slices of a scan whose labels are made at a time, several such parts side by side on a CPU."""

UNSEEN = 100.0
"""Taken from the scores of what is not to be seen."""

MODELS_HELD = 2
"""Models used last, of which every stage stays in memory, however many there are: a model that gave
up its first stage for its last would read all of them anew on every run."""

_Key = tuple[str, str, Runtime]
_LOADED: dict[_Key, LoadedStage] = {}
"""By fingerprint of the model, stage and runtime; what was used last comes last."""
_LOADING = threading.Lock()


@dataclass(frozen=True, eq=False)
class LoadedStage:
    """A stage whose networks are in memory, ready to run."""

    card: StageCard
    """What it is."""
    networks: tuple[nn.Module, ...]
    """One per fold."""
    runtime: Runtime
    """Where it runs."""


@dataclass(frozen=True, eq=False)
class SeenOrgans:
    """What a stage with a `mask` is shown of a scan, on its own grid."""

    hu: npt.NDArray[np.float32]
    """HU (Z, Y, X), those out of sight too."""
    mask: npt.NDArray[np.bool_]
    """What is seen (Z, Y, X)."""
    organs: npt.NDArray[np.generic]
    """Organ ids (Z, Y, X)."""
    geometry: Geometry
    """The grid."""

    def inside(self, card: StageCard) -> npt.NDArray[np.bool_]:
        """Return where the organs of a card's mask are seen (Z, Y, X)."""
        assert card.mask is not None
        return np.isin(self.organs, [organ(key).id for key in card.mask.organs]) & self.mask

    def crop(self, box: Box) -> SeenOrgans:
        """Return what is seen in a box of the grid."""
        cut = box.slices
        return SeenOrgans(self.hu[cut], self.mask[cut], self.organs[cut], self.geometry.crop(box))


@dataclass(frozen=True, eq=False)
class Scores:
    """What a stage says about a part of a scan."""

    logits: Tensor
    """float32 (C, Z, Y, X) on `geometry`, on any device; what `probabilities` turns into such."""
    geometry: Geometry
    """The stage's grid."""
    card: StageCard
    """Which stage."""
    resampling: ResamplingPlan | None = None
    """How the scores come back to the scan in nnU-Net's compatible mode; None: linearly."""
    seen: SeenOrgans | None = None
    """What a stage with a `mask` was shown."""

    def in_own_memory(self) -> Scores:
        """Return the same scores in the machine's own memory."""
        return self if self.logits.device.type == "cpu" else replace(self, logits=self.logits.cpu())

    def probabilities(self) -> Tensor:
        """Return the probability of each channel, float32 (C, Z, Y, X), where the scores are."""
        logits = self.logits.float()  # float16 rounds what is unlikely to 0
        if self.card.nnunet is not None and self.card.nnunet.average == "probabilities":
            return logits + 0.5 if self.card.regions else logits
        return logits.sigmoid() if self.card.regions else logits.softmax(dim=0)

    def class_probabilities(self) -> Tensor:
        """Return how likely each entry of `organ_table` is, background first, float32 (K, Z, Y, X).

        Regions do not exclude one another, and a later one paints over an earlier. What is seen
        in a voxel is region k as far as k is there and none of the later ones is:
        min(p_k, 1 - max of the later p), and background 1 - max of all. The most likely entry is
        then the one that `labels` gives; the entries need not add up to 1.
        """
        each = self.probabilities()
        if not self.card.regions:
            return each
        seen = each.new_empty((len(each) + 1, *each.shape[1:]))
        free = torch.ones_like(each[0])  # 1 - max of the later ones
        for channel in range(len(each) - 1, -1, -1):
            torch.minimum(each[channel], free, out=seen[channel + 1])
            free = torch.minimum(free, 1 - each[channel])
        seen[0] = free
        return seen

    def labels(self) -> Volume:
        """Return the best organ of each voxel of the stage's own grid: organ ids, uint8."""
        best = or_own_memory(self.logits, last_above_zero if self.card.regions else _best_class)
        return Volume(organ_table(self.card)[best.cpu().numpy()], self.geometry)

    def labels_on(self, target: Geometry) -> Volume:
        """Return organ ids on a finer grid; voxels outside the stage's part are 0.

        Parameters
        ----------
        target : Geometry
            Axes parallel to the stage's own.
        """
        box, weights = covered(self.geometry, target), None
        if self.resampling is not None and self.resampling.scan == target:
            box, weights = self.resampling.box, self.resampling.weights
        labels = np.zeros(target.shape, np.uint8)
        if box.empty:
            return Volume(labels, target)
        part, inside = target.crop(box), labels[box.slices]
        weights = grid_weights(self.geometry, part) if weights is None else weights
        table, threads = organ_table(self.card), torch.get_num_threads()
        held = [self]
        relief = Relief(lambda: held.append(held.pop().in_own_memory()))

        def fill(start: int) -> None:
            rows = slice(start, min(start + SLICES, len(inside)))
            if self._is_empty(rows, weights):
                return
            best = relief.do(lambda: held[0]._best_in(rows, part, weights))
            for k, row in enumerate(best, start):  # numpy widens all it looks up to eight bytes
                np.take(table, row, out=inside[k])

        at_once = threads if self.logits.device.type == "cpu" else 1
        starts = range(0, len(inside), SLICES)
        for _ in in_order(fill, starts, threads=threads, at_once=at_once):
            pass
        return Volume(labels, target)

    def _is_empty(self, rows: slice, weights: Weights) -> bool:
        """Whether no region can be in some slices: none of the scores that they need is above 0.

        What lies between such scores is not above 0 either, unless it is interpolated cubically.
        """
        if not self.card.regions or self.resampling is not None:
            return False
        return not bool((self.logits[:, span(weights[0][rows])] > 0).any())

    def _best_in(self, rows: slice, target: Geometry, weights: Weights) -> npt.NDArray[np.uint8]:
        """Return the best class of some slices of `target`, from the scores that they need."""
        used, (_, height, width) = span(weights[0][rows]), self.geometry.shape
        seen = Box((used.start, 0, 0), (used.stop, height, width))
        shown = Box((rows.start, 0, 0), (rows.stop, *target.shape[1:]))
        return streamed_argmax(
            self.logits[:, used],
            self.geometry.crop(seen),
            target.crop(shown),
            pace=ON_CPU if self.logits.device.type == "cpu" else ON_DEVICE,
            weights=(weights[0][rows, used], *weights[1:]),
            regions=self.card.regions,
            half=self.logits.dtype == torch.float16,
        )


def load_stage(package: Package, name: str, runtime: Runtime) -> LoadedStage | None:
    """Return a stage of a model, from memory if it ran before; None if the model has none such.

    Raises
    ------
    InputError
        If the stage needs something this version cannot do, or the weights do not fit the card.
    """
    card = package.card.stage(name)
    if card is None:
        return None
    with _LOADING:
        key = (package.fingerprint, name, runtime)
        if key not in _LOADED:
            _require_supported(card)
            _make_room(key)
            networks = tuple(_network(card, path, runtime) for path in package.weights_paths(card))
            _LOADED[key] = LoadedStage(card, networks, runtime)
        _LOADED[key] = _LOADED.pop(key)  # used last
        return _LOADED[key]


def _make_room(coming: _Key) -> None:
    """Let go of the stages used longest ago, but of none of the models used last."""
    models = dict.fromkeys((key[0], key[2]) for key in (coming, *reversed(_LOADED)))
    held = list(models)[:MODELS_HELD]
    others = [key for key in _LOADED if (key[0], key[2]) not in held]
    for key in others[: max(0, len(_LOADED) + 1 - MOST_LOADED)]:
        del _LOADED[key]


def run_stage(
    stage: LoadedStage,
    image: Volume,
    region: Box,
    *,
    organs: Volume | None = None,
    tile_step: float | None = None,
    rough: Volume | None = None,
    notify: Callable[[float], None] | None = None,
) -> Scores:
    """Return the stage's scores inside `region`.

    A stage with a `mask` sees its organs alone, and its scores are those of their box inside
    `region`.

    Parameters
    ----------
    image : Volume, HU
        Canonical axes.
    region : Box
        Voxels of `image` to look at.
    organs : Volume, optional
        Organ ids on the grid of `image`, for a stage with a `mask`; some of its organs are there.
    tile_step : float, optional
        Distance of tiles as a fraction of the patch; the card's if None.
    rough : Volume, optional
        What the stage before found; a card that skips tiles outside of it asks for it.
    notify : callable, optional
        Told the share done, 0 to 1; may raise to stop.

    Raises
    ------
    InputError
        If there is too little memory for it.
    """
    if stage.card.mask is not None:
        seen = _seen_organs(image, region, organs, stage, stage.card.mask)
        return run_on_organs(stage, seen, tile_step=tile_step, notify=notify)
    pixels, geometry, resampling = _input_of(image, region, stage)
    card, short = _for_short_scans(stage.card, geometry.shape)
    logits = predict_scores(
        stage.networks,
        pixels,
        card.patch,
        tile_step or card.tile_step,
        stage.runtime,
        tiling=_tiling(card, geometry.shape, stage.runtime, short=short),
        wanted=_near(rough, geometry, card),
        notify=notify,
    )
    return Scores(logits, geometry, card, resampling)


def run_on_organs(
    stage: LoadedStage,
    seen: SeenOrgans,
    *,
    tile_step: float | None = None,
    notify: Callable[[float], None] | None = None,
) -> Scores:
    """Return the scores of a stage with a `mask`, its tiles cut to what it sees.

    Raises
    ------
    InputError
        If there is too little memory for it.
    """
    mask, shape, n = stage.card.mask, seen.geometry.shape, stage.card.normalisation
    assert mask is not None
    card = replace(stage.card, patch=cut_patch(stage.card, shape))
    require_memory(card, shape, stage.runtime)
    hu = np.where(seen.mask, seen.hu, np.float32(mask.outside_hu))
    logits = predict_scores(
        stage.networks,
        torch.from_numpy(normalise(hu, (n.lower_hu, n.upper_hu), n.mean, n.std)),
        card.patch,
        tile_step or card.tile_step,
        stage.runtime,
        tiling=_tiling(card, shape, stage.runtime),
        notify=notify,
    )
    hide(logits, ~seen.mask, regions=card.regions)
    return Scores(logits, seen.geometry, card, seen=seen)


def _tiling(card: StageCard, shape: Index, runtime: Runtime, *, short: bool = False) -> Tiling:
    """Return how a stage looks at a grid of this shape."""
    return Tiling(
        network_axes(card),
        nnunet=card.nnunet is not None,
        probabilities=card.nnunet is not None and card.nnunet.average == "probabilities",
        regions=card.regions,
        at_once=tiles_at_once(card, shape, runtime),
        sums_there=sums_fit(card, shape, runtime),
        skipping=card.skipping if card.skipping and card.skipping.centre_first else None,
        edges=short,
    )


def _best_class(logits: Tensor) -> Tensor:
    return logits.argmax(dim=0).to(torch.uint8)


def hide(logits: Tensor, places: npt.NDArray[np.bool_], *, regions: bool) -> None:
    """Lower the scores (C, Z, Y, X) of everything but the background out of sight, in places."""
    logits[0 if regions else 1 :, torch.from_numpy(places).to(logits.device)] -= UNSEEN


def _seen_organs(
    image: Volume, region: Box, organs: Volume | None, stage: LoadedStage, mask: OrganMask
) -> SeenOrgans:
    """Return what a stage sees, and the box of it; found beside the processor, from float32."""
    if organs is None:
        raise ValueError(
            f"stage {stage.card.name} has a mask, and nobody says where the organs are"
        )
    target = image.geometry.crop(region).with_spacing(spacing_here(stage.card))
    hu = (
        resampled(image, target, ComputeDevice(stage.runtime.keeps_at, torch.float32)).cpu().numpy()
    )
    there = resample_labels(organs, target)
    seen = seen_voxels(Volume(hu, target), there, mask)
    box = Box.of_mask(seen) or Box((0, 0, 0), (1, 1, 1))
    return SeenOrgans(hu, seen, there.array, target).crop(box)


def _for_short_scans(card: StageCard, shape: Index) -> tuple[StageCard, bool]:
    """Return an organ stage's card with tiles as short as the scan, and whether they are.

    Air beside what a scan shows moves the means that a network normalises by. Measured with model
    0.3.0 on the seven scans of the data that are shorter than its patch, though not by half: mean
    DSC .920 with shorter tiles, .878 with air (.917 and .913 without the worst of them). Of one of
    a third of a patch the tile says less: there air is better.
    """
    cut = cut_patch(card, shape)
    thick = all(2 * n >= whole for n, whole in zip(cut, card.patch, strict=True))
    if card.nnunet is not None or not card.name.startswith("organs") or not thick:
        return card, False
    return replace(card, patch=cut), cut != card.patch


def cut_patch(card: StageCard, shape: Index) -> Index:
    """Return the card's patch, or along axes where the image is smaller as much of it as needed.

    Parameters
    ----------
    shape : (int, int, int)
        Of the image, canonical axes; the patch has the network's.
    """
    order = network_axes(card).permutation
    sizes = zip(card.patch, (shape[axis] for axis in order), card.network.divisor, strict=True)
    z, y, x = (min(most, -(-n // divisor) * divisor) for most, n, divisor in sizes)
    return z, y, x


def _input_of(
    image: Volume, region: Box, stage: LoadedStage
) -> tuple[Tensor, Geometry, ResamplingPlan | None]:
    """Return what the network sees of `region`, its grid, and how nnU-Net would come back.

    On a device that keeps scores the voxels are brought onto that grid there.
    """
    card, where = stage.card, stage.runtime.keeps_at
    if card.nnunet is not None:
        resampling = resampling_plan(image, region, card, card.nnunet)
        require_memory(card, resampling.geometry.shape, stage.runtime)
        pixels = network_input(
            image, resampling, card, card.nnunet, place=ComputeDevice(where, torch.float32)
        )
        return pixels, resampling.geometry, resampling
    part = image.geometry.crop(region)
    target = (
        part.with_shape(patch_here(card)) if card.whole else part.with_spacing(spacing_here(card))
    )
    require_memory(card, target.shape, stage.runtime)
    seen = resampled(image, target, ComputeDevice(where, stage.runtime.grid_type))
    n = card.normalisation
    return normalised(seen, (n.lower_hu, n.upper_hu), n.mean, n.std), target, None


def _near(rough: Volume | None, grid: Geometry, card: StageCard) -> Callable[[Box], bool] | None:
    """Return whether something was found in or near a box of the stage's grid, if that counts."""
    if rough is None or card.skipping is None or not card.skipping.outside_region:
        return None
    reach = [max(pair) for pair in card.margin_mm]
    z, y, x = (math.ceil(mm / s) for mm, s in zip(reach, rough.geometry.spacing_mm, strict=True))

    def near(own: Box) -> bool:
        here = box_of_world(own, grid, rough.geometry)
        return bool(rough.array[here.grow((z, y, x), rough.geometry.shape).slices].any())

    return near


def first_region(image: Volume, card: StageCard) -> Box:
    """Return where a stage looks that nobody points to a region: the body, as nnU-Net all of it."""
    whole = Box.of_shape(image.geometry.shape)
    return whole if card.nnunet is not None else body_box(image) or whole


def organ_table(card: StageCard) -> np.ndarray:
    """Return organ id by output channel; channels this project has no organ for become 0.

    With regions, entry 0 is where no region is, and each channel's entry follows one later.
    """
    first = int(card.regions)
    table = np.zeros(first + len(card.labels), np.uint8)
    for channel, key in card.organ_channels:
        table[first + channel] = organ(key).id
    return table


def _network(card: StageCard, path: Path, runtime: Runtime) -> nn.Module:
    """Build one fold's network and fill in its weights."""
    action = "Install the model again; card and weights belong together."
    weights = {name: tensor.float() for name, tensor in read_weights(path).items()}
    require_size(card.network, weights, source=str(path), action=action)
    network = build_network(card.network)
    fill(network, weights, source=str(path), action=action)
    if runtime.device != "cpu":
        multiply_out(network)
    elif torch.backends.mkldnn.is_available():
        separate(network)  # elsewhere depth-wise convolutions are slower than dense ones
    return runtime.place(network)


def _require_supported(card: StageCard) -> None:
    """Refuse what a card can express but this version cannot run, rather than run it wrongly."""
    if card.network.input_channels != 1:
        raise InputError(
            f"model stage {card.name}: input_channels",
            str(card.network.input_channels),
            "1, the CT",
            "Choose another model: this one wants to see more than one image.",
        )
    if len(organ_table(card)) > MOST_CLASSES:
        raise InputError(
            f"model stage {card.name}: output_channels",
            str(card.network.output_channels),
            f"at most {MOST_CLASSES - int(card.regions)}",
            "Choose another model: the classes of this one do not fit into a byte.",
        )
    if any(k % 2 == 0 for kernel in card.network.kernel_sizes for k in kernel):
        raise InputError(
            f"model stage {card.name}: kernel_sizes",
            str(card.network.kernel_sizes),
            "odd numbers, which keep an image's size",
            "Choose another model: this version cannot run such a network.",
        )
    if card.interpolation == "cubic" and card.nnunet is None:
        raise InputError(
            f"model stage {card.name}: interpolation",
            "cubic, without nnunet",
            "linear, or cubic with nnunet",
            "Update FLARESeg: this version cannot run such a stage.",
        )
