"""Convolution blocks against the same layers of torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from core.networks.small_specs import ANISOTROPIC, ISOTROPIC, image_for, shaken
from flare_core.networks import build_network
from flare_core.networks.blocks import (
    ConvBlock,
    ConvStack,
    ResidualBlock,
    ResidualStack,
    initialise,
    same_padding,
)

IMAGE = torch.randn(2, 5, 4, 8, 6, generator=torch.Generator().manual_seed(0))


def normed(x: torch.Tensor, block: ConvBlock) -> torch.Tensor:
    x = functional.conv3d(
        x, block.conv.weight, block.conv.bias, block.conv.stride, block.conv.padding
    )
    return functional.instance_norm(x, weight=block.norm.weight, bias=block.norm.bias, eps=1e-3)


def test_padding_keeps_the_size_for_odd_kernels() -> None:
    assert same_padding((1, 3, 5)) == (0, 1, 2)
    block = ConvBlock((5, 7), (1, 3, 5), (1, 1, 1), ANISOTROPIC)
    assert block(IMAGE).shape == (2, 7, 4, 8, 6)


def test_a_block_is_convolution_norm_activation() -> None:
    block = shaken(ConvBlock((5, 7), (3, 3, 1), (1, 2, 2), ANISOTROPIC))
    expected = functional.leaky_relu(normed(IMAGE, block), 0.1)
    assert expected.shape == (2, 7, 4, 4, 3)
    assert torch.allclose(block(IMAGE), expected, atol=1e-5)
    quiet = ConvBlock((5, 7), (3, 3, 1), (1, 2, 2), ANISOTROPIC, activation=False, bias=False)
    assert quiet.conv.bias is None
    assert torch.allclose(quiet(IMAGE), normed(IMAGE, quiet), atol=1e-5)
    assert bool((quiet(IMAGE) < -0.5).any())


@pytest.mark.parametrize(
    ("channels", "stride", "parts"),
    [
        ((5, 5), (1, 1, 1), 0),
        ((5, 5), (1, 2, 2), 1),
        ((5, 8), (1, 1, 1), 1),
        ((5, 8), (2, 2, 2), 2),
    ],
)
def test_a_residual_block_adds_what_it_skipped(
    channels: tuple[int, int], stride: tuple[int, int, int], parts: int
) -> None:
    block = shaken(ResidualBlock(channels, (3, 3, 3), stride, ANISOTROPIC))
    assert len(block.skip) == parts
    side = IMAGE if stride == (1, 1, 1) else functional.avg_pool3d(IMAGE, stride, stride)
    if channels[0] != channels[1]:
        side = normed(side, block.skip[-1])
    first = functional.leaky_relu(normed(IMAGE, block.conv1), 0.1)
    expected = functional.leaky_relu(normed(first, block.conv2) + side, 0.1)
    assert torch.allclose(block(IMAGE), expected, atol=1e-4)


def test_only_the_first_of_a_stack_changes_shape() -> None:
    for stack, blocks in (
        (ConvStack(3, (5, 7), (3, 3, 3), (2, 2, 1), ISOTROPIC), "convs"),
        (ResidualStack(3, (5, 7), (3, 3, 3), (2, 2, 1), ISOTROPIC), "blocks"),
    ):
        assert stack(IMAGE).shape == (2, 7, 2, 4, 6)
        assert len(getattr(stack, blocks)) == 3
        assert {name.split(".")[0] for name in stack.state_dict()} == {blocks}


def test_initialise_leaves_norms_alone() -> None:
    stack = shaken(ConvStack(2, (5, 7), (3, 3, 3), (1, 1, 1), ISOTROPIC))
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    initialise(list(stack.modules()), 0.01)
    for name, value in stack.state_dict().items():
        assert torch.equal(value, before[name]) == (".norm." in name)
        if name.endswith("conv.bias"):
            assert not value.any()


def test_a_network_without_memory_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", lambda *_, **__: pytest.fail("drawn"))
    with torch.device("meta"):
        network = build_network(ISOTROPIC)
    assert all(each.is_meta for each in network.parameters())


def test_residual_networks_run_in_bf16() -> None:
    spec = replace(ISOTROPIC, kind="residual_encoder_unet")
    network = shaken(build_network(spec)).eval()
    image = image_for(spec)
    with torch.no_grad():
        expected = network(image)
        half = network.to(torch.bfloat16).to(memory_format=torch.channels_last_3d)
        found = half(image.bfloat16().contiguous(memory_format=torch.channels_last_3d)).float()
    assert float((found - expected).abs().mean()) < 0.05 * float(expected.abs().mean())
