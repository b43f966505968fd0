"""One model of the cascade on one part of one scan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.imaging.crop import body_box
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.intensity import normalise
from flare_core.imaging.resample import covered, resample_intensity, streamed_argmax
from flare_core.imaging.resample_scores import last_above_zero
from flare_core.imaging.volume import Volume
from flare_core.networks import build_network
from flare_core.segment.memory import require_memory
from flare_core.segment.nnunet_grid import (
    Way,
    network_axes,
    network_input,
    nnunet_way,
    spacing_here,
)
from flare_core.segment.runtime import Runtime
from flare_core.segment.sliding_window import Tiling, predict_scores
from flare_core.segment.weights import fill
from flare_core.store.package import Package, read_weights
from flare_core.store.stage_card import StageCard

MOST_LOADED = 6
"""Stages kept in memory (two models of three stages); the one loaded first makes room."""

_LOADED: dict[tuple[str, str, Runtime], LoadedStage] = {}
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
class Scores:
    """What a stage says about a part of a scan."""

    logits: Tensor
    """float32 (C, Z, Y, X) on `geometry`; what `probabilities` turns into such."""
    geometry: Geometry
    """The stage's grid."""
    card: StageCard
    """Which stage."""
    way: Way | None = None
    """How the scores come back to the scan in nnU-Net's compatible mode; None: linearly."""

    def probabilities(self) -> Tensor:
        """Return class probabilities, float32 (C, Z, Y, X)."""
        if self.card.nnunet is not None and self.card.nnunet.average == "probabilities":
            return self.logits + 0.5 if self.card.regions else self.logits
        return self.logits.sigmoid() if self.card.regions else self.logits.softmax(dim=0)

    def labels(self) -> Volume:
        """Return the best organ of each voxel of the stage's own grid: organ ids, uint8."""
        if self.card.regions:
            best = last_above_zero(self.logits)
        else:
            best = self.logits.argmax(dim=0).to(torch.uint8)
        return Volume(organ_table(self.card)[best.numpy()], self.geometry)

    def labels_on(self, target: Geometry) -> Volume:
        """Return organ ids on a finer grid; voxels outside the stage's part are 0.

        Parameters
        ----------
        target : Geometry
            Axes parallel to the stage's own.
        """
        box, weights = covered(self.geometry, target), None
        if self.way is not None and self.way.scan == target:
            box, weights = self.way.box, self.way.weights
        labels = np.zeros(target.shape, np.uint8)
        if not box.empty:
            best = streamed_argmax(
                self.logits,
                self.geometry,
                target.crop(box),
                weights=weights,
                regions=self.card.regions,
                half=self.logits.dtype == torch.float16,
            )
            table, inside = organ_table(self.card), labels[box.slices]
            for k, row in enumerate(best):  # numpy widens all it looks up to eight bytes
                np.take(table, row, out=inside[k])
        return Volume(labels, target)


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
            networks = tuple(_network(card, path, runtime) for path in package.weights_paths(card))
            while len(_LOADED) >= MOST_LOADED:
                del _LOADED[next(iter(_LOADED))]
            _LOADED[key] = LoadedStage(card, networks, runtime)
        return _LOADED[key]


def run_stage(
    stage: LoadedStage,
    image: Volume,
    region: Box,
    *,
    step: float | None = None,
    notify: Callable[[float], None] | None = None,
) -> Scores:
    """Return the stage's scores inside `region`.

    Parameters
    ----------
    image : Volume, HU
        Canonical axes.
    region : Box
        Voxels of `image` to look at.
    step : float, optional
        Distance of tiles as a fraction of the patch; the card's if None.
    notify : callable, optional
        Told the share done, 0 to 1; may raise to stop.

    Raises
    ------
    InputError
        If there is too little memory for it.
    """
    card = stage.card
    pixels, way = _input_of(image, region, stage)
    averages = card.nnunet is not None and card.nnunet.average == "probabilities"
    logits = predict_scores(
        stage.networks,
        torch.from_numpy(pixels.array),
        card.patch,
        step or card.step,
        stage.runtime,
        tiling=Tiling(network_axes(card), card.nnunet is not None, averages, card.regions),
        notify=notify,
    )
    return Scores(logits, pixels.geometry, card, way)


def _input_of(image: Volume, region: Box, stage: LoadedStage) -> tuple[Volume, Way | None]:
    """Return what the network sees of `region`, and in the compatible mode how to come back."""
    card = stage.card
    if card.nnunet is not None:
        way = nnunet_way(image, region, card, card.nnunet)
        require_memory(card, way.geometry.shape, stage.runtime)
        return network_input(image, way, card, card.nnunet), way
    target = image.geometry.crop(region).with_spacing(spacing_here(card))
    require_memory(card, target.shape, stage.runtime)
    part = resample_intensity(image, target)
    n = card.normalisation
    pixels = normalise(part.array, (n.lower_hu, n.upper_hu), n.mean, n.std)  # type: ignore[type-var]
    return part.with_array(pixels), None


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
    network = build_network(card.network)
    weights = {name: tensor.float() for name, tensor in read_weights(path).items()}
    fill(
        network,
        weights,
        source=str(path),
        action="Install the model again; card and weights belong together.",
    )
    return runtime.place(network)


def _require_supported(card: StageCard) -> None:
    """Refuse what a card can express but this version cannot run, rather than run it wrongly."""
    if card.interpolation == "cubic" and card.nnunet is None:
        raise InputError(
            f"model stage {card.name}: interpolation",
            "cubic, without nnunet",
            "linear, or cubic with nnunet",
            "Update FLARESeg: this version cannot run such a stage.",
        )
