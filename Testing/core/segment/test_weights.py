from __future__ import annotations

import pytest
import torch
from torch import nn

from flare_core.errors import InputError
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network
from flare_core.segment.weights import fill, first_difference, require_size


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def refusal(weights: dict[str, torch.Tensor]) -> InputError:
    with pytest.raises(InputError) as error:
        fill(network(), weights, source="w.safetensors", action="Fetch it again.")
    assert error.value.parts[0] == "w.safetensors" and error.value.parts[3] == "Fetch it again."
    return error.value


def test_weights_that_fit_are_loaded() -> None:
    given, target = network(), network()
    fill(target, given.state_dict(), source="", action="")
    assert first_difference(target.state_dict(), given.state_dict()) is None
    assert torch.equal(target[1].weight, given[1].weight)


def test_the_first_tensor_that_differs_is_named() -> None:
    weights = network().state_dict()
    weights["0.bias"] = torch.zeros(5)
    weights["1.weight"] = torch.zeros(9)
    assert refusal(weights).parts[1:3] == (
        "tensor 0.bias of shape (5,)",
        "tensor 0.bias of shape (4,)",
    )


def test_missing_and_left_over_tensors_are_named() -> None:
    weights = network().state_dict()
    del weights["0.bias"]
    assert refusal(weights).parts[1] == "no tensor 0.bias"
    weights = {**network().state_dict(), "2.weight": torch.zeros(1)}
    assert "2.weight too many" in refusal(weights).parts[1]


def test_weights_that_are_no_numbers_are_refused() -> None:
    weights = network().state_dict()
    weights["1.bias"] = torch.tensor([1.0, float("nan")])
    assert "1.bias" in refusal(weights).parts[1]


@pytest.mark.parametrize(
    "wild", [{"features_per_stage": (60000, 60000)}, {"convolutions_per_stage_encoder": (60000, 1)}]
)
@pytest.mark.parametrize("kind", ["plain_unet", "phtrans", "light_residual_unet"])
def test_a_card_of_terabytes_is_refused_before_memory_is_asked_for(kind, wild) -> None:
    fields = {
        "features_per_stage": (8, 12), "convolutions_per_stage_encoder": (1, 1),
    }  # fmt: skip
    spec = NetworkSpec(
        kind, output_channels=2, strides=((1, 1, 1), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 2,
        convolutions_per_stage_decoder=(1,), **(fields | wild),
    )  # fmt: skip
    weights = build_network(NetworkSpec(
        kind, output_channels=2, strides=((1, 1, 1), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 2,
        convolutions_per_stage_decoder=(1,), **fields,
    )).state_dict()  # fmt: skip
    with pytest.raises(InputError, match="which has more than"):
        require_size(spec, weights, source="w", action="Fetch it again.")
