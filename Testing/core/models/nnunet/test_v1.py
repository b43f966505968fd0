"""Folders of nnU-Net v1: the network is read off its weights."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.nnunet.convert import import_nnunet
from flare_core.models.nnunet.shapes import from_generic_unet
from flare_core.models.nnunet.v1 import channels_of_v1, network_in, plan_of_v1, read_plans_pickle
from flare_core.models.package import read_weights
from flare_core.networks import build_network
from nnunet_folders import NETWORK, generic_unet_weights, plans_v1, write_v1

DEEP = replace(
    NETWORK,
    features_per_stage=(4, 6, 5),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    convolutions_per_stage_encoder=(2, 2, 2),
    convolutions_per_stage_decoder=(2, 2),
    # version 1 takes the kernels of the stage below
    decoder_kernel_sizes=((3, 3, 3), (3, 3, 3)),
)
MAP = {"1": "liver", "2": "spleen"}


class Reference(nn.Module):
    """Generic_UNet's arithmetic, from its weights by its names."""

    def __init__(self, weights: dict[str, Tensor], strides: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.w, self.strides = weights, strides

    def block(self, x: Tensor, name: str, stride: tuple[int, ...] = (1, 1, 1)) -> Tensor:
        w = self.w[f"{name}.conv.weight"]
        x = functional.conv3d(
            x, w, self.w[f"{name}.conv.bias"], stride, [n // 2 for n in w.shape[2:]]
        )
        x = functional.instance_norm(
            x, weight=self.w[f"{name}.instnorm.weight"], bias=self.w[f"{name}.instnorm.bias"]
        )
        return functional.leaky_relu(x, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        skips, last = [], len(self.strides) - 1
        for s in range(last):
            x = self.block(x, f"conv_blocks_context.{s}.blocks.0", self.strides[s])
            x = self.block(x, f"conv_blocks_context.{s}.blocks.1")
            skips.append(x)
        x = self.block(x, f"conv_blocks_context.{last}.0.blocks.0", self.strides[last])
        x = self.block(x, f"conv_blocks_context.{last}.1.blocks.0")
        for u in range(last):
            stride = self.strides[last - u]
            x = functional.conv_transpose3d(x, self.w[f"tu.{u}.weight"], stride=stride)
            x = torch.cat((x, skips[-1 - u]), dim=1)
            x = self.block(x, f"conv_blocks_localization.{u}.0.blocks.0")
            x = self.block(x, f"conv_blocks_localization.{u}.1.blocks.0")
        return functional.conv3d(x, self.w[f"seg_outputs.{last - 1}.weight"])


def test_the_network_is_read_off_the_weights() -> None:
    assert network_in(generic_unet_weights(DEEP), 3, []) == DEEP


def test_converted_weights_give_version_1s_logits() -> None:
    weights = generic_unet_weights(DEEP)
    mine = build_network(DEEP).eval()
    mine.load_state_dict(from_generic_unet(weights))
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        expected, found = Reference(weights, list(DEEP.strides))(image), mine(image)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_a_folder_becomes_a_package(tmp_path: Path) -> None:
    weights = generic_unet_weights(DEEP)
    model = write_v1(tmp_path, DEEP, weights)
    package = import_nnunet(model, home=Home(tmp_path / "home"), label_map=MAP)
    stage = package.card.stages[0]
    assert stage.labels == ("background", "liver", "spleen") and stage.patch == (8, 16, 16)
    assert stage.nnunet is not None and stage.nnunet.average == "probabilities"
    assert not stage.nnunet.clip_first and stage.network == DEEP
    kept = read_weights(package.weights_path(stage))
    assert torch.equal(
        kept["encoder.stages.2.0.convs.1.conv.weight"],
        weights["conv_blocks_context.2.1.blocks.0.conv.weight"],
    )
    assert package.card.name == "task001_tiny"


def test_names_come_from_a_dataset_file_or_the_label_map(tmp_path: Path) -> None:
    named = {"labels": {"0": "background", "1": "liver", "2": "heart"}}
    found = channels_of_v1(plans_v1(), named, None)
    assert found.labels == ("background", "liver", "other:heart")
    with pytest.raises(InputError, match="label 1, label 2"):
        channels_of_v1(plans_v1(), None, None)
    with pytest.raises(InputError, match="label map"):
        import_nnunet(write_v1(tmp_path, DEEP, generic_unet_weights(DEEP)), home=Home(tmp_path))
    assert not Home(tmp_path).models.exists()


def test_stunet_is_known_by_its_weights() -> None:
    spec = replace(
        NETWORK,
        kind="stunet",
        convolutions_per_stage_encoder=(1, 2),
        convolutions_per_stage_decoder=(1,),
        decoder_kernel_sizes=(),
    )
    weights = build_network(spec).state_dict()
    assert network_in(weights, 3, [[1, 2, 2], [2, 2, 2]]) == spec


def test_stunet_fills_missing_strides_with_ones() -> None:
    spec = replace(DEEP, kind="stunet", decoder_kernel_sizes=(), strides=((1, 1, 1),) * 3,
                   convolutions_per_stage_encoder=(1,) * 3,
                   convolutions_per_stage_decoder=(1, 1))  # fmt: skip
    assert network_in(build_network(spec).state_dict(), 3, []) == spec


def test_other_networks_and_images_are_refused() -> None:
    weights = generic_unet_weights(DEEP)
    with pytest.raises(InputError, match="Generic_UNet"):
        network_in({"swin.weight": torch.ones(1)}, 3, [])
    with pytest.raises(InputError, match="Generic_UNet"):  # pooling and upsampling, not learned
        network_in({k: v for k, v in weights.items() if not k.startswith("tu.")}, 3, [])
    for changes in (
        {"normalization_schemes": {0: "nonCT"}},
        {"use_mask_for_norm": {0: True}},
    ):
        with pytest.raises(InputError, match="one CT channel"):
            plan_of_v1(plans_v1(**changes), 0, weights, 3)
    with pytest.raises(InputError, match="no field 4"):
        plan_of_v1(plans_v1(), 4, weights, 3)


def pickled(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_containers_and_numpys_numbers_come_back_plain(tmp_path: Path, protocol: int) -> None:
    value = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.int64(-7), "c": OrderedDict([(0, "CT")]),
        "d": (1, 2.5, None, True), "e": np.float32(0.5), "f": np.array([1, 2], np.uint8),
        "g": np.bool_(True), "h": np.array([1.5], ">f4"), "i": np.zeros((0, 3)),
    }  # fmt: skip
    found = read_plans_pickle(pickled(tmp_path / "p.pkl", value, protocol))
    assert found == {
        "a": [[0, 1, 2], [3, 4, 5]], "b": -7, "c": {0: "CT"}, "d": [1, 2.5, None, True],
        "e": 0.5, "f": [1, 2], "g": True, "h": [1.5], "i": [],
    }  # fmt: skip


def test_plans_are_read(tmp_path: Path) -> None:
    found = read_plans_pickle(pickled(tmp_path / "plans.pkl", plans_v1()))
    assert found["plans_per_stage"][0]["current_spacing"] == [5.0, 2.0, 2.0]
    assert found["dataset_properties"]["intensityproperties"][0]["sd"] == 60.0


class Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_program_is_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    path = pickled(tmp_path / "plans.pkl", {"a": Evil(os.system, f"touch {trace}")}, protocol)
    with pytest.raises(InputError, match="nothing of it was executed") as error:
        read_plans_pickle(path)
    assert "system" in error.value.parts[1] and not trace.exists()


@pytest.mark.parametrize("call", [exec, open, getattr, __import__, np.load])
def test_only_the_known_names_are_found(tmp_path: Path, call: Any) -> None:
    with pytest.raises(InputError, match="calls"):
        read_plans_pickle(pickled(tmp_path / "plans.pkl", Evil(call, "1")))


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x04}", b"\x80\x04K\x01"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "plans.pkl").write_bytes(data)
    with pytest.raises(InputError, match=r"plans.pkl"):
        read_plans_pickle(tmp_path / "plans.pkl")


def test_arrays_of_strange_types_are_refused(tmp_path: Path) -> None:
    for array in (np.array([1j]), np.array(["text"]), np.asfortranarray(np.ones((2, 2)))):
        with pytest.raises(InputError, match="not readable"):
            read_plans_pickle(pickled(tmp_path / "plans.pkl", array))
