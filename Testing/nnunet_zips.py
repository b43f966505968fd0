"""Zips of nnU-Net model folders with random weights: what a publisher offers, in small."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import torch

from flare_core.models.stage_card import NetworkSpec
from flare_core.networks import build_network

PATCH = (16, 16, 16)


def nnunet_zip(dataset: str, labels: Sequence[str], *, spacing_mm: float = 6.0) -> bytes:
    """A zip as TotalSegmentator's: Dataset/Trainer__Plans__3d_fullres/fold_0/checkpoint."""
    network = build_network(_spec(len(labels) + 1))
    plans = {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 10.0, "std": 200.0, "percentile_00_5": -900.0, "percentile_99_5": 900.0}
        },
        "configurations": {"3d_fullres": _configuration(spacing_mm)},
    }
    facts = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {name: i for i, name in enumerate(labels, 1)},
        "file_ending": ".nii.gz",
        "numTraining": 3,
    }
    weights = io.BytesIO()
    torch.save(
        {
            "network_weights": network.state_dict(),
            "init_args": {"configuration": "3d_fullres", "fold": 0},
            "trainer_name": "nnUNetTrainerNoMirroring",
        },
        weights,
    )
    top = f"{dataset}/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
    return _zip(
        {
            f"{top}/plans.json": json.dumps(plans).encode(),
            f"{top}/dataset.json": json.dumps(facts).encode(),
            f"{top}/fold_0/checkpoint_final.pth": weights.getvalue(),
        }
    )


def _zip(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _spec(channels: int) -> NetworkSpec:
    return NetworkSpec(
        "plain_unet",
        output_channels=channels,
        features_per_stage=(4, 8),
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((3, 3, 3), (3, 3, 3)),
        convolutions_per_stage_encoder=(2, 2),
        convolutions_per_stage_decoder=(2,),
        deep_supervision=True,
    )


def _configuration(spacing_mm: float) -> dict[str, object]:
    """The format of nnU-Net 2.0 to 2.3, in which TotalSegmentator's weights come."""
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "patch_size": list(PATCH),
        "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [2, 2],
        "n_conv_per_stage_decoder": [2],
        "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {
            "is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None
        },
        "resampling_fn_probabilities_kwargs": {
            "is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None
        },
    }  # fmt: skip
