"""build_network: every kind, fresh weights, names that packages rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from core.networks.small_specs import ANISOTROPIC, ISOTROPIC, KINDS, SPECS, image_for
from flare_core.errors import InputError
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_maps_images_to_logits_of_their_size(kind: str) -> None:
    spec = replace(ANISOTROPIC, kind=kind)
    image = image_for(spec)
    with torch.inference_mode():
        logits = build_network(spec).eval()(image)
    assert logits.shape == (2, 3, *image.shape[2:])
    assert torch.isfinite(logits).all() and logits.std() > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [(1, 1, 1), (2, 2, 2)])
def test_every_kind_runs_on_a_device_in_half_precision(
    kind: str, block: tuple[int, int, int]
) -> None:
    """No tensor is made beside the processor: torch refuses to mix two devices, even without one.

    Tensors have shapes here and no numbers; `meta` stands for a graphics card.
    """
    spec = replace(ISOTROPIC, kind=kind, space_to_depth=block)
    with torch.device("meta"):
        network = build_network(spec).to(torch.float16).eval()
        image = torch.empty(1, 1, 32, 32, 32, dtype=torch.float16)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        logits = network(image)
    assert logits.device.type == "meta" and logits.dtype == torch.float16
    assert logits.shape == (1, spec.output_channels, 32, 32, 32)


def test_an_unknown_kind_is_refused_with_what_is_legal() -> None:
    with pytest.raises(InputError) as caught:
        build_network(replace(ISOTROPIC, kind="mamba"))
    assert "'mamba'" in caught.value.parts[1]
    assert all(kind in caught.value.parts[2] for kind in KINDS)


@pytest.mark.parametrize("what", SPECS)
def test_layout_does_not_change_the_logits(what: str) -> None:
    """Channels-last takes another way through the normalisation."""
    spec = SPECS[what]
    network, image = build_network(spec).eval(), image_for(spec)
    with torch.inference_mode():
        expected = network(image)
        network.to(memory_format=torch.channels_last_3d)
        found = network(image.contiguous(memory_format=torch.channels_last_3d))
    assert torch.allclose(found, expected, atol=2e-4)


def test_names_of_the_default_models_layout() -> None:
    """The packages of this project hold these names; changing one makes them unreadable."""
    spec = replace(ISOTROPIC, space_to_depth=(1, 2, 2))
    shapes = {k: tuple(v.shape) for k, v in build_network(spec).state_dict().items()}
    assert {k: v for k, v in shapes.items() if ".0.0.convs.0." in k} == {
        "network.encoder.stages.0.0.convs.0.conv.weight": (6, 4, 3, 3, 3),
        "network.encoder.stages.0.0.convs.0.conv.bias": (6,),
        "network.encoder.stages.0.0.convs.0.norm.weight": (6,),
        "network.encoder.stages.0.0.convs.0.norm.bias": (6,),
    }
    assert {k: v for k, v in shapes.items() if k.startswith("network.decoder.seg_layers")} == {
        "network.decoder.seg_layers.0.weight": (16, 8, 1, 1, 1),
        "network.decoder.seg_layers.0.bias": (16,),
        "network.decoder.seg_layers.1.weight": (16, 6, 1, 1, 1),
        "network.decoder.seg_layers.1.bias": (16,),
    }
    assert shapes["network.decoder.transpconvs.0.weight"] == (10, 8, 2, 2, 2)
    assert shapes["network.decoder.stages.1.convs.1.conv.weight"] == (6, 6, 3, 3, 3)
    assert len(shapes) == 4 * (6 + 4) + 2 * (2 + 2)


def test_weights_start_as_he_wrote() -> None:
    spec: NetworkSpec = replace(ISOTROPIC, features_per_stage=(32, 32, 32))
    network = build_network(spec)
    weight = network.state_dict()["encoder.stages.1.0.convs.1.conv.weight"]
    assert float(weight.std()) == pytest.approx((2 / (1 + 0.01**2) / (32 * 27)) ** 0.5, rel=0.02)
    assert not network.state_dict()["encoder.stages.1.0.convs.1.conv.bias"].any()
