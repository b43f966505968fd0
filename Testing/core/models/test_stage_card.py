"""A stage that exists can be run: its card refuses what does not fit together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.models.stage_card import (
    NetworkSpec,
    Normalisation,
    OrganMask,
    StageCard,
    WeightsFile,
)

SPEC = NetworkSpec(
    "plain_unet",
    output_channels=3,
    features_per_stage=(8, 16, 32),
    strides=((1, 1, 1), (2, 2, 2), (1, 2, 2)),
    kernel_sizes=((3, 3, 3),) * 3,
    convolutions_per_stage_encoder=(2, 2, 2),
    convolutions_per_stage_decoder=(1, 1),
    space_to_depth=(1, 2, 2),
)
STAGE = StageCard(
    "organs",
    network=SPEC,
    weights="organs.safetensors",
    spacing_mm=(3.0, 2.0, 2.0),
    patch=(16, 32, 48),
    normalisation=Normalisation("window", -200, 300, 50, 125),
    labels=("background", "liver", "spleen"),
)


def test_a_patch_is_a_multiple_of_all_strides_and_the_folded_block() -> None:
    assert SPEC.divisor == (2, 8, 8)
    with pytest.raises(InputError, match=r"multiples of \(2, 8, 8\)"):
        replace(STAGE, patch=(16, 32, 44))


def test_channels_know_their_organs() -> None:
    assert STAGE.organ_channels == ((1, "liver"), (2, "spleen"))
    lung = replace(STAGE, labels=("background", "other:lung", "spleen"))
    assert lung.organ_channels == ((2, "spleen"),)


def test_folds_follow_the_first_weights() -> None:
    folded = replace(STAGE, folds=(WeightsFile("fold1.safetensors"),))
    assert [w.file for w in folded.weights_files] == ["organs.safetensors", "fold1.safetensors"]
    with pytest.raises(InputError, match="different file names"):
        replace(STAGE, folds=(WeightsFile("Organs.safetensors"),))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ("background", "liver")),
        ("labels", ("liver", "spleen", "pancreas")),
        ("labels", ("background", "liver", "liver")),
        ("labels", ("background", "liver", "heart")),
        ("spacing_mm", (3.0, 0.0, 2.0)),
        ("tile_step", 0.0),
        ("tile_step", 1.5),
        ("transpose", (0, 1, 1)),
        ("orientation", "SPP"),
        ("interpolation", "nearest"),
        ("mirror_axes", (3,)),
        ("margin_mm", ((-1.0, 0.0),) * 3),
        ("name", "Organs"),
        ("weights", "../organs.safetensors"),
        ("sha256", "abc"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, value: Any) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(InputError):
        replace(STAGE, **changed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strides", ((1, 1, 1), (2, 2, 2))),
        ("convolutions_per_stage_decoder", (1, 1, 1)),
        ("features_per_stage", (8,)),
        ("output_channels", 0),
        ("norm_epsilon", 0.0),
        ("negative_slope", -0.1),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(field: str, value: Any) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(InputError):
        replace(SPEC, **changed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("organs", ()),
        ("organs", ("heart",)),
        ("organs", ("Liver",)),
        ("closing_mm", -1.0),
        ("dents_mm", 101.0),
        ("widening_mm", (0.0, -2.0, 0.0)),
        ("soft_hu", (200.0, 0.0)),
    ],
)
def test_a_mask_that_cannot_be_made_is_refused(field: str, value: Any) -> None:
    mask = OrganMask(("liver",), outside_hu=-200.0)
    with pytest.raises(InputError, match="mask"):
        replace(mask, **{field: value})


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_an_organ_is_a_part_of_a_tile(share: float) -> None:
    with pytest.raises(InputError, match="foreground_share"):
        replace(SPEC, foreground_share=share)
