from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.networks.winners_specs import SMALL, check_shapes, loss_after, parameters
from flare_core.networks import build_network

SPEC = replace(SMALL, kind="masked_residual_unet", foreground_share=0.25)


def organ_image() -> Tensor:
    """An organ of values above 0 in the middle of zeros, (1, 1, 8, 16, 24)."""
    image = torch.zeros(1, 1, 8, 16, 24)
    random = torch.Generator().manual_seed(2)
    image[:, :, 2:7, 3:13, 4:20] = 0.1 + torch.rand(5, 10, 16, generator=random)
    return image


def test_logits_have_the_images_size() -> None:
    check_shapes("masked_residual_unet")


def test_it_learns_a_phantom_patch_by_heart() -> None:
    before, after = loss_after(SPEC)
    assert after < 0.35 * before


def test_the_tumours_network_has_the_size_of_the_original_without_its_biases() -> None:
    spec = replace(
        SPEC, features_per_stage=(40, 80, 160, 160), output_channels=1,
        strides=((1, 1, 1),) + ((2, 2, 2),) * 3, kernel_sizes=((3, 3, 3),) * 4,
        convolutions_per_stage_encoder=(1,) * 4, convolutions_per_stage_decoder=(1,) * 3,
    )  # fmt: skip
    # two convolutions and a skip a block, without one where channels stay
    biases = (20 + 40 + 40) + (40 + 80 + 80) + (80 + 160 + 160) + (160 + 160)
    biases += (160 + 80 + 80) + (80 + 40 + 40) + (40 + 20 + 20)
    assert parameters(spec) == 3_464_221 - biases


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_background_beyond_the_tile_is_counted_up_to_the_share(layout: torch.memory_format) -> None:
    """A tile cut to the organ and a wide one then see the organ alike, in both layouts."""
    torch.manual_seed(0)
    network = build_network(replace(SPEC, foreground_share=0.005)).eval()
    near = functional.pad(organ_image(), (12, 12, 12, 12, 12, 12))
    far = functional.pad(near, (8, 4, 4, 8, 4, 4))
    assert far.numel() < int((near != 0).sum()) / 0.005
    with torch.inference_mode():
        network.to(memory_format=layout)
        close = network(near.contiguous(memory_format=layout))
        wide = network(far.contiguous(memory_format=layout))[:, :, 4:-4, 4:-8, 8:-4]
    organ = near != 0
    wrong = (close - wide).abs()[:, :1][organ].mean() / close[:, :1][organ].std()
    assert wrong < 0.02


def test_the_share_decides_what_the_norms_see() -> None:
    torch.manual_seed(0)
    network = build_network(SPEC).eval()
    other = build_network(replace(SPEC, foreground_share=0.5)).eval()
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(network(organ_image()), other(organ_image()), atol=1e-2)


def test_an_image_without_an_organ_has_finite_logits() -> None:
    with torch.inference_mode():
        logits = build_network(SPEC).eval()(torch.zeros(1, 1, 8, 8, 8))
    assert bool(logits.isfinite().all())
