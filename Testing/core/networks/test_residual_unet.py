"""The residual encoder U-Net: stem, levels, gradients through the skips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.networks.small_specs import SPECS, image_for
from flare_core.networks.residual_unet import ResidualEncoderUNet


@pytest.mark.parametrize("what", ["residual isotropic", "residual anisotropic"])
def test_encoder_halves_as_the_strides_say(what: str) -> None:
    spec = SPECS[what]
    image = image_for(spec)
    features = ResidualEncoderUNet(spec).encoder(image)
    sizes = torch.tensor(image.shape[2:])
    for feature, width, stride in zip(features, spec.features_per_stage, spec.strides, strict=True):
        sizes = sizes // torch.tensor(stride)
        assert feature.shape == (2, width, *sizes.tolist())


def test_stages_have_as_many_blocks_as_the_spec_says() -> None:
    spec = replace(SPECS["residual anisotropic"], convolutions_per_stage_encoder=(1, 3, 4, 2))
    network = ResidualEncoderUNet(spec)
    assert [len(stage.blocks) for stage in network.encoder.stages] == [1, 3, 4, 2]
    assert len(network.encoder.stem.convs) == 1
    skips = {name for name in network.state_dict() if ".skip." in name}
    # stage 1 keeps its 5 channels, so it only pools; stages 2 and 3 pool (0) and project (1)
    assert {".".join(name.split(".")[:4]) for name in skips} == {
        "encoder.stages.2.blocks",
        "encoder.stages.3.blocks",
    }
    assert all(name.split(".")[6] == "1" for name in skips)


def test_all_parameters_learn() -> None:
    spec = replace(SPECS["residual anisotropic"], deep_supervision=True)
    network = ResidualEncoderUNet(spec)
    sum(level.square().mean() for level in network(image_for(spec))).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]
