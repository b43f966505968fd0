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
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.intensity import normalise
from flare_core.imaging.resample import covered, resample_intensity, streamed_argmax
from flare_core.imaging.volume import Volume
from flare_core.networks import build_network
from flare_core.segment.runtime import Runtime
from flare_core.segment.sliding_window import predict_scores
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
    """float32 (C, Z, Y, X) on `geometry`."""
    geometry: Geometry
    """The stage's grid."""
    card: StageCard
    """Which stage."""

    def labels(self) -> Volume:
        """Return the best organ of each voxel of the stage's own grid: organ ids, uint8."""
        best = self.logits.argmax(dim=0).to(torch.uint8).numpy()
        return Volume(organ_table(self.card)[best], self.geometry)

    def labels_on(self, target: Geometry) -> Volume:
        """Return organ ids on a finer grid; voxels outside the stage's part are 0.

        Parameters
        ----------
        target : Geometry
            Axes parallel to the stage's own.
        """
        box = covered(self.geometry, target)
        labels = np.zeros(target.shape, np.uint8)
        if not box.empty:
            best = streamed_argmax(self.logits, self.geometry, target.crop(box))
            np.take(organ_table(self.card), best, out=labels[box.slices])
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
    """
    card = stage.card
    target = image.geometry.crop(region).with_spacing(card.spacing_mm)
    part = resample_intensity(image, target)
    n = card.normalisation
    pixels = normalise(part.array, (n.lower_hu, n.upper_hu), n.mean, n.std)  # type: ignore[type-var]
    logits = predict_scores(
        stage.networks,
        torch.from_numpy(pixels),
        card.patch,
        step or card.step,
        stage.runtime,
        notify=notify,
    )
    return Scores(logits, target, card)


def organ_table(card: StageCard) -> np.ndarray:
    """Return organ id by output channel; channels this project has no organ for become 0."""
    table = np.zeros(len(card.labels), np.uint8)
    for channel, key in card.organ_channels:
        table[channel] = organ(key).id
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
    wants = {
        "regions": (card.regions, False),
        "transpose": (card.transpose, (0, 1, 2)),
        "orientation": (card.orientation, "SPL"),
        "interpolation": (card.interpolation, "linear"),
    }
    for name, (came, legal) in wants.items():
        if came != legal:
            raise InputError(
                f"model stage {card.name}: {name}",
                str(came),
                str(legal),
                "Update FLARESeg: this version cannot run such a stage.",
            )
