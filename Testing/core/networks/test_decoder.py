"""The decoder joins every level and speaks at every level only while that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.networks.small_specs import ANISOTROPIC, ISOTROPIC
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks.decoder import Decoder


def features_for(spec: NetworkSpec, finest: tuple[int, int, int]) -> list[torch.Tensor]:
    """Random features as an encoder would give them, finest first."""
    features, size = [], torch.tensor(finest)
    for width, stride in zip(spec.features_per_stage, spec.strides, strict=True):
        size = size // torch.tensor(stride)
        features.append(torch.randn(1, width, *size.tolist()))
    return features


@pytest.mark.parametrize("spec", [ISOTROPIC, ANISOTROPIC])
def test_deep_supervision_gives_every_level_finest_first(spec: NetworkSpec) -> None:
    features = features_for(spec, (8, 16, 16))
    decoder = Decoder(replace(spec, deep_supervision=True))
    levels = decoder.train()(list(features))
    assert [level.shape for level in levels] == [
        (1, spec.output_channels, *f.shape[2:]) for f in features[:-1]
    ]
    assert torch.equal(decoder.eval()(list(features)), levels[0])


def test_without_it_there_is_one_level_and_the_same_names() -> None:
    features = features_for(ISOTROPIC, (8, 16, 16))
    decoder = Decoder(ISOTROPIC)
    assert torch.equal(decoder.train()(list(features)), decoder.eval()(list(features)))
    deep = Decoder(replace(ISOTROPIC, deep_supervision=True))
    assert deep.state_dict().keys() == decoder.state_dict().keys()


def test_every_level_reaches_the_finest_logits() -> None:
    features = [f.requires_grad_() for f in features_for(ANISOTROPIC, (8, 16, 16))]
    Decoder(ANISOTROPIC)(list(features)).square().sum().backward()
    assert all(bool(f.grad.any()) for f in features)


def test_features_are_freed_on_the_way() -> None:
    features = features_for(ISOTROPIC, (8, 16, 16))
    Decoder(ISOTROPIC)(features)
    assert not features
