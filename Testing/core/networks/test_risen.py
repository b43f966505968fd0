from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn import functional

from flare_core.networks.risen import RisenConvolution

LAST = torch.channels_last_3d
STRIDES = [(1, 1, 1), (2, 2, 2), (1, 2, 2), (3, 2, 4), (2, 3, 3)]


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (1, 1, 1), (5, 3, 5)])
def test_it_is_the_convolution_of_repeated_voxels(
    kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, *kernel, generator=random)
    coarse = torch.randn(1, 3, 4, 3, 5, generator=random)
    fine = coarse
    for axis, n in enumerate(stride, 2):
        fine = fine.repeat_interleave(n, dim=axis)
    wanted = functional.conv3d(fine, weight, padding=[k // 2 for k in kernel])
    convolution = RisenConvolution(weight, stride)
    z, y, x = convolution.border
    bordered = functional.pad(coarse, (x, x, y, y, z, z)).contiguous(memory_format=LAST)
    out = torch.full(wanted.shape, torch.nan).contiguous(memory_format=LAST)
    steps = 4 + convolution.windows
    with torch.inference_mode():
        for start in range(0, steps, 2):
            convolution.write(bordered, slice(start, min(start + 2, steps)), out)
    assert torch.allclose(out, wanted, atol=1e-4)


def test_of_a_voxel_repeated_twice_along_each_axis_eight_products_do_for_27() -> None:
    convolution = RisenConvolution(torch.ones(1, 1, 3, 3, 3), (2, 2, 2))
    seen: list[tuple[int, ...]] = []
    found = torch.zeros(1, 1, 8, 8, 8).contiguous(memory_format=LAST)
    coarse = torch.zeros(1, 1, 6, 6, 6)
    for place in product(range(6), repeat=3):
        coarse.zero_()[(0, 0, *place)] = 1
        convolution.write(coarse.contiguous(memory_format=LAST), slice(0, 5), found)
        if found[0, 0, 3, 3, 3]:
            seen.append(place)
    assert len(seen) == 8
