from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from core.networks.test_masked_residual_unet import SPEC
from flare_core.networks.masked_blocks import BackgroundNorm, moments, pooled

LAST = torch.channels_last_3d


def test_the_norm_is_that_of_a_tile_in_which_the_organ_has_the_share() -> None:
    """Of features with zeros around them: an instance norm of all, less what it makes of 0."""
    random = torch.Generator().manual_seed(3)
    image = torch.zeros(2, 5, 6, 8, 10)
    image[:, :, 1:4, 2:6, 3:9] = 3 * torch.randn(2, 5, 3, 4, 6, generator=random) + 1
    norm = BackgroundNorm(SPEC)
    counted = torch.full((2,), 480.0)
    plain = functional.leaky_relu(
        functional.instance_norm(image, eps=SPEC.norm_epsilon), SPEC.negative_slope
    )
    around = plain[:, :, :1, :1, :1]
    assert torch.allclose(norm(image, counted), plain - around, atol=1e-5)
    assert torch.allclose(norm(image, counted, relative=False), plain, atol=1e-5)
    cut = image[:, :, 1:4, 2:6, 3:9].contiguous()  # and it need not be there to be counted
    assert torch.allclose(norm(cut, counted), (plain - around)[:, :, 1:4, 2:6, 3:9], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_0_stays_0_to_the_bit(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(5)
    image = torch.zeros(1, 5, 6, 8, 10, dtype=dtype).contiguous(memory_format=LAST)
    image[:, :, 1:4, 2:6, 3:9] = (3 * torch.randn(1, 5, 3, 4, 6, generator=random) + 1).to(dtype)
    norm = BackgroundNorm(SPEC)
    with torch.inference_mode():
        found = norm.applied(image, *pooled([moments(image)], torch.tensor(480.0)))
    assert found.is_contiguous(memory_format=LAST) and found.dtype == dtype
    assert bool((found[image == 0] == 0).all()) and bool((found[image != 0] != 0).any())


def test_moments_of_parts_and_of_zeros_around_them_are_those_of_the_whole() -> None:
    random = torch.Generator().manual_seed(4)
    image = torch.zeros(1, 3, 9, 8, 10)
    image[:, :, 2:7] = torch.randn(1, 3, 5, 8, 10, generator=random) + 2
    image = image.contiguous(memory_format=LAST)
    counted = torch.tensor(2.0 * image[0, 0].numel())
    with torch.inference_mode():
        parts = [moments(image[:, :, 2:3]), moments(image[:, :, 3:7])]
        mean, variance = pooled(parts, counted)
    wide = torch.cat((image, torch.zeros_like(image)), dim=2)
    assert torch.allclose(mean, wide.mean(dim=(0, 2, 3, 4)), atol=1e-5)
    assert torch.allclose(variance, wide.var(dim=(0, 2, 3, 4), unbiased=False), atol=1e-5)
