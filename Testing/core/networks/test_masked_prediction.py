"""Predicting in bricks is calling the modules one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.test_masked_residual_unet import SPEC
from flare_core.networks import build_network, masked_prediction

LAST = torch.channels_last_3d

SPECS = {
    "as it is": SPEC,
    "several blocks": replace(
        SPEC, convolutions_per_stage_encoder=(2, 1, 2), convolutions_per_stage_decoder=(2, 1)
    ),
    "flat strides": replace(
        SPEC, strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), kernel_sizes=((1, 3, 3),) + ((3,) * 3,) * 2
    ),
    "a stride first": replace(SPEC, strides=((1, 2, 2), (2, 2, 2), (1, 3, 2))),
    "two channels": replace(SPEC, input_channels=2),
    "wide within": replace(SPEC, features_per_stage=(4, 40, 8)),
}


def organ(channels: int, *, at_edge: bool = False) -> Tensor:
    """An organ of values above 0 on zeros, (1, C, 12, 36, 48), channels-last."""
    random = torch.Generator().manual_seed(2)
    image = torch.zeros(1, channels, 12, 36, 48)
    place = (slice(8, 12), slice(26, 36), slice(0, 14)) if at_edge else (
        slice(3, 7), slice(10, 20), slice(18, 33)
    )  # fmt: skip
    part = image[(..., *place)]
    part += 0.1 + torch.rand(part.shape, generator=random)
    return image.contiguous(memory_format=LAST)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(SPECS[name]).to(memory_format=LAST).eval()  # type: ignore[call-overload]


@pytest.mark.parametrize("at_edge", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_it_is_calling_the_modules_one_after_the_other(name: str, at_edge: bool) -> None:
    image = organ(SPECS[name].input_channels, at_edge=at_edge)
    slow = network(name)(image)  # gradients are kept: module by module
    with torch.inference_mode():
        fast = network(name)(image)
    assert slow.requires_grad and fast.shape == slow.shape
    assert torch.allclose(fast, slow, atol=1e-4 * float(fast.abs().max()))


def test_with_many_threads_it_is_the_same_to_the_bit() -> None:
    image, threads = organ(1), torch.get_num_threads()
    with torch.inference_mode():
        try:
            torch.set_num_threads(1)
            alone = network("as it is")(image)
            torch.set_num_threads(3)
            shared = network("as it is")(image)
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(alone, shared)


def test_far_from_the_organ_what_was_skipped_is_not_convolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, voxels, finest = masked_prediction.convolution, [], SPEC.features_per_stage[0]

    def seen(part: Tensor, weight: Tensor, *rest: Tensor | None, **how: object) -> Tensor:
        found = run(part, weight, *rest, **how)  # type: ignore[arg-type]
        if weight.shape[:3] == (finest, finest, 3):
            voxels.append(found[0, 0].numel())
        return found

    monkeypatch.setattr(masked_prediction, "convolution", seen)
    image = functional.pad(organ(1), (24, 24, 24, 24)).contiguous(memory_format=LAST)
    with torch.inference_mode():
        network("as it is")(image)
    assert 0 < sum(voxels) < 0.4 * image.numel()


def test_images_whose_levels_do_not_fit_are_predicted_module_by_module() -> None:
    image = organ(1)[:, :, :11].contiguous(memory_format=LAST)
    assert not masked_prediction.can_predict(image, SPEC.strides)
    slow = network("as it is")(image)
    with torch.inference_mode():
        assert torch.allclose(network("as it is")(image), slow, atol=1e-4)


def test_an_image_of_zeros_is_predicted_too() -> None:
    image = torch.zeros(1, 1, 8, 8, 8).contiguous(memory_format=LAST)
    slow = network("as it is")(image)
    with torch.inference_mode():
        assert masked_prediction.can_predict(image, SPEC.strides)
        assert torch.allclose(network("as it is")(image), slow, atol=1e-4)
