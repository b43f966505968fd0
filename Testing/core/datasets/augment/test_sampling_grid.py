"""The fast way against torch's own functions, which are the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.datasets.augment import sampling_grid
from flare_core.datasets.augment.sampling_grid import (
    SamplingGrid,
    affine_grid,
    looked_up,
    resampling,
    smooth_field,
)

PATCH, SHAPE = (7, 10, 12), (9, 14, 16)
CENTRE = np.array([3.3137, 8.1291, 11.2417])  # some of the patch lies outside, on both sides
MATRIX = np.array(
    [[1.0713, 0.1327, -0.0419], [-0.2133, 0.9337, 0.1171], [0.0239, -0.1741, 1.0353]]
)  # no voxel lies half-way between two others: which is nearest would be up to rounding
CPU = torch.device("cpu")


def grid_of(bend: Tensor | None) -> Tensor:
    """The coordinates that grid_sample wants, x first, -1 to 1 over the block's cells."""
    steps = [np.arange(n) - (n - 1) / 2 for n in PATCH]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    grid = torch.from_numpy(CENTRE + offsets @ MATRIX.T)
    if bend is not None:
        grid += bend.permute(1, 2, 3, 0)
    return ((grid + 0.5) * 2 / torch.tensor(SHAPE) - 1).flip(-1).float()[None]


def expected(block: np.ndarray, bend: Tensor | None, mode: str, outside: int) -> Tensor:
    values = torch.from_numpy(block.astype(np.float32)) - outside
    grid = grid_of(bend)
    moved = functional.grid_sample(values[None, None], grid, mode=mode, align_corners=False)
    return moved + outside


@pytest.fixture(params=["straight", "bent"])
def bend(request: pytest.FixtureRequest) -> Tensor | None:
    if request.param == "straight":
        return None
    return torch.randn(3, *PATCH, generator=torch.Generator().manual_seed(1)) * 1.5


@pytest.fixture
def grid(bend: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> SamplingGrid:
    monkeypatch.setattr(sampling_grid, "CHUNK", 100)  # no divisor of the patch's size
    return affine_grid(CENTRE, PATCH, MATRIX, SHAPE, CPU, bend=bend)


def test_between_voxels_it_is_grid_sample(grid: SamplingGrid, bend: Tensor | None) -> None:
    block = np.random.default_rng(0).integers(-1000, 1500, SHAPE).astype(np.int16)
    found = grid.linear(block, -1024)
    wanted = expected(block, bend, "bilinear", -1024)
    assert found.dtype == torch.float32 and found.shape == (1, 1, *PATCH)
    assert torch.allclose(found, wanted, atol=0.02)
    assert (wanted == -1024).any() and (wanted > 500).any()


@pytest.mark.parametrize(("kind", "outside"), [(np.uint8, 0), (np.int16, 255)])
def test_the_nearest_voxel_is_grid_samples(
    grid: SamplingGrid, bend: Tensor | None, kind: type, outside: int
) -> None:
    block = np.random.default_rng(0).integers(1, 200, SHAPE).astype(kind)
    found = grid.nearest(block, outside)
    assert found.numpy().dtype == kind
    assert torch.equal(found.float(), expected(block, bend, "nearest", outside))
    assert (found == outside).any() and (found != outside).any()


def test_far_outside_there_is_nothing() -> None:
    far = affine_grid(CENTRE + 500, PATCH, MATRIX, SHAPE, CPU)
    block = np.ones(SHAPE, np.int16)
    assert bool((far.linear(block, -1024) == -1024).all())
    assert bool((far.nearest(block, 7) == 7).all())


def test_a_smooth_field_is_trilinear_between_its_points() -> None:
    coarse = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = functional.interpolate(coarse[None], size=PATCH, mode="trilinear", align_corners=True)[
        0
    ]
    assert torch.allclose(smooth_field(coarse, PATCH), wanted, atol=1e-5)


def test_one_axis_is_resampled_by_a_matrix() -> None:
    values = torch.randn(1, 1, 11, generator=torch.Generator().manual_seed(0))
    for size, mode in ((4, "area"), (23, "linear")):
        wanted = functional.interpolate(values, size=size, mode=mode)[0]
        assert torch.allclose(values[0] @ resampling(11, size, mode), wanted, atol=1e-6)


def test_looking_up_is_indexing() -> None:
    table = torch.tensor([5.0, 6.0, 7.0])
    indices = torch.tensor([[2, 0], [1, 1]], dtype=torch.uint8)
    assert torch.equal(looked_up(table, indices), table[indices.long()])
