from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from core.networks.small_specs import ISOTROPIC, image_for
from flare_core.models.nnunet.shapes import named_shapes
from flare_core.networks import build_network
from flare_core.networks.stunet import STUNet, StuUp

SPEC = replace(ISOTROPIC, kind="stunet")


def test_logits_have_the_images_shape_and_coarse_ones_only_in_training() -> None:
    network, image = build_network(SPEC).eval(), image_for(SPEC)
    assert isinstance(network, STUNet)
    assert network(image).shape == (len(image), SPEC.output_channels, *image.shape[2:])
    supervised = build_network(replace(SPEC, deep_supervision=True)).train()
    assert len(supervised(image)) == len(SPEC.strides) - 1


def test_names_and_shapes_are_those_of_its_public_weights() -> None:
    state = build_network(SPEC).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == dict(named_shapes(SPEC))
    for name in (
        "conv_blocks_context.0.0.conv3.weight",
        "conv_blocks_localization.0.0.norm2.bias",
        "upsample_layers.0.conv.weight",
        "seg_outputs.0.bias",
    ):
        assert name in state


def test_going_up_first_or_convolving_first_is_the_same() -> None:
    up, x = StuUp((4, 3), (1, 2, 2)), torch.randn(1, 4, 3, 4, 5)
    expected = up.conv(functional.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest"))
    assert torch.allclose(up(x), expected, atol=1e-6)
