from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.models.card import (
    CATALOGUE,
    FORMAT_VERSION,
    ContrastLook,
    ModelCard,
    NetworkSpec,
    Normalisation,
    OrganMask,
    SecondLook,
    StageCard,
    WeightsFile,
)

Change = Callable[[dict[str, Any]], object]


def test_round_trip_and_same_text(card: ModelCard) -> None:
    back = ModelCard.from_json(card.to_json())
    assert back == card
    assert back.to_json() == card.to_json()


def test_an_nnunet_stage_fits(card: ModelCard) -> None:
    """A TotalSegmentator-like stage: residual encoder, cubic, transposed, other structures."""
    network = NetworkSpec(
        "residual_encoder_unet", output_channels=4, features_per_stage=(32, 64, 128, 320),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
        kernel_sizes=((1, 3, 3),) + ((3, 3, 3),) * 3,
        convolutions_per_stage_encoder=(1, 3, 4, 6), convolutions_per_stage_decoder=(1, 1, 1),
        deep_supervision=True,
    )  # fmt: skip
    stage = StageCard(
        "organs", network=network, weights="fold_0.safetensors",
        folds=(WeightsFile("fold_1.safetensors", "0" * 64, 5),), spacing_mm=(1.5, 1.5, 1.5),
        patch=(64, 128, 96), normalisation=Normalisation("ct", -1004.0, 1588.0, -50.4, 503.4),
        labels=("background", "spleen", "other:lung_left", "other"), tile_step=0.5,
        transpose=(1, 0, 2), orientation="SAR", interpolation="cubic", mirror_axes=(0, 1, 2),
    )  # fmt: skip
    nnunet = replace(card, stages=(stage,))
    assert ModelCard.from_json(nnunet.to_json()) == nnunet
    assert stage.organ_channels == ((1, "spleen"),)
    assert network.divisor == (4, 8, 8)
    assert [weights.file for weights in nnunet.weights_files] == [
        "fold_0.safetensors", "fold_1.safetensors",
    ]  # fmt: skip


def test_regions_have_no_background_channel(card: ModelCard) -> None:
    stage = replace(card.stages[0], regions=True, labels=("liver", "spleen", "lesion"))
    assert stage.organ_channels == ((0, "liver"), (1, "spleen"), (2, "lesion"))
    with pytest.raises(InputError):
        replace(card.stages[0], regions=True)  # still has "background"


def test_stage_by_name(card: ModelCard) -> None:
    assert card.stage("organs") is card.stages[1]
    assert card.stage("lesions") is None


def network_of(value: dict[str, Any]) -> dict[str, Any]:
    return value["stages"][1]["network"]


