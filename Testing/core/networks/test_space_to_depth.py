"""Folding voxels into channels loses nothing and comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.networks.small_specs import ISOTROPIC, image_for
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network
from flare_core.networks.space_to_depth import blocks_along_x, fold, layout_of, unfold

BLOCKS = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 3)]


def numbered(channels: int = 3) -> torch.Tensor:
    return torch.arange(2 * channels * 4 * 4 * 6.0).view(2, channels, 4, 4, 6)


def folded_spec(block: tuple[int, int, int], deep: bool = False) -> NetworkSpec:
    return replace(ISOTROPIC, space_to_depth=block, deep_supervision=deep)


@pytest.mark.parametrize("block", BLOCKS)
def test_unfold_undoes_fold(block: tuple[int, int, int]) -> None:
    x = numbered()
    folded = fold(x, block)
    bz, by, bx = block
    assert folded.shape == (2, 3 * bz * by * bx, 4 // bz, 4 // by, 6 // bx)
    assert torch.equal(unfold(folded, block), x)
    last = x.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(unfold(fold(last, block), block), x)


def test_fold_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).view(1, 1, 1, 2, 4)
    folded = fold(x, (1, 2, 2))
    assert folded[0, :, 0, 0].tolist() == [[1, 3], [2, 4], [5, 7], [6, 8]]


def test_channels_stay_together() -> None:
    """Voxel of the block first, channel second: the order that package weights were trained in."""
    x = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])[None]  # (1, 2, 1, 2, 2)
    assert fold(x, (1, 2, 2)).flatten().tolist() == [0, 1] * 4


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_along_x_holds_the_same_pairs_of_logits_and_labels(
    block: tuple[int, int, int],
) -> None:
    """A loss that sums over voxels reads the same pairs in either order."""
    logits = torch.randn(2, 5, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2 * 4 * 4 * 6).view(2, 1, 4, 4, 6)
    a = blocks_along_x(fold(logits, block), block)
    b = blocks_along_x(fold(labels, block), block)
    assert a.shape[:1] + b.shape[1:2] + a.shape[2:] == b.shape
    straight = logits.permute(0, 2, 3, 4, 1).reshape(-1, 5)
    order = b.flatten()
    assert sorted(order.tolist()) == list(range(len(order)))
    assert torch.equal(a.permute(0, 2, 3, 4, 1).reshape(-1, 5), straight[order])


def test_blocks_along_x_moves_no_memory_of_channels_last_tensors() -> None:
    x = torch.randn(1, 12, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    assert blocks_along_x(x, (1, 2, 2)).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("block", [(1, 2, 2), (2, 2, 2)])
def test_training_gives_the_same_logits_in_another_order(block: tuple[int, int, int]) -> None:
    spec = folded_spec(block)
    network, image = build_network(spec), image_for(folded_spec(block))
    with torch.no_grad():
        straight, shuffled = network.eval()(image), network.train()(image)
    assert straight.shape == (2, 4, *image.shape[2:])
    assert torch.allclose(shuffled, blocks_along_x(fold(straight, block), block), atol=1e-5)
    assert not torch.allclose(shuffled.flatten(), straight.flatten(), atol=1e-2)


def test_deep_supervision_is_folded_at_every_level() -> None:
    block = (1, 2, 2)
    spec = folded_spec(block, deep=True)
    image = image_for(spec)
    levels = build_network(spec).train()(image)
    labels = torch.zeros(2, 1, *image.shape[2:])
    assert len(levels) == 2
    for level, stride in zip(levels, (1, 2), strict=True):
        coarse = labels[:, :, ::stride, ::stride, ::stride]
        expected = blocks_along_x(fold(coarse, block), block)
        assert level.shape == (2, 4, *expected.shape[2:])


def test_the_inner_network_has_more_channels_and_its_own_names() -> None:
    state = build_network(folded_spec((1, 2, 2))).state_dict()
    assert all(name.startswith("network.") for name in state)
    plain = build_network(ISOTROPIC).state_dict()
    assert {name.removeprefix("network.") for name in state} == set(plain)


def test_a_block_of_one_voxel_adds_nothing() -> None:
    assert not hasattr(build_network(folded_spec((1, 1, 1))), "network")


def test_cpus_like_channels_last() -> None:
    assert layout_of(torch.zeros(1)) == torch.channels_last_3d
    assert layout_of(torch.zeros(1, device="meta")) == torch.contiguous_format
