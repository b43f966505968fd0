from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.networks.winners_specs import SMALL, check_shapes, loss_after, parameters
from flare_core.networks.phtrans import WindowAttention

SPEC = replace(SMALL, kind="phtrans")


def test_logits_have_the_images_size() -> None:
    check_shapes("phtrans")


def test_it_learns_a_phantom_patch_by_heart() -> None:
    before, after = loss_after(SPEC)
    assert after < 0.35 * before


def test_its_size_in_the_teams_own_widths_is_what_it_was_measured_to_be() -> None:
    spec = replace(
        SPEC, features_per_stage=(16, 32, 64, 128, 200), output_channels=14,
        strides=((1, 1, 1),) + ((2, 2, 2),) * 4, kernel_sizes=((3, 3, 3),) * 5,
        convolutions_per_stage_encoder=(2, 2, 2, 2, 2),
        convolutions_per_stage_decoder=(2, 2, 2, 2),
    )  # fmt: skip
    assert parameters(spec) == 8_870_184


@pytest.mark.parametrize("length", [8, 7])
def test_a_shifted_window_sees_neighbours_in_space_and_nothing_from_the_other_end(length) -> None:
    torch.manual_seed(1)
    attention = WindowAttention(8, shifted=True)
    x = torch.randn(1, length, 4, 4, 8, requires_grad=True)
    attention(x)[0, 0, 0, 0].square().sum().backward()
    seen = x.grad.abs().sum(dim=(0, 2, 3, 4)) > 0
    assert seen.tolist() == [z < 2 for z in range(length)]  # rolled by 2: windows of 2, 4, 2


def test_padding_is_not_seen() -> None:
    torch.manual_seed(1)
    attention = WindowAttention(8, shifted=False)
    x = torch.randn(1, 5, 4, 4, 8)
    alone = attention(x[:, 4:])  # its own window is mostly padding in both
    assert torch.allclose(attention(x)[:, 4:], alone, atol=1e-5)
