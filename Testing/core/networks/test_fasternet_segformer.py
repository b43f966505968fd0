from __future__ import annotations

from dataclasses import replace

from core.networks.winners_specs import SMALL, check_shapes, loss_after, parameters

SPEC = replace(SMALL, kind="fasternet_segformer")


def test_logits_have_the_images_size() -> None:
    check_shapes("fasternet_segformer")


def test_it_learns_a_phantom_patch_by_heart() -> None:
    before, after = loss_after(SPEC)
    assert after < 0.35 * before


def test_its_size_in_the_teams_own_widths_is_what_it_was_measured_to_be() -> None:
    spec = replace(
        SPEC, features_per_stage=(32, 64, 128, 256), output_channels=2,
        strides=((2, 2, 2),) + ((2, 2, 2),) * 3, kernel_sizes=((3, 3, 3),) * 4,
        convolutions_per_stage_encoder=(1, 2, 4, 2),
        convolutions_per_stage_decoder=(1, 1, 1),
    )  # fmt: skip
    assert parameters(spec) == 1_568_258
