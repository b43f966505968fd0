"""A model package whose networks say "liver" everywhere: the whole program without training.

All weights are zero but one bias of the last layer, so the answer is known and comes quickly.
"""

from __future__ import annotations

from pathlib import Path

from flare_core.models.card import ModelCard, NetworkSpec, Normalisation, StageCard
from flare_core.models.package import Package, write_package
from flare_core.networks import build_network

LABELS = ("background", "liver", "spleen")


def write_constant_model(folder: Path) -> Package:
    """Write the package into a new folder."""
    stages = tuple(_stage(name) for name in ("localiser", "organs"))
    card = ModelCard(
        "constant",
        "1.0.0",
        "Says liver everywhere.",
        stages=stages,
        licence="Apache-2.0",
        intended_use="Tests.",
        limitations="Not a medical device.",
        training_data=(),
        metrics={},
    )
    return write_package(folder, card, {stage.name: _weights(stage) for stage in stages})


def _stage(name: str) -> StageCard:
    network = NetworkSpec(
        "plain_unet",
        output_channels=len(LABELS),
        features_per_stage=(4, 8),
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((3, 3, 3),) * 2,
        convolutions_per_stage_encoder=(1, 1),
        convolutions_per_stage_decoder=(1,),
    )
    return StageCard(
        name,
        network=network,
        weights=f"{name}.safetensors",
        spacing_mm=(8.0, 6.0, 6.0),
        patch=(16, 32, 32),
        normalisation=Normalisation("window", -160, 240, 40.0, 100.0),
        labels=LABELS,
    )


def _weights(stage: StageCard) -> dict:
    """Return the network's tensors: zeros, and a bias for the liver wherever a head ends."""
    tensors = {k: v.detach() * 0 for k, v in build_network(stage.network).state_dict().items()}
    for name, tensor in tensors.items():
        if name.endswith("bias") and tensor.shape == (len(LABELS),):
            tensor[LABELS.index("liver")] = 5.0
    return tensors
