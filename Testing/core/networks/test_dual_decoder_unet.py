from __future__ import annotations

from dataclasses import replace

import torch

from core.networks.winners_specs import SMALL, check_shapes, loss_after, parameters
from flare_core.networks import build_network

SPEC = replace(SMALL, kind="dual_decoder_unet")


def test_logits_have_the_images_size() -> None:
    check_shapes("dual_decoder_unet")


def test_it_learns_a_phantom_patch_by_heart() -> None:
    before, after = loss_after(SPEC)
    assert after < 0.35 * before


def test_its_size_in_the_teams_own_widths_is_what_it_was_measured_to_be() -> None:
    spec = replace(
        SPEC, features_per_stage=(16, 32, 64, 128, 256), output_channels=14,
        strides=((1, 1, 1),) + ((2, 2, 2),) * 4, kernel_sizes=((3, 3, 3),) * 5,
        convolutions_per_stage_encoder=(2, 2, 2, 2, 2),
        convolutions_per_stage_decoder=(2, 2, 2, 2),
    )  # fmt: skip
    assert parameters(spec) == 7_462_432


def test_the_answer_is_the_mean_of_two_decoders_that_disagree() -> None:
    network, image = build_network(SPEC).eval(), torch.randn(1, 1, 8, 8, 8)
    with torch.enable_grad():
        features = network.encoder(image)
        one, other = network.decoder(list(features)), network.second(list(features))
        assert not torch.allclose(one, other)
        assert torch.allclose(network(image), (one + other) / 2, atol=1e-6)
    streamed = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():  # slab by slab, where features are overwritten
        assert torch.allclose(network(streamed), (one + other) / 2, atol=1e-4)
