"""Weights that nnU-Net trained fit, and give the same logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from core.networks.small_specs import ISOTROPIC, SPECS, image_for, shaken
from flare_core.models.nnunet import shapes as nnunet_shapes
from flare_core.models.nnunet.shapes import first_misfit, named_shapes, without_duplicates
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network

ALL = {
    **{name: spec for name, spec in SPECS.items() if not spec.separable},
    "other decoder kernels": replace(ISOTROPIC, decoder_kernel_sizes=((3, 3, 3), (1, 3, 3))),
    "stunet": replace(ISOTROPIC, kind="stunet"),
}


@pytest.mark.parametrize("what", ALL)
def test_they_are_the_networks(what: str) -> None:
    spec = ALL[what]
    state = build_network(spec).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == dict(named_shapes(spec))


def test_the_first_difference_is_named() -> None:
    spec = ISOTROPIC
    weights = dict(build_network(spec).state_dict())
    assert first_misfit(spec, weights) is None
    name = list(weights)[5]
    for change, came in (
        (torch.zeros(2, 3), f"tensor {name} of shape (2, 3)"),
        (torch.full_like(weights[name], torch.nan), f"tensor {name} with NaN"),
        (None, f"no tensor {name}"),
    ):
        changed = {**weights, name: change} if change is not None else dict(weights)
        if change is None:
            del changed[name]
        wrong = first_misfit(spec, changed)
        assert wrong is not None and wrong[0].startswith(came)
    wrong = first_misfit(spec, {**weights, "left.over": torch.zeros(1)})
    assert wrong is not None and "left.over too many" in wrong[0]


def test_a_network_of_millions_of_tensors_is_not_listed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def endless(_: object) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "a", (2,)
        raise AssertionError("went on behind the first that differs")

    monkeypatch.setattr(nnunet_shapes, "named_shapes", endless)
    assert first_misfit(ISOTROPIC, {}) == ("no tensor a", "tensor a of shape (2,)")


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """nnU-Net's own networks, where they happen to be installed."""
    name = "dynamic_network_architectures.architectures.unet"
    return pytest.importorskip(name, reason="pip install --no-deps dynamic_network_architectures")


def their_network(unet: ModuleType, spec: NetworkSpec, deep_supervision: bool) -> torch.nn.Module:
    residual = spec.kind == "residual_encoder_unet"
    build = unet.ResidualEncoderUNet if residual else unet.PlainConvUNet
    blocks = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    options = {
        blocks: spec.convolutions_per_stage_encoder,
        "n_conv_per_stage_decoder": spec.convolutions_per_stage_decoder,
    }
    network = build(
        spec.input_channels,
        len(spec.features_per_stage),
        spec.features_per_stage,
        torch.nn.Conv3d,
        spec.kernel_sizes,
        spec.strides,
        num_classes=spec.output_channels,
        conv_bias=spec.conv_bias,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": spec.norm_epsilon, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": spec.negative_slope, "inplace": True},
        deep_supervision=deep_supervision,
        **options,
    )
    return shaken(network)


@pytest.mark.parametrize("what", SPECS)
def test_names_and_shapes_are_nnunets(theirs: ModuleType, what: str) -> None:
    spec = SPECS[what]
    state = without_duplicates(their_network(theirs, spec, True).state_dict())
    mine = build_network(spec).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in mine.items()}


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("what", SPECS)
def test_logits_are_nnunets(theirs: ModuleType, what: str, deep: bool) -> None:
    spec = replace(SPECS[what], deep_supervision=deep)
    their = their_network(theirs, spec, deep)
    mine = build_network(spec).train(deep)  # our coarse heads speak only while training
    mine.load_state_dict(without_duplicates(their.state_dict()))
    image = image_for(spec)
    with torch.no_grad():
        expected, found = their(image), mine(image)
    if not deep:
        expected, found = [expected], [found]
    assert len(found) == len(expected) == (len(spec.strides) - 1 if deep else 1)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, atol=1e-4 * float(b.abs().max()))


def test_gradients_are_nnunets(theirs: ModuleType) -> None:
    spec = SPECS["residual anisotropic"]
    their, mine = their_network(theirs, spec, False), build_network(spec)
    mine.load_state_dict(without_duplicates(their.state_dict()))
    for network in (their, mine):
        network(image_for(spec)).square().mean().backward()
    expected = dict(their.named_parameters())
    for name, parameter in mine.named_parameters():
        if not name.startswith("decoder.seg_layers") or parameter.grad is not None:
            scale = float(expected[name].grad.abs().max()) + 1e-3
            assert torch.allclose(parameter.grad, expected[name].grad, atol=1e-3 * scale), name


def test_duplicates_and_wrappers_are_dropped() -> None:
    mine = build_network(replace(ISOTROPIC, kind="residual_encoder_unet")).state_dict()
    twice = {f"module._orig_mod.{name}": tensor for name, tensor in mine.items()}
    for name, tensor in mine.items():
        if name.startswith("encoder."):
            twice[f"module._orig_mod.decoder.{name}"] = tensor
        part, _, leaf = name.rpartition(".conv.")
        if part:
            twice[f"module._orig_mod.{part}.all_modules.0.{leaf}"] = tensor
    assert len(twice) > 1.7 * len(mine)
    assert without_duplicates(twice).keys() == mine.keys()
