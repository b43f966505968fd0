"""Networks trained on other axes see the image as they were trained on it."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from torch import Tensor, nn

from flare_core.imaging.geometry import AxisMap
from flare_core.segment.runtime import Runtime
from flare_core.segment.sliding_window import Tiling, predict_scores

RUNTIME = Runtime("cpu", "float32", 1)
PATCH = (6, 8, 10)


class Lopsided(nn.Module):
    """A convolution whose kernel has no symmetry."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


FLIPS = [(False, False, False), (True, False, True), (False, True, True)]


@pytest.mark.parametrize("nnunet", [False, True])
@pytest.mark.parametrize(("order", "flips"), list(product(permutations(range(3)), FLIPS)))
def test_turned_axes_give_the_turned_result(
    order: tuple[int, int, int], flips: tuple[bool, bool, bool], nnunet: bool
) -> None:
    axes = AxisMap(order, flips)
    turned = torch.randn(9, 17, 13, generator=torch.Generator().manual_seed(1))
    image = torch.from_numpy(axes.undo(turned.numpy()).copy())
    tiling = Tiling(axes, nnunet=nnunet)
    network = [Lopsided().eval()]
    found = predict_scores(network, image, PATCH, 0.5, RUNTIME, tiling=tiling)
    there = predict_scores(network, turned, PATCH, 0.5, RUNTIME, tiling=Tiling(nnunet=nnunet))
    expected = torch.stack([torch.from_numpy(axes.undo(c.numpy()).copy()) for c in there])
    # Own tiles are spread evenly from the low end, so flipped they lie a voxel elsewhere
    tolerance = 1e-3 if nnunet else 0.35
    assert found.shape == expected.shape and (found - expected).abs().max() < tolerance


def test_nnunets_padding_is_the_mean_and_the_odd_voxel_lies_behind() -> None:
    seen: list[Tensor] = []

    class Keep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[0, 0])
            return x

    image = torch.full((3, 8, 10), -2.0)
    for flip in (False, True):
        axes = AxisMap((0, 1, 2), (flip, False, False))
        tiling = Tiling(axes, nnunet=True)
        scores = predict_scores([Keep()], image, PATCH, 0.5, RUNTIME, tiling=tiling)
        assert scores.shape == (1, 3, 8, 10) and (scores == -2).all()
    for tile in seen:  # in the network's own axes, both look the same
        assert tile[:, 0, 0].tolist() == [0, -2, -2, -2, 0, 0]


def test_probabilities_are_averaged_if_asked_for() -> None:
    class Half(nn.Module):
        def __init__(self, logit: float) -> None:
            super().__init__()
            self.logit = logit

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(x), torch.full_like(x, self.logit)], dim=1)

    image = torch.zeros(PATCH)
    networks = [Half(0.0), Half(9.0)]
    tiling = Tiling(nnunet=True, probabilities=True)
    scores = predict_scores(networks, image, PATCH, 0.5, RUNTIME, tiling=tiling)
    assert scores.sum(dim=0).allclose(torch.ones(PATCH), atol=1e-5)
    assert float(scores[1].mean()) == pytest.approx((0.5 + 0.99988) / 2, abs=1e-4)
    assert scores.dtype == torch.float32
    regions = Tiling(nnunet=True, probabilities=True, regions=True)
    scores = predict_scores([Half(0.0)], image, PATCH, 0.5, RUNTIME, tiling=regions)
    assert scores.abs().max() < 1e-6


def test_folds_are_averaged_whichever_way_and_progress_goes_on() -> None:
    torch.manual_seed(3)
    folds = [Lopsided().eval(), Lopsided().eval()]
    torch.nn.init.normal_(folds[1].conv.weight)
    image = torch.randn(9, 17, 13)
    found = {}
    for nnunet in (False, True):
        told: list[float] = []
        tiling = Tiling(nnunet=nnunet)
        mean = predict_scores(folds, image, PATCH, 0.5, RUNTIME, tiling=tiling, notify=told.append)
        each = [predict_scores([f], image, PATCH, 0.5, RUNTIME, tiling=tiling) for f in folds]
        assert told == sorted(told) and told[-1] == 1.0
        expected = (each[0].float() + each[1].float()) / 2
        assert (mean.float() - expected).abs().max() < (0.02 if nnunet else 1e-4)
        found[nnunet] = mean.dtype
    assert found == {False: torch.float32, True: torch.float16}


def test_axes_that_are_the_networks_own_are_not_copied() -> None:
    tile, scores = torch.zeros(3, 4, 5), torch.zeros(2, 3, 4, 5)
    assert Tiling().into(tile).data_ptr() == tile.data_ptr()
    assert Tiling().back(scores).data_ptr() == scores.data_ptr()
