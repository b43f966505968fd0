"""A convolution that is a depth-wise times a point-wise one says the same when run as these two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from core.networks.small_specs import SPECS, image_for, shaken
from flare_core.networks import build_network
from flare_core.networks.separable import SeparableConv, multiply_out, product_of, separate

LAST = torch.channels_last_3d


def multiplied_out(network: nn.Module) -> int:
    """Give every convolution weights that are such a product; return how many there are."""
    random = torch.Generator().manual_seed(0)
    found = 0
    for conv in network.modules():
        if isinstance(conv, nn.Conv3d) and max(conv.kernel_size) > 1:
            depth = torch.randn(conv.in_channels, *conv.kernel_size, generator=random)
            point = torch.randn(conv.out_channels, conv.in_channels, generator=random)
            conv.weight.data = point[:, :, None, None, None] * depth / 10
            found += 1
    return found


@pytest.mark.parametrize("name", ["isotropic", "anisotropic", "no bias", "residual anisotropic"])
@pytest.mark.parametrize("in_slabs", [True, False])
def test_a_network_of_products_says_the_same(name: str, in_slabs: bool) -> None:
    network = shaken(build_network(SPECS[name])).eval()
    count = multiplied_out(network)
    image = image_for(SPECS[name])
    if in_slabs:
        network, image = network.to(memory_format=LAST), image.contiguous(memory_format=LAST)
    with torch.inference_mode(in_slabs):
        expected = network(image)
        assert separate(network) == count
        found = network(image)
    assert sum(isinstance(module, SeparableConv) for module in network.modules()) == count
    pairs = zip(expected, found, strict=True) if isinstance(found, list) else [(expected, found)]
    for before, after in pairs:
        assert torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.detach().std()))


@pytest.mark.parametrize("name", ["separable", "residual separable"])
def test_a_card_that_says_so_has_them_and_dense_weights_say_the_same(name: str) -> None:
    spec = SPECS[name]
    network = shaken(build_network(spec)).eval()
    dense = build_network(replace(spec, separable=False)).eval()
    weights = network.state_dict()
    for key in [key for key in weights if key.endswith(".depth.weight")]:
        conv = key.removesuffix(".depth.weight")
        for part in [part for part in weights if part.startswith(f"{conv}.point.")]:
            weights[part.replace(".point.", ".")] = weights.pop(part)
        weights[f"{conv}.weight"] = weights[f"{conv}.weight"] * weights.pop(key)[:, 0]
    dense.load_state_dict(weights)
    image = image_for(spec)
    with torch.no_grad():
        expected, found = dense(image), network(image)
    trained = network(image)  # another way, the same result
    assert separate(network) == 0  # they are apart already
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(trained, expected, rtol=1e-4, atol=1e-4)


def test_both_factors_learn() -> None:
    network = build_network(SPECS["separable"])
    network(image_for(SPECS["separable"])).square().mean().backward()
    convs = [module for module in network.modules() if isinstance(module, SeparableConv)]
    assert all(float(conv.depth.weight.grad.abs().sum()) > 0 for conv in convs)
    assert all(float(conv.point.weight.grad.abs().sum()) > 0 for conv in convs)


def test_weights_rounded_to_bf16_are_still_a_product() -> None:
    conv = nn.Conv3d(7, 9, 3, padding=1)
    multiplied_out(conv)
    conv.weight.data = conv.weight.data.bfloat16().float()
    network = nn.Sequential(conv)
    assert separate(network) == 1
    image = torch.randn(1, 7, 5, 6, 7)
    error = (network(image) - conv(image)).abs().mean()
    assert error < 0.01 * conv(image).abs().mean()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(6, 8, 3, padding=1),  # as it is drawn
        nn.Conv3d(6, 8, 1),
        nn.Conv3d(6, 6, 3, padding=1, groups=6),
        nn.Conv3d(6, 8, 3, padding=2, dilation=2),
    ],
)
def test_all_other_convolutions_stay(conv: nn.Conv3d) -> None:
    network = nn.Sequential(conv)
    assert separate(network) == 0
    assert network[0] is conv


def test_one_channel_that_is_no_product_is_enough_to_stay() -> None:
    conv = nn.Conv3d(12, 8, 3, padding=1)
    multiplied_out(conv)
    conv.weight.data[:, 11] = torch.randn(8, 3, 3, 3)
    assert separate(nn.Sequential(conv)) == 0


def test_channels_that_nobody_hears_do_not_matter() -> None:
    point, depth = torch.randn(5, 4), torch.randn(4, 27)
    point[:, 1], depth[2] = 0, 0
    weights = point[:, :, None] * depth
    found = product_of(weights)
    assert found is not None
    assert _product(*found).isfinite().all()
    assert torch.allclose(_product(*found), weights, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 5, 1)])
def test_strides_and_borders_are_those_of_the_dense_one(
    stride: int, kernel: tuple[int, int, int]
) -> None:
    conv = nn.Conv3d(3, 4, kernel, stride, tuple(k // 2 for k in kernel))
    multiplied_out(conv)
    network = nn.Sequential(conv)
    image = torch.randn(2, 3, 7, 8, 9)
    assert separate(network) == 1
    assert torch.allclose(network(image), conv(image), atol=1e-5)


def _product(depth: Tensor, point: Tensor) -> Tensor:
    return point[:, :, None] * depth


@pytest.mark.parametrize("name", ["separable", "residual separable"])
def test_on_other_devices_it_is_the_dense_network(name: str) -> None:
    spec = SPECS[name]
    network = shaken(build_network(spec)).eval()
    image = image_for(spec)
    with torch.no_grad():
        expected = network(image)
        count = sum(isinstance(module, SeparableConv) for module in network.modules())
        assert multiply_out(network) == count > 0
        found = network(image)
    assert not any(isinstance(module, SeparableConv) for module in network.modules())
    assert torch.allclose(expected, found, rtol=1e-3, atol=1e-4 * float(expected.std()))
    dense = build_network(replace(spec, separable=False))
    assert network.state_dict().keys() == dense.state_dict().keys()
