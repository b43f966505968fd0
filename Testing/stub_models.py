"""Models without training, and scans they can read: each organ is a block with a HU of its own.

`Levels` gives every voxel to the class whose HU is nearest, so what a stage should find is known
exactly. It is a network like any other: registered, with weights in a package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from flare_core.anatomy.organs import organ
from flare_core.imaging.geometry import CANONICAL, Box, Geometry, Matrix
from flare_core.imaging.volume import Volume
from flare_core.models.card import ModelCard, NetworkSpec, Normalisation, StageCard
from flare_core.models.package import Package, write_package
from flare_core.networks import NETWORKS
from flare_core.segment.cascade import Stages
from flare_core.segment.runtime import Runtime
from flare_core.segment.settings import Settings
from flare_core.segment.stage import LoadedStage

if TYPE_CHECKING:
    from flare_core.models.stage_card import NetworkSpec

HU = {"background": 0.0, "liver": 200.0, "spleen": -200.0, "lesion": 500.0}
"""Tissue around the organs is 0, with fat in front. Liver and spleen lie on its two sides, so that
the blurred border of one is never taken for the other."""

SHARP = 8.0
"""Logits are multiplied by this: a localiser is only believed where it is sure."""

RUNTIME = Runtime("cpu", "float32", 1)

Block = tuple[tuple[float, float, float], tuple[float, float, float]]

LIVER: Block = ((50, 40, 30), (130, 110, 100))
SPLEEN: Block = ((70, 80, 150), (120, 140, 200))
FIELD_MM = (200.0, 180.0, 240.0)


class Levels(nn.Module):
    """Logits whose arg-max is the nearest level: v t - v^2 / 2 for level v and value t."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.head = nn.Conv3d(spec.input_channels, spec.output_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, Z, Y, X) to (B, K, Z, Y, X)."""
        return self.head(x)


NETWORKS.setdefault("levels", Levels)  # type: ignore[arg-type]


def level_weights(levels_hu: Sequence[float]) -> dict[str, Tensor]:
    """Weights of `Levels` behind the normalisation of `stage_card`."""
    v = torch.tensor(list(levels_hu), dtype=torch.float32) / 100.0
    return {"head.weight": SHARP * v.view(-1, 1, 1, 1, 1), "head.bias": -SHARP * v * v / 2}


def stage_card(name: str, labels: Sequence[str], **changes: object) -> StageCard:
    """A stage that runs `Levels`."""
    network = NetworkSpec(
        "levels",
        output_channels=len(labels),
        features_per_stage=(1, 1),
        strides=((1, 1, 1), (1, 1, 1)),
        kernel_sizes=((1, 1, 1), (1, 1, 1)),
        convolutions_per_stage_encoder=(1, 1),
        convolutions_per_stage_decoder=(1,),
    )
    fields: dict[str, object] = {
        "network": network,
        "weights": f"{name}.safetensors",
        "spacing_mm": (8.0, 8.0, 8.0) if name == "localiser" else (4.0, 3.0, 3.0),
        "patch": (32, 32, 32),
        "normalisation": Normalisation("window", -300, 500, 0.0, 100.0),
        "labels": tuple(labels),
        "margin_mm": ((16.0, 16.0), (16.0, 16.0), (16.0, 16.0)),
    }
    return StageCard(name, **(fields | changes))  # type: ignore[arg-type]


def loaded(card: StageCard, levels: Mapping[str, float] = HU) -> LoadedStage:
    """The stage ready to run, with these HU for its labels."""
    network = Levels(card.network)
    network.load_state_dict(level_weights([levels[label] for label in card.labels]))
    return LoadedStage(card, (RUNTIME.place(network),), RUNTIME)


LOCALISER = stage_card("localiser", ("background", "liver", "spleen"))
ORGANS = stage_card("organs", ("background", "liver", "spleen"))
LESIONS = stage_card("lesions", ("background", "lesion"), spacing_mm=(4.0, 2.0, 2.0))


def model_card(stages: Sequence[StageCard] = (LOCALISER, ORGANS), **changes: object) -> ModelCard:
    """A card around stages of `Levels`."""
    fields: dict[str, object] = {
        "stages": tuple(stages),
        "licence": "Apache-2.0",
        "intended_use": "Tests.",
        "limitations": "Not a medical device.",
        "training_data": (),
    }
    return ModelCard("stub", "1.2.3", "Thresholds.", **(fields | changes))  # type: ignore[arg-type]


def stub_package(
    folder: Path,
    stages: Sequence[StageCard] = (LOCALISER, ORGANS),
    levels: Mapping[str, float] = HU,
) -> Package:
    """A package on disk whose stages find these HU."""
    tensors = {card.name: level_weights([levels[n] for n in card.labels]) for card in stages}
    return write_package(folder, model_card(stages), tensors)


def scene(
    spacing_mm: tuple[float, float, float] = (4.0, 3.0, 3.0),
    blocks: Mapping[str, Block] | None = None,
    *,
    hu: Mapping[str, float] = HU,
    field_mm: tuple[float, float, float] = FIELD_MM,
    direction: Matrix = CANONICAL,
) -> tuple[Volume, Volume]:
    """A scan of tissue with blocks of organs (mm from the scan's corner, z y x), and its truth.

    Keys of `blocks` are organ keys; ``liver:part`` is painted with the HU of that whole name.
    """
    z, y, x = (round(f / s) for f, s in zip(field_mm, spacing_mm, strict=True))
    geometry = Geometry((z, y, x), spacing_mm, (-30.0, 12.0, -700.0), direction)
    image, labels = np.zeros((z, y, x), np.int16), np.zeros((z, y, x), np.uint8)
    image[:, :2] = -60
    for name, (low, high) in (blocks or {"liver": LIVER, "spleen": SPLEEN}).items():
        place = tuple(
            slice(round(a / s), round(b / s)) for a, b, s in zip(low, high, spacing_mm, strict=True)
        )
        image[place], labels[place] = hu[name], organ(name.partition(":")[0]).id
    return Volume(image, geometry), Volume(labels, geometry)


Looks = list[tuple[str, Box, float | None]]
"""Which stage looked at which box, in order, with which tile step (fixture `looks`)."""


def boxes(looks: Looks, name: str = "organs") -> list[Box]:
    """The boxes that a stage looked at, in order."""
    return [box for stage, box, _ in looks if stage == name]


def stages_with(localiser: LoadedStage | None = None, *, lesions: bool = False) -> Stages:
    """The loaded stages of a model, perhaps with another localiser."""
    return Stages(
        localiser or loaded(LOCALISER), loaded(ORGANS), loaded(LESIONS) if lesions else None
    )


def quiet(stage: str, share: float) -> None:
    """Take no notice of progress."""
    del stage, share


def dsc(found: Volume, truth: Volume, number: int) -> float:
    """Overlap of one label."""
    a, b = found.array == number, truth.array == number
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def settings(folder: Path, **changes: object) -> Settings:
    """How the stub is run: on one thread of the CPU, in float32."""
    chosen = Settings(model=str(folder), device="cpu", threads=1, precision="float32")
    return replace(chosen, **changes)  # type: ignore[arg-type]


def do(function: Callable[[Any], Any], item: Any) -> Any:
    """Call the function, in a process that knows the stub's network by now."""
    return function(item)
