"""Networks run slab by slab say what their modules say one after the other, in less memory."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.small_specs import ANISOTROPIC, SPECS, image_for, shaken
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network, slabs
from flare_core.networks.blocks import ConvBlock
from flare_core.networks.normalisation import InstanceNorm
from flare_core.networks.separable import SeparableConv
from flare_core.networks.slabs import (
    Joined,
    Ready,
    can_raise,
    can_stream,
    can_tell,
    convolve,
    out_shape,
    run_blocks,
    tell,
)

LAST = torch.channels_last_3d

STU = replace(SPECS["isotropic"], kind="stunet", conv_bias=True)


def image(channels: int, *shape: int, seed: int = 0) -> Tensor:
    made = torch.randn((1, channels, *shape), generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=LAST)


def block(channels: tuple[int, int], kernel: tuple[int, ...], stride: tuple[int, ...]) -> nn.Module:
    made = nn.Module()
    padding = tuple(k // 2 for k in kernel)
    torch.manual_seed(1)
    made.conv = nn.Conv3d(*channels, kernel, stride, padding)
    made.norm = InstanceNorm(channels[1], 1e-5, 0.01)
    nn.init.normal_(made.norm.weight, 1, 0.3)
    nn.init.normal_(made.norm.bias, 0, 0.3)
    return made.to(memory_format=LAST)


def plainly(blocks: list[nn.Module], x: Tensor) -> Tensor:
    for each in blocks:
        x = each.conv(x)
        x = functional.instance_norm(x, weight=each.norm.weight, bias=each.norm.bias, eps=1e-5)
        x = functional.leaky_relu(x, 0.01)
    return x


@pytest.fixture(params=[1, 2000, 10**9], ids=["slice by slice", "some slices", "all at once"])
def slab_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(slabs, "SLAB_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("slab_bytes")
@pytest.mark.parametrize("depth", [1, 2, 5, 12])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2)), ((1, 1, 1), (1, 1, 1)),
     ((5, 3, 3), (2, 1, 1))],
)  # fmt: skip
@torch.inference_mode()
def test_convolutions_in_slabs(
    kernel: tuple[int, ...], stride: tuple[int, ...], depth: int
) -> None:
    blocks = [block((3, 4), kernel, stride), block((4, 4), kernel, (1, 1, 1))]
    x = image(3, depth, 7, 6)
    found = run_blocks([(b.conv, b.norm) for b in blocks], Ready(x)).finished()
    expected = plainly(blocks, x)
    assert found.shape == expected.shape
    assert out_shape(blocks[0].conv, (depth, 7, 6)) == tuple(expected.shape[2:])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x, image(3, depth, 7, 6))  # what is not ours is not written to


@pytest.mark.usefixtures("slab_bytes")
@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.inference_mode()
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_level_is_written_over_what_was_skipped(stride: int, separable: bool, bias: bool) -> None:
    torch.manual_seed(2)
    up = nn.ConvTranspose3d(5, 4, (stride, 2, 2), (stride, 2, 2), bias=bias)
    assert can_raise(up)
    up = up.to(memory_format=LAST)
    below, skip = image(5, 3, 4, 3), image(4, 3 * stride, 8, 6, seed=3)
    blocks = [block((8, 4), (3, 3, 3), (1, 1, 1)), block((4, 4), (3, 3, 3), (1, 1, 1))]
    if separable:
        blocks[0].conv = SeparableConv(8, 4, (3, 3, 3), (1, 1, 1), (1, 1, 1), bias=bias)
        blocks[0].to(memory_format=LAST)
    expected = plainly(blocks, torch.cat((up(below), skip), dim=1))
    pairs = [(b.conv, b.norm) for b in blocks]
    found = run_blocks(pairs, Joined(up, stride, below, skip), into=skip).finished()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.data_ptr() == skip.data_ptr()


@pytest.mark.usefixtures("slab_bytes")
@torch.inference_mode()
def test_a_level_that_comes_up_in_another_way() -> None:
    torch.manual_seed(2)
    up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv3d(5, 4, (1, 3, 3), padding=(0, 1, 1)))
    assert not can_raise(up) and not can_raise(nn.ConvTranspose3d(5, 4, 4, 2, padding=1))
    up = up.to(memory_format=LAST)
    below, skip = image(5, 4, 4, 3), image(4, 8, 8, 6, seed=3)
    one = block((8, 4), (3, 3, 3), (1, 1, 1))
    expected = plainly([one], torch.cat((up(below), skip), dim=1))
    found = run_blocks([(one.conv, one.norm)], Joined(up, 2, below, skip), into=skip).finished()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("slab_bytes")
@pytest.mark.parametrize("spec", [*SPECS.values(), STU], ids=[*SPECS, "stunet"])
def test_whole_networks(spec: NetworkSpec) -> None:
    network = shaken(build_network(spec)).eval().to(memory_format=LAST)
    x = image_for(spec, (3, 3, 2))[:1].contiguous(memory_format=LAST)
    expected = network(x).detach()  # with gradients, module by module
    with torch.inference_mode():
        found = network(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_only_single_images_that_nobody_learns_from() -> None:
    one = image(2, 4, 4, 4)
    assert not can_stream(one)  # gradients are on
    with torch.inference_mode():
        assert can_stream(one)
        assert not can_stream(one.contiguous())
        assert not can_stream(torch.cat((one, one)))


@torch.inference_mode()
def test_a_result_in_place_waits_for_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_BYTES", 1)
    one = block((4, 4), (3, 3, 3), (1, 1, 1))
    x = image(4, 9, 5, 5)
    expected = plainly([one], x)
    found = convolve(one.conv, one.norm, Ready(x), into=x).finished()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("activation", [True, False])
@torch.inference_mode()
def test_bf16_rounds_alike(monkeypatch: pytest.MonkeyPatch, activation: bool) -> None:
    torch.manual_seed(6)
    stack = ConvBlock((4, 8), (3, 3, 3), (1, 1, 1), ANISOTROPIC, activation=activation)
    stack = stack.to(torch.bfloat16).to(memory_format=LAST)
    x = image(4, 10, 12, 12).to(torch.bfloat16)
    expected = stack(x)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 1)
    found = run_blocks([(stack.conv, stack.norm)], Ready(x)).finished()
    share = ((found - expected).abs() <= 2**-7 * expected.abs() + 1e-2).float().mean()
    assert share == 1


def test_slabs_cover_every_slice_once(slab_bytes: int) -> None:
    conv = nn.Conv3d(2, 3, 3, 2, 1)
    cuts = slabs._cut(conv, (11, 6, 6), (6, 3, 3))
    rows = list(itertools.chain(*(range(c.start, c.stop) for c in cuts)))
    assert rows == list(range(6))
    assert (len(list(cuts)) == 1) == (slab_bytes == 10**9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_written_over_the_features_they_are_of(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(slabs, "SLAB_BYTES", 1000)  # many slabs
    torch.manual_seed(2)
    head = nn.Conv3d(6, 5, 1).to(dtype)
    x = image(6, 9, 7, 8).to(dtype)
    with torch.inference_mode():
        assert can_tell(head, x)
        wanted, logits = head(x), tell(head, x)
    assert torch.allclose(logits, wanted, atol=1e-6)
    assert logits.shape == wanted.shape and logits.data_ptr() == x.data_ptr()
    assert logits.is_contiguous(memory_format=LAST)  # whoever reads them reads in order


@torch.inference_mode()
def test_a_single_channel_is_told_to_be_the_last_axis() -> None:
    one = torch.randn(1, 1, 4, 6, 5)
    told = slabs._as_last(one)
    assert told.stride(1) == 1
    assert told.data_ptr() == one.data_ptr() and torch.equal(told, one)
    more = image(3, 4, 6, 5)
    assert slabs._as_last(more) is more
    part = image(1, 4, 6, 8)[..., ::2]  # not packed: its memory is no image of that size
    assert slabs._as_last(part) is part


def test_logits_have_memory_of_their_own_where_they_do_not_fit_or_somebody_learns() -> None:
    x = image(6, 4, 4, 4)
    with torch.inference_mode():
        assert not can_tell(nn.Conv3d(6, 7, 1), x)
        assert not can_tell(nn.Conv3d(6, 5, 3, padding=1), x)
    assert not can_tell(nn.Conv3d(6, 5, 1), x)