REFUSED: list[tuple[Change, str]] = [
    (lambda v: v.update(name="../evil"), "card: name"),
    (lambda v: v.update(name="Tiny"), "card: name"),
    (lambda v: v.update(version="1/2"), "card: version"),
    (lambda v: v.update(version=".."), "card: version"),
    (lambda v: v.update(version="1.0\n"), "card: version"),
    (lambda v: v.update(stages=[]), "one or more"),
    (lambda v: v["stages"].append(v["stages"][0]), "each name once"),
    (lambda v: v["stages"][0].update(weights="ORGANS.safetensors"), "each file once"),
    (lambda v: v["stages"][0].update(weights="../a.safetensors"), "plain name"),
    (lambda v: v["stages"][0].update(weights="/a.safetensors"), "plain name"),
    (lambda v: v["stages"][0].update(weights="a.pth"), "plain name"),
    (lambda v: v["stages"][0].update(weights="card.json"), "plain name"),
    (lambda v: v["stages"][0].update(sha256="abc"), "64 lower-case hex"),
    (lambda v: v["stages"][0].update(size_bytes=-1), "0 or more"),
    (lambda v: v["stages"][1]["folds"][0].update(file="organs.safetensors"), "different file"),
    (lambda v: v["stages"][1].update(name="Organs!"), "stage: name"),
    (lambda v: v["stages"][1].update(labels=["background", "liver"]), "4 labels"),
    (lambda v: v["stages"][1]["labels"].__setitem__(0, "liver"), "background first"),
    (lambda v: v["stages"][1]["labels"].__setitem__(1, "livr"), "stage organs: labels"),
    (lambda v: v["stages"][1]["labels"].__setitem__(1, "IVC"), "key inferior_vena_cava"),
    (lambda v: v["stages"][1]["labels"].__setitem__(1, "pancreas"), "each organ once"),
    (lambda v: v["stages"][1]["labels"].__setitem__(1, "background"), "labels"),
    (lambda v: v["stages"][1].update(spacing_mm=[1, 0, 1]), "spacing_mm"),
    (lambda v: v["stages"][1].update(spacing_mm=[1, 1]), "a list of 3"),
    (lambda v: v["stages"][1].update(patch=[12, 16, 18]), "multiples of (1, 4, 4)"),
    (lambda v: v["stages"][1].update(patch=[0, 16, 16]), "multiples of"),
    (lambda v: v["stages"][1].update(step=0), "step"),
    (lambda v: v["stages"][1].update(step=1.1), "step"),
    (lambda v: v["stages"][1].update(transpose=[0, 1, 1]), "transpose"),
    (lambda v: v["stages"][1].update(orientation="SPP"), "orientation"),
    (lambda v: v["stages"][1].update(orientation="spl"), "orientation"),
    (lambda v: v["stages"][1].update(interpolation="nearest"), "interpolation"),
    (lambda v: v["stages"][1].update(mirror_axes=[0, 0]), "mirror_axes"),
    (lambda v: v["stages"][1].update(mirror_axes=[3]), "mirror_axes"),
    (lambda v: v["stages"][1].update(margin_mm=[[1, 2], [1, 2], [-1, 2]]), "margin_mm"),
    (lambda v: v["stages"][1]["normalisation"].update(kind="mri"), "window or ct"),
    (lambda v: v["stages"][1]["normalisation"].update(lower_hu=240), "lower < upper"),
    (lambda v: v["stages"][1]["normalisation"].update(std=0), "std"),
    (lambda v: network_of(v).update(features_per_stage=[8]), "features_per_stage"),
    (lambda v: network_of(v).update(strides=[[1, 1, 1]]), "strides"),
    (lambda v: network_of(v).update(strides=[[1, 1, 1], [0, 2, 2]]), "strides"),
    (lambda v: network_of(v).update(kernel_sizes=[[3, 3, 3]]), "kernel_sizes"),
    (lambda v: network_of(v).update(convolutions_per_stage_encoder=[2]), "encoder"),
    (lambda v: network_of(v).update(convolutions_per_stage_decoder=[2, 2]), "decoder"),
    (lambda v: network_of(v).update(output_channels=0), "output_channels"),
    (lambda v: network_of(v).update(input_channels=-1), "input_channels"),
    (lambda v: network_of(v).update(space_to_depth=[0, 2, 2]), "space_to_depth"),
    (lambda v: network_of(v).update(norm_epsilon=0), "norm_epsilon"),
    (lambda v: network_of(v).update(negative_slope=2), "negative_slope"),
    (lambda v: network_of(v).pop("kind"), "missing field kind"),
    (lambda v: v["training_data"][0].update(cases=-1), "cases"),
    (lambda v: v.pop("licence"), "missing field licence"),
    (lambda v: v.update(licence=None), "text"),
    (lambda v: v.update(format_version=0), "format_version"),
    (lambda v: v.update(format_version=True), "a whole number"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED)
def test_what_is_refused(card: ModelCard, change: Change, says: str) -> None:
    value = json.loads(card.to_json())
    change(value)
    with pytest.raises(InputError) as caught:
        ModelCard.from_json(json.dumps(value))
    assert says in str(caught.value)
    assert len(caught.value.parts) == 4 and all(caught.value.parts)


def test_misspelt_organ_gets_a_suggestion(card: ModelCard) -> None:
    text = card.to_json().replace('"pancreas"', '"pancraes"')
    with pytest.raises(InputError, match="to do:.*pancreas"):
        ModelCard.from_json(text)


def test_newer_card_is_refused_before_its_fields_are_read(card: ModelCard) -> None:
    value = json.loads(card.to_json()) | {"format_version": FORMAT_VERSION + 1, "shiny": 1}
    with pytest.raises(InputError, match="Update FLARESeg") as caught:
        ModelCard.from_json(json.dumps(value))
    assert "shiny" not in str(caught.value)


def test_unknown_field_names_the_newest_format(card: ModelCard) -> None:
    value = json.loads(card.to_json()) | {"shiny": 1}
    with pytest.raises(InputError, match=f"shiny(.|\n)*known here is {FORMAT_VERSION}"):
        ModelCard.from_json(json.dumps(value))


def test_unknown_field_deep_inside_is_named_with_its_place(card: ModelCard) -> None:
    value = json.loads(card.to_json())
    network_of(value)["dropout"] = 0.5
    with pytest.raises(InputError, match=r"stages\[1\]: network: not usable(.|\n)*dropout"):
        ModelCard.from_json(json.dumps(value))


def test_catalogue_knows_the_default_model() -> None:
    assert CATALOGUE["default"].folder.parts[-3:] == ("flare_core", "resources", "default_model")
    assert CATALOGUE["default"].folder.is_absolute()


def test_no_torch_and_no_numpy_are_loaded() -> None:
    program = (
        "import sys, flare_core.models.card, flare_core.models.package, flare_core.models.archive;"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


LOOKS: dict[str, object] = {
    "regions": True, "labels": ("lesion", *["other"] * 3),
    "second_look": SecondLook(0.95, 12.0, 0.3),
}  # fmt: skip


def with_lesions(card: ModelCard, **changes: object) -> ModelCard:
    """The card with a lesion stage that sees the liver alone."""
    fields: dict[str, object] = {
        "name": "lesions", "weights": "lesions.safetensors",
        "mask": OrganMask(("liver",), outside_hu=-200.0), "folds": (),
    }  # fmt: skip
    lesions = replace(card.stages[1], **(fields | changes))  # type: ignore[arg-type]
    return replace(card, stages=(*card.stages, lesions))


def test_what_only_the_localiser_knows_is_not_found(card: ModelCard) -> None:
    """It was offered, in the panel and in lists, and a run with it was refused."""
    (organs,) = (stage for stage in card.stages if stage.name == "organs")
    finds = replace(organs, labels=("background", "spleen"), network=_two(organs.network))
    knows = replace(organs, name="localiser", weights="localiser.safetensors", folds=())
    made = replace(card, stages=(knows, finds))
    assert "liver" in dict(map(reversed, knows.organ_channels))
    assert made.found_organs == ("spleen",)


def _two(network: NetworkSpec) -> NetworkSpec:
    return replace(network, output_channels=2)


def test_a_mask_comes_back_from_json(card: ModelCard) -> None:
    mask = OrganMask(("liver",), outside_hu=-200.0, closing_mm=3.0, widening_mm=(6.0, 2.0, 2.0))
    masked = with_lesions(card, mask=mask)
    assert ModelCard.from_json(masked.to_json()) == masked


def test_a_second_look_comes_back_from_json(card: ModelCard) -> None:
    looks = with_lesions(card, **LOOKS)
    assert ModelCard.from_json(looks.to_json()) == looks
    assert looks.stages[-1].second_look == SecondLook(0.95, 12.0, 0.3)


def test_a_contrast_look_comes_back_from_json(card: ModelCard) -> None:
    look = ContrastLook(100.0, 35.0, 90.0, 1.5, 0.98, 3.0)
    shown = with_lesions(card, **(LOOKS | {"second_look": None}), contrast_look=look)
    assert ModelCard.from_json(shown.to_json()) == shown


def test_a_second_look_is_a_lesion_stages_that_is_shown_organs_and_has_regions(
    card: ModelCard,
) -> None:
    softmax = {"regions": False, "labels": card.stages[1].labels}
    for changes in ({"mask": None}, softmax):
        with pytest.raises(InputError, match="second_look"):
            with_lesions(card, **(LOOKS | changes))
        contrast = {"second_look": None, "contrast_look": ContrastLook()}
        with pytest.raises(InputError, match="contrast_look"):
            with_lesions(card, **(LOOKS | contrast | changes))


def test_so_is_one_whose_lesions_grow(card: ModelCard) -> None:
    grows = LOOKS | {"second_look": None, "growth_mm": 8.0}
    made = with_lesions(card, **grows)
    assert ModelCard.from_json(made.to_json()) == made
    for changes in ({"mask": None}, {"growth_mm": -1.0}, {"growth_mm": 101.0}):
        with pytest.raises(InputError, match="growth_mm"):
            with_lesions(card, **(grows | changes))


def test_a_mask_needs_a_stage_before_it_that_finds_its_organs(card: ModelCard) -> None:
    with pytest.raises(InputError, match=r"mask: organs(.|\n)*stomach"):
        with_lesions(card, mask=OrganMask(("stomach",), outside_hu=-200.0))
    lonely = with_lesions(card).stages[-1:]
    with pytest.raises(InputError, match="no stage before it finds an organ"):
        replace(card, stages=lonely)


def test_only_a_lesion_stage_is_shown_organs_alone(card: ModelCard) -> None:
    with pytest.raises(InputError, match="mask"):
        with_lesions(card, name="organs_2")


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_card_of_an_older_format_is_still_read(card: ModelCard, version: int) -> None:
    value = json.loads(card.to_json()) | {"format_version": version}
    for stage in value["stages"]:
        del stage["hosts"]
        if version < 4:
            del stage["contrast_look"]
        if version < 3:
            del stage["second_look"], stage["growth_mm"]
        if version == 1:
            del stage["mask"], stage["network"]["foreground_share"]
    assert ModelCard.from_json(json.dumps(value)) == replace(card, format_version=version)
