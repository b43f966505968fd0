from __future__ import annotations

from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.models.nnunet.plans import plan_of
from flare_core.models.stage_card import NnunetGrids, Normalisation
from nnunet_folders import (
    INTENSITIES,
    NETWORK,
    RESAMPLING,
    new_architecture,
    old_architecture,
    plans,
)


@pytest.mark.parametrize("architecture", [new_architecture(), old_architecture()])
def test_old_and_new_plans_describe_the_same_network(architecture: dict[str, Any]) -> None:
    plan = plan_of(plans(architecture), "3d_fullres", 3)
    assert plan.network == NETWORK
    assert (plan.spacing_mm, plan.patch) == ((5.0, 2.0, 2.0), (8, 16, 16))
    assert plan.normalisation == Normalisation("ct", -60.0, 250.0, 90.0, 60.0)
    assert plan.grids == NnunetGrids() and plan.orientation is None


def test_the_residual_encoder() -> None:
    described = new_architecture()
    options = described["architecture"]["arch_kwargs"]
    described["architecture"]["network_class_name"] = "somewhere.else.ResidualEncoderUNet"
    options["n_blocks_per_stage"] = options.pop("n_conv_per_stage")
    options["nonlin"], options["nonlin_kwargs"] = "torch.nn.ReLU", {"inplace": True}
    network = plan_of(plans(described), "3d_fullres", 3).network
    assert network.kind == "residual_encoder_unet" and network.negative_slope == 0.0
    assert network.convolutions_per_stage_encoder == (2, 2)


def test_numbers_for_all_stages_and_axes() -> None:
    described = new_architecture()
    options = described["architecture"]["arch_kwargs"]
    options |= {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2, "kernel_sizes": [3, 3]}
    network = plan_of(plans(described), "3d_fullres", 3).network
    assert network.convolutions_per_stage_encoder == (2, 2)
    assert network.kernel_sizes == ((3, 3, 3), (3, 3, 3))


def test_a_cascades_low_resolution_stage_is_a_network_like_any() -> None:
    content = plans()
    content["configurations"]["3d_lowres"] = {
        "inherits_from": "3d_fullres", "spacing": [9, 4, 4], "next_stage": "3d_cascade_fullres",
    }  # fmt: skip
    assert plan_of(content, "3d_lowres", 3).spacing_mm == (9.0, 4.0, 4.0)


def test_axes_and_resampling_are_read() -> None:
    content = plans(
        resampling_fn_data_kwargs={**RESAMPLING, "order": 1, "force_separate_z": False},
        resampling_fn_probabilities_kwargs={**RESAMPLING, "order": 0, "force_separate_z": False},
    )
    content["transpose_forward"] = [2, 0, 1]
    content["image_reader_writer"] = "NibabelIOWithReorient"
    plan = plan_of(content, "3d_fullres", 3)
    assert plan.transpose == (2, 0, 1) and plan.orientation == "SAR"
    assert plan.grids == NnunetGrids(image_order=1, scores_order=0, slices_apart=False)


def test_resampling_by_torch_is_linear() -> None:
    options = {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False}
    content = plans(
        resampling_fn_data="resample_torch_fornnunet",
        resampling_fn_data_kwargs=options,
        resampling_fn_probabilities="resample_torch_fornnunet",
        resampling_fn_probabilities_kwargs=options,
    )
    grids = plan_of(content, "3d_fullres", 3).grids
    assert (grids.image_order, grids.scores_order, grids.slices_apart) == (1, 1, False)


@pytest.mark.parametrize("other", [{"mode": "nearest"}, {"aniso_axis_mode": "linear"}])
def test_another_interpolation_by_torch_is_refused(other: dict[str, str]) -> None:
    content = plans(resampling_fn_data="resample_torch_fornnunet", resampling_fn_data_kwargs=other)
    with pytest.raises(InputError, match=next(iter(other))):
        plan_of(content, "3d_fullres", 3)


def test_the_older_name_of_the_intensities() -> None:
    content = plans()
    del content["foreground_intensity_properties_per_channel"]
    content["foreground_intensity_properties_by_modality"] = {"0": {**INTENSITIES, "mean": 1.0}}
    assert plan_of(content, "3d_fullres", 3).normalisation.mean == 1.0


def changed_architecture(**changes: Any) -> dict[str, Any]:
    described = new_architecture()
    described["architecture"]["arch_kwargs"] |= changes
    return described


@pytest.mark.parametrize(
    ("content", "configuration", "named"),
    [
        (plans(), "2d", "3d_base, 3d_fullres"),
        (plans(previous_stage="3d_lowres"), "3d_fullres", "Import the folder of 3d_lowres"),
        (plans(patch_size=[16, 16]), "3d_fullres", "2D tiles"),
        (plans(normalization_schemes=["ZScoreNormalization"]), "3d_fullres", "CTNormalization"),
        (plans(normalization_schemes=["CTNormalization"] * 2), "3d_fullres", "one CT channel"),
        (plans(resampling_fn_data="no_resampling_hack"), "3d_fullres", "no_resampling_hack"),
        (plans(inherits_from="3d_fullres"), "3d_fullres", "no field patch_size"),
        (plans(changed_architecture(norm_op="torch.nn.BatchNorm3d")), "3d_fullres", "BatchNorm3d"),
        (plans(changed_architecture(conv_op="torch.nn.Conv2d")), "3d_fullres", "Conv3d"),
        (plans(changed_architecture(norm_op_kwargs={})), "3d_fullres", "affine"),
        (plans(changed_architecture(nonlin_first=True)), "3d_fullres", "nonlin_first"),
        ({}, "3d_fullres", "no field configurations"),
    ],
)
def test_what_cannot_be_run_is_refused(
    content: dict[str, Any], configuration: str, named: str
) -> None:
    with pytest.raises(InputError) as error:
        plan_of(content, configuration, 3)
    assert named in str(error.value)


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    described = new_architecture()
    described["architecture"]["network_class_name"] = "primus.Primus"
    for content in (plans(described), plans({**old_architecture(), "UNet_class_name": "Primus"})):
        with pytest.raises(InputError, match="PlainConvUNet, ResidualEncoderUNet") as error:
            plan_of(content, "3d_fullres", 3)
        assert error.value.parts[1] == "Primus"


def test_inheritance_in_a_circle_ends() -> None:
    content = plans()
    content["configurations"]["3d_base"]["inherits_from"] = "3d_fullres"
    with pytest.raises(InputError, match="circle"):
        plan_of(content, "3d_fullres", 3)
