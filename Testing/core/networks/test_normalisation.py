"""Instance norm on channels-last tensors agrees with torch's, also where sums are delicate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_core.networks.normalisation import InstanceNorm

LAST = torch.channels_last_3d
SHAPES = [(1, 5, 4, 6, 8), (3, 4, 3, 5, 7), (2, 1, 4, 4, 4), (1, 6, 1, 1, 9), (1, 33, 8, 16, 16)]


def norm(channels: int, slope: float | None) -> InstanceNorm:
    module = InstanceNorm(channels, 1e-5, slope)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        module.weight.copy_(1 + 0.4 * torch.randn(channels, generator=random))
        module.bias.copy_(0.4 * torch.randn(channels, generator=random))
    return module


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, slope: float | None) -> Tensor:
    y = functional.instance_norm(x, weight=weight, bias=bias, eps=1e-5)
    return y if slope is None else functional.leaky_relu(y, slope)


def data(shape: tuple[int, ...], mean: float = 0.5, sd: float = 2.0) -> Tensor:
    random = torch.Generator().manual_seed(2)
    values = torch.randn(shape, generator=random, dtype=torch.float64) * sd + mean
    return values.float().contiguous(memory_format=LAST)


def with_gradients(
    forward: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor
) -> list[Tensor]:
    """Output and the gradients of x, weight and bias for a fixed random output gradient."""
    leaves = [each.detach().clone().requires_grad_() for each in (x, weight, bias)]
    y = forward(*leaves)
    random = torch.Generator().manual_seed(3)
    y.backward(torch.randn(y.shape, generator=random).to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("slope", [None, 0.01, 0.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_torch_forward_and_backward(
    shape: tuple[int, ...], slope: float | None
) -> None:
    module, x = norm(shape[1], slope), data(shape)

    def mine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    found = with_gradients(mine, x, module.weight, module.bias)
    exact = [each.double() for each in (x, module.weight, module.bias)]
    expected = with_gradients(lambda *each: by_torch(*each, slope), *exact)
    assert found[0].is_contiguous(memory_format=LAST)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.allclose(a.double(), b, atol=2e-5 * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("own", [False, True])
def test_half_precision_keeps_sums_in_float32(dtype: torch.dtype, own: bool) -> None:
    """`own`: the parameters are half too (prediction), else float32 (training under autocast)."""
    module, x = norm(8, 0.01), data((1, 8, 16, 24, 24)).to(dtype)
    exact = [each.double() for each in (x, module.weight, module.bias)]
    expected = with_gradients(lambda *each: by_torch(*each, 0.01), *exact)
    if own:
        module.to(dtype)

    def mine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    found = with_gradients(mine, x, module.weight, module.bias)
    unit = torch.finfo(dtype).eps
    for a, b, loose in zip(found, expected, (4, 8, 8, 8), strict=True):
        # the kink of the activation may fall to the other side; hence the mean, not the maximum
        assert float((a.double() - b).abs().mean()) < loose * unit * float(b.abs().mean())
    assert found[0].dtype == found[1].dtype == dtype


def test_autocast_trains_with_float32_parameters() -> None:
    convolution = torch.nn.Conv3d(2, 8, 3, padding=1).to(memory_format=LAST)
    module = norm(8, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(convolution(data((1, 2, 6, 8, 8))))
        assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    for parameter in (*convolution.parameters(), *module.parameters()):
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize(
    ("mean", "sd", "atol"), [(30.0, 1.0, 1e-4), (100.0, 0.1, 2e-3), (-1000.0, 1.0, 2e-3)]
)
def test_a_large_mean_costs_little(mean: float, sd: float, atol: float) -> None:
    """E[x^2] - E[x]^2 in float32 would lose the variance here."""
    x = data((1, 4, 16, 32, 32), mean, sd)
    found = InstanceNorm(4, 1e-5, None)(x)
    expected = functional.instance_norm(x.double(), eps=1e-5)
    assert float((found - expected).abs().max().detach()) < atol


def test_many_voxels_cost_little() -> None:
    """A plain running sum in float32 is off by a thousandth after a million voxels."""
    x = data((1, 2, 64, 128, 128), 1.0, 1.0)
    with torch.no_grad():
        found = InstanceNorm(2, 1e-5, None)(x)
    expected = functional.instance_norm(x.double(), eps=1e-5)
    assert float((found - expected).abs().max()) < 2e-5


def test_constant_channels_become_the_bias() -> None:
    module = norm(3, None)
    y = module(torch.full((1, 3, 4, 8, 8), 7.25).contiguous(memory_format=LAST))
    assert torch.allclose(y, module.bias.view(1, 3, 1, 1, 1).expand_as(y), atol=1e-3)


def test_images_of_a_batch_do_not_mix() -> None:
    module, x = norm(4, 0.01), data((3, 4, 3, 5, 7))
    x[1] *= 50
    single = torch.cat([module(image) for image in x.split(1)])
    assert torch.equal(module(x), single)
