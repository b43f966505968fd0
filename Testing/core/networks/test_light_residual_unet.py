from __future__ import annotations

from dataclasses import replace

from core.networks.winners_specs import SMALL, check_shapes, loss_after, parameters

SPEC = replace(SMALL, kind="light_residual_unet")


def test_logits_have_the_images_size() -> None:
    check_shapes("light_residual_unet")


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
    assert parameters(spec) == 2_140_510
