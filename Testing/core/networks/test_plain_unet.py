"""The plain U-Net: levels, sizes, and that all of it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.networks.small_specs import ANISOTROPIC, ISOTROPIC, image_for
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks.plain_unet import PlainUNet


@pytest.mark.parametrize("spec", [ISOTROPIC, ANISOTROPIC])
def test_encoder_halves_as_the_strides_say(spec: NetworkSpec) -> None:
    image = image_for(spec)
    features = PlainUNet(spec).encoder(image)
    sizes = torch.tensor(image.shape[2:])
    for feature, width, stride in zip(features, spec.features_per_stage, spec.strides, strict=True):
        sizes = sizes // torch.tensor(stride)
        assert feature.shape == (2, width, *sizes.tolist())


def test_all_parameters_learn() -> None:
    network = PlainUNet(replace(ANISOTROPIC, deep_supervision=True))
    levels = network(image_for(ANISOTROPIC))
    sum(level.square().mean() for level in levels).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert not silent
    assert bool(network.encoder.stages[0][0].convs[0].conv.weight.grad.any())


def test_a_shifted_image_gives_shifted_logits() -> None:
    """Nothing in it knows where it is; shifts by the divisor move the inner logits along."""
    network = PlainUNet(replace(ISOTROPIC, norm_epsilon=1e6)).eval()  # norms see no statistics
    image = torch.zeros(1, 1, 16, 32, 32)
    image[..., 6:10, 12:17, 10:14] = 1000.0
    with torch.no_grad():
        a, b = network(image), network(image.roll((4, 4), (3, 4)))
    inner = (..., slice(4, -4), slice(10, -10), slice(10, -10))
    moved = a.roll((4, 4), (3, 4))[inner]
    difference = (b[inner] - moved).abs().max()
    assert float(difference) < 0.05 * float((moved - moved.mean()).abs().max())
