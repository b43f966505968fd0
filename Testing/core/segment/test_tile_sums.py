"""Sums of tiles, where they are: each tile counts once, wherever memory ends."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from flare_core.errors import InputError
from flare_core.imaging.geometry import AxisMap
from flare_core.segment import tile_sums
from flare_core.segment.sliding_window import Tiling
from flare_core.segment.tile_sums import TileSums
from pretended_gpu import no_memory

SHAPE, PATCH = (12, 11, 10), (6, 8, 7)
OWN = torch.device("cpu")
TURNED = AxisMap((1, 2, 0), (True, False, True))
TILINGS = [Tiling(), Tiling(nnunet=True), Tiling(regions=True), Tiling(TURNED),
           Tiling(TURNED, nnunet=True)]  # fmt: skip
STARTS = list(product((0, 3, 6), (0, 3), (0, 3)))


class DeviceSums(TileSums):
    """Sums that add as on a device, in the machine's own memory."""

    def __init__(self, tiling: Tiling, fails: set[str] | None = None) -> None:
        super().__init__(SHAPE, weights(), tiling, OWN)
        self._slices, self.fails, self.moved = False, fails or set(), 0

    def _check(self, step: str) -> None:
        if step in self.fails:
            self.fails.remove(step)
            raise no_memory()

    def _zeros(self, classes: int) -> Tensor:
        self._check("zeros")
        return super()._zeros(classes)

    def _add(self, scores: Tensor, place: tuple[slice, ...]) -> None:
        self._check("add")
        super()._add(scores, place)

    def _mean(self, regions: bool) -> Tensor:
        self._check("mean")
        return super()._mean(regions)

    def _move(self) -> None:
        super()._move()
        self.moved += 1


def weights() -> Tensor:
    return 0.1 + torch.rand(PATCH, generator=torch.Generator().manual_seed(1))


def tiles(tiling: Tiling, kind: torch.dtype) -> list[Tensor]:
    """Scores of each tile, in the network's axes and type."""
    random = torch.Generator().manual_seed(2)
    shape = [PATCH[a] for a in tiling.axes.permutation]
    return [torch.randn(3, *shape, generator=random).to(kind) for _ in STARTS]


def summed(sums: TileSums, tiling: Tiling, kind: torch.dtype) -> Tensor:
    for start, scores in zip(STARTS, tiles(tiling, kind), strict=True):
        sums.add(scores, start)
    return sums.mean(regions=tiling.regions)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_at_once_or_slice_by_slice_is_the_same(tiling: Tiling, kind: torch.dtype) -> None:
    expected = summed(TileSums(SHAPE, weights(), tiling, OWN), tiling, kind)
    sums = DeviceSums(tiling)
    assert torch.equal(summed(sums, tiling, kind), expected) and not sums.moved
    assert expected.dtype == tiling.sum_type and expected.shape == (3, *SHAPE)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("step", ["zeros", "add", "mean"])
def test_sums_that_move_are_the_same(tiling: Tiling, step: str) -> None:
    expected = summed(DeviceSums(tiling), tiling, torch.float32)
    sums = DeviceSums(tiling, {step})
    assert torch.equal(summed(sums, tiling, torch.float32), expected) and sums.moved == 1
    assert not sums.fails


@pytest.mark.parametrize("at", range(len(STARTS)))
def test_whichever_tile_memory_ends_at(at: int) -> None:
    expected = summed(DeviceSums(Tiling()), Tiling(), torch.float32)
    sums = DeviceSums(Tiling())
    for i, (start, scores) in enumerate(zip(STARTS, tiles(Tiling(), torch.float32), strict=True)):
        if i == at:
            sums.fails.add("add")
        sums.add(scores, start)
    assert torch.equal(sums.mean(regions=False), expected) and sums.moved == 1


def test_the_weighted_mean_by_hand() -> None:
    sums = DeviceSums(Tiling())
    sums.add(torch.full((2, *PATCH), 4.0), (0, 0, 0))
    sums.add(torch.full((2, *PATCH), 10.0), (6, 0, 0))
    found = sums.mean(regions=False)
    assert torch.allclose(found[:, :6, :8, :7], torch.tensor(4.0))
    assert torch.allclose(found[:, 6:, :8, :7], torch.tensor(10.0))
    assert bool((found[0, :, 8:] > 1e6).all()) and not found[1, :, 8:].any()  # background, surely


def test_memory_that_runs_out_again_is_said() -> None:
    sums = DeviceSums(Tiling(), {"add"})
    scores = tiles(Tiling(), torch.float32)[0]
    sums.add(scores, (0, 0, 0))
    sums.fails.add("add")
    with pytest.raises(InputError, match="graphics card"):
        sums.add(scores, (3, 0, 0))


def test_what_moves_goes_to_the_machines_own_memory() -> None:
    sums = TileSums(SHAPE, weights(), Tiling(), torch.device("meta"))
    sums.start(3)
    assert sums._total is not None and sums._total.device.type == "meta"
    assert sums._total.is_contiguous()
    assert tile_sums.OWN_MEMORY == OWN
