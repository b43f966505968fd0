"""Model folders as nnU-Net writes them, v2 and v1, made without it."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flare_core.models.nnunet.shapes import named_shapes
from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network

NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=3,
    features_per_stage=(4, 6),
    strides=((1, 1, 1), (1, 2, 2)),
    kernel_sizes=((1, 3, 3), (3, 3, 3)),
    convolutions_per_stage_encoder=(2, 2),
    convolutions_per_stage_decoder=(2,),
)
LABELS = {"background": 0, "liver": 1, "kidney_right": 2}
INTENSITIES = {"mean": 90.0, "std": 60.0, "percentile_00_5": -60.0, "percentile_99_5": 250.0}
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def new_architecture() -> dict[str, Any]:
    return {
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2, "features_per_stage": [4, 6],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[1, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2]],
                "n_conv_per_stage": [2, 2], "n_conv_per_stage_decoder": [2], "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    }  # fmt: skip


def old_architecture() -> dict[str, Any]:
    return {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4,
        "unet_max_num_features": 6, "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]],
        "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]], "n_conv_per_stage_encoder": [2, 2],
        "n_conv_per_stage_decoder": [2],
    }  # fmt: skip


def plans(architecture: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A v2 plans file; `changes` are of the configuration 3d_fullres."""
    base = {
        "patch_size": [8, 16, 16], "spacing": [5.0, 2.0, 2.0],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": RESAMPLING,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**RESAMPLING, "order": 1},
        **(architecture or new_architecture()),
    }  # fmt: skip
    return {
        "dataset_name": "Dataset001_Tiny", "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2],
        "configurations": {"3d_base": base, "3d_fullres": {"inherits_from": "3d_base", **changes}},
        "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
    }  # fmt: skip


def dataset(**changes: Any) -> dict[str, Any]:
    """A v2 dataset.json."""
    return {"channel_names": {"0": "CT"}, "labels": LABELS, "file_ending": ".nii.gz", **changes}


def their_weights(seed: int = 0, spec: NetworkSpec = NETWORK) -> dict[str, torch.Tensor]:
    """Weights by nnU-Net's names: some of them twice."""
    torch.manual_seed(seed)
    mine = build_network(spec).state_dict()
    twice = {f"decoder.{name}": value for name, value in mine.items() if "encoder" in name}
    for name, value in mine.items():
        part, _, leaf = name.rpartition(".conv.")
        if part:
            twice[f"{part}.all_modules.0.{leaf}"] = value
    return mine | twice


def write_v2(
    folder: Path,
    *,
    folds: tuple[str, ...] = ("0",),
    content: dict[str, Any] | None = None,
    described: dict[str, Any] | None = None,
    spec: NetworkSpec = NETWORK,
) -> Path:
    """A v2 model folder."""
    model = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(content or plans()), encoding="utf-8")
    (model / "dataset.json").write_text(json.dumps(described or dataset()), encoding="utf-8")
    for seed, fold in enumerate(folds):
        (model / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": their_weights(seed, spec),
            "optimizer_state": {"state": {}},
            "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "a": np.arange(3)},
            "_best_ema": np.float64(0.5),
            "init_args": {"configuration": "3d_fullres", "fold": seed},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(checkpoint, model / f"fold_{fold}" / "checkpoint_final.pth")
    return model


def generic_unet_weights(spec: NetworkSpec, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of v1's Generic_UNet for our `plain_unet`, whose added biases are 0."""
    torch.manual_seed(seed)
    last, found = len(spec.strides) - 1, {}
    for name, shape in named_shapes(spec):
        parts = name.split(".")
        if parts[1] in ("transpconvs", "seg_layers"):
            if parts[3] == "weight":
                theirs = {"transpconvs": "tu", "seg_layers": "seg_outputs"}[parts[1]]
                found[f"{theirs}.{parts[2]}.weight"] = torch.randn(shape) / 4
            continue
        encoder = parts[0] == "encoder"
        stage, block, part, kind = int(parts[2]), int(parts[-3]), parts[-2], parts[-1]
        split = not encoder or stage == last  # two stacks: all but the last convolution, the last
        head = f"conv_blocks_{'context' if encoder else 'localization'}.{stage}"
        if split:
            counts = (
                spec.convolutions_per_stage_encoder
                if encoder
                else (spec.convolutions_per_stage_decoder)
            )
            behind = block == counts[stage] - 1
            head, block = f"{head}.{int(behind)}", 0 if behind else block
        part = part.replace("norm", "instnorm")
        found[f"{head}.blocks.{block}.{part}.{kind}"] = torch.randn(shape) / 4
    return found


def plans_v1(**changes: Any) -> dict[str, Any]:
    """A v1 plans file, with numpy's numbers as nnU-Net writes them."""
    stage = {
        "patch_size": np.array([8, 16, 16]), "current_spacing": np.array([5.0, 2.0, 2.0]),
        "pool_op_kernel_sizes": [[1, 2, 2]], "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "do_dummy_2D_data_aug": np.bool_(True),
    }  # fmt: skip
    facts = OrderedDict(
        mean=np.float32(90), sd=np.float32(60), percentile_99_5=250.0, percentile_00_5=-60.0
    )
    return {
        "num_stages": 1, "plans_per_stage": {0: stage}, "all_classes": [2, 1],
        "normalization_schemes": OrderedDict([(0, "CT")]), "modalities": {0: "CT"},
        "use_mask_for_norm": OrderedDict([(0, False)]), "base_num_features": 4,
        "transpose_forward": [np.int64(0), 1, 2],
        "dataset_properties": {"intensityproperties": OrderedDict([(0, facts)])},
        "preprocessed_data_folder": "/somewhere/Task001_Tiny", **changes,
    }  # fmt: skip


def write_v1(folder: Path, spec: NetworkSpec, weights: dict[str, torch.Tensor]) -> Path:
    """A v1 model folder."""
    model = folder / "3d_fullres" / "Task001_Tiny" / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (model / "fold_0").mkdir(parents=True)
    (model / "plans.pkl").write_bytes(pickle.dumps(plans_v1(num_classes=spec.output_channels - 1)))
    beside = {"init": ("plans", 0, "out", "data", True, 0, True), "name": "nnUNetTrainerV2"}
    path = model / "fold_0" / "model_final_checkpoint.model"
    torch.save({"epoch": 1, "state_dict": weights, "plot_stuff": [np.float64(1)]}, path)
    path.with_name(path.name + ".pkl").write_bytes(pickle.dumps(beside))
    return model
