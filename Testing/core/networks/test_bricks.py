from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.networks.bricks import Crew, Field, Slices, Support, coarser


def mask_of(bricks: list[Slices], shape: tuple[int, int, int]) -> Tensor:
    """Voxels of bricks (Z, Y, X); each in one brick only."""
    found = torch.zeros(shape)
    for brick in bricks:
        found[brick] += 1
    assert found.max() <= 1
    return found > 0


def image() -> Tensor:
    """An oblique bar in the middle of zeros, (1, 2, 12, 40, 64)."""
    made = torch.zeros(1, 2, 12, 40, 64)
    for k in range(10):
        made[0, k % 2, 4 + k // 4, 12 + k, 20 + 2 * k : 24 + 2 * k] = 1 + k
    return made


def test_bricks_hold_all_there_is_and_not_much_more() -> None:
    bricks = Support.of(image()).bricks((2, 2, 2))
    held = mask_of(bricks, (12, 40, 64))
    assert bool(held[(image()[0] != 0).any(dim=0)].all())
    assert held.float().mean() < 0.3
    for stretch in (edge for brick in bricks for part in brick for edge in (part.start, part.stop)):
        assert stretch % 2 == 0


@pytest.mark.parametrize("reach", [(0, 1, 1), (1, 1, 1), (2, 0, 3)])
def test_it_grows_as_far_as_a_convolution_reaches(reach: tuple[int, int, int]) -> None:
    z, y, x = reach
    kernel = torch.ones(1, 2, 2 * z + 1, 2 * y + 1, 2 * x + 1)
    made = functional.conv3d(image(), kernel, padding=reach)
    held = mask_of(Support.of(image()).grown(reach).bricks((1, 1, 1)), (12, 40, 64))
    assert bool(held[made[0, 0] != 0].all())


def test_on_a_coarser_grid_it_holds_what_a_pool_makes() -> None:
    pooled = functional.max_pool3d(image(), (2, 2, 4))
    support = Support.of(image()).pooled((2, 2, 4))
    assert support.shape == (6, 20, 16)
    held = mask_of(support.bricks((1, 1, 1)), support.shape)
    assert bool(held[(pooled[0] != 0).any(dim=0)].all())
    small = [coarser(brick, (2, 2, 4)) for brick in Support.of(image()).bricks((2, 2, 4))]
    assert bool(mask_of(small, (6, 20, 16))[(pooled[0] != 0).any(dim=0)].all())


def test_where_there_is_nothing_there_is_no_brick() -> None:
    assert Support.of(torch.zeros(1, 1, 4, 8, 8)).grown((1, 1, 1)).bricks((1, 1, 1)) == []


def test_around_its_bricks_a_field_is_0_beyond_the_edge_too() -> None:
    brick = (slice(0, 2), slice(3, 8), slice(4, 9))
    field = Field(torch.empty(0), 3, (6, 8, 9), (1, 1, 2), [brick])
    field.at(brick).fill_(7)
    around = field.around(brick, (1, 1, 2))
    assert around.shape == (1, 3, 4, 7, 9)
    assert float(around.sum()) == 7 * 3 * 2 * 5 * 5


@pytest.mark.parametrize("threads", [1, 3])
def test_a_crew_returns_results_in_order_and_works_as_its_caller_would(threads: int) -> None:
    def work(item: int) -> tuple[int, bool]:
        return item, torch.is_inference_mode_enabled()

    with torch.inference_mode(), Crew(threads) as crew:
        assert crew.each(work, range(20)) == [(item, True) for item in range(20)]
    with torch.no_grad(), Crew(threads) as crew:
        assert crew.each(work, range(2)) == [(0, False), (1, False)]


def test_a_crew_passes_an_error_on() -> None:
    def fail(item: int) -> int:
        raise ValueError(item)

    with Crew(2) as crew, pytest.raises(ValueError, match="4"):
        crew.each(fail, [4])
