"""A small two-stage model: a card that is legal in every field, and tensors that fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flare_core.home import Home
from flare_core.models.card import (
    ModelCard,
    NetworkSpec,
    Normalisation,
    StageCard,
    TrainingSource,
    WeightsFile,
)
from flare_core.models.package import Package, write_package


def make_stage(name: str, labels: tuple[str, ...], **changes: object) -> StageCard:
    network = NetworkSpec(
        "plain_unet",
        output_channels=len(labels),
        features_per_stage=(8, 16),
        strides=((1, 1, 1), (1, 2, 2)),
        kernel_sizes=((1, 3, 3), (3, 3, 3)),
        convolutions_per_stage_encoder=(2, 2),
        convolutions_per_stage_decoder=(2,),
        space_to_depth=(1, 2, 2),
    )
    fields: dict[str, object] = {
        "network": network,
        "weights": f"{name}.safetensors",
        "spacing_mm": (2.5, 1.5, 1.5),
        "patch": (12, 16, 20),
        "normalisation": Normalisation("window", -160, 240, 40.0, 100.0),
        "labels": labels,
    }
    return StageCard(name, **(fields | changes))  # type: ignore[arg-type]


def make_card(version: str = "1.0.0", **changes: object) -> ModelCard:
    folds = (WeightsFile("organs_fold1.safetensors"),)
    fields: dict[str, object] = {
        "stages": (
            make_stage("localiser", ("background", "liver", "spleen")),
            make_stage("organs", ("background", "liver", "other:lung", "pancreas"), folds=folds),
        ),
        "licence": "Apache-2.0",
        "intended_use": "Research.",
        "limitations": "Not a medical device.",
        "training_data": (TrainingSource("Phantoms", 3, "Apache-2.0", "this repository"),),
        "metrics": {"command": "flare train", "dsc": {"spleen": 0.5, "liver": 0.9}},
    }
    name = str(changes.pop("name", "tiny"))
    return ModelCard(name, version, "A test model.", **(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def card() -> ModelCard:
    return make_card()


@pytest.fixture
def new_card() -> Callable[..., ModelCard]:
    """Makes a card of another version or with other fields."""
    return make_card


@pytest.fixture
def new_tensors() -> Callable[..., dict[str, dict[str, Any]]]:
    """Makes tensors for the card's stages from a seed."""
    return make_tensors


@pytest.fixture
def package(tmp_path: Path, card: ModelCard) -> Package:
    return write_package(tmp_path / "written", card, make_tensors())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def make_tensors(seed: int = 0) -> dict[str, dict[str, Any]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    shapes = {"localiser": (4, 3), "organs": (5, 7), "organs_fold1.safetensors": (5, 7)}
    return {
        key: {"head.weight": torch.randn(shape, generator=generator), "head.bias": torch.ones(3)}
        for key, shape in shapes.items()
    }
