"""Real nnU-Net models, made by nnunetv2 itself, and its own predictions.

Run as a program (`python -m tiny_nnunet train|predict|fresh ...`), because nnU-Net reads its
folders from the environment; `train`, `predict` and `fresh` below call it that way.

Trained ones take minutes, as nnU-Net plans, preprocesses, trains on phantoms and saves. Untrained
ones (`fresh`) take seconds, and are the harder to agree with: no class leads by much anywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np

NAME = "Dataset007_Phantom"
SOURCES = {"liver": (1,), "spleen": (3,), "kidney_right": (2,), "kidney_left": (13,),
           "stomach": (11,), "great_vessels": (5, 6)}  # fmt: skip
"""Labels of the training set, 1 to 6, from our organ ids; the last is no organ of ours."""

CASES = 4

ADAM_RATE = 3e-3
"""Learning rate at the beginning."""

INTENSITIES = {"mean": 90.0, "std": 60.0, "percentile_00_5": -60.0, "percentile_99_5": 250.0}
"""Of the foreground, for a network that was not trained."""


@dataclass(frozen=True)
class Variant:
    """What to train."""

    architecture: str = "PlainConvUNet"
    """Class of the network."""
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    """Voxel size along the network's axes, mm."""
    patch: tuple[int, int, int] = (32, 32, 48)
    """Tile."""
    strides: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2))
    """Of each stage."""
    kernels: tuple[tuple[int, int, int], ...] = ((3, 3, 3),) * 3
    """Of each stage."""
    transpose: tuple[int, int, int] = (0, 1, 2)
    """nnU-Net's transpose_forward."""
    regions: bool = False
    """Kidneys as one region with their lower label painted over."""
    old_plans: bool = False
    """Plans as nnU-Net wrote them up to 2.3."""
    folds: int = 1
    """Networks, each trained with another seed."""


FLAT = {
    "spacing": (8.0, 2.4, 2.4),
    "patch": (16, 64, 80),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
}
VARIANTS = {
    "plain": Variant(folds=2),
    "residual": Variant("ResidualEncoderUNet"),
    "plain_flat": Variant(**FLAT),
    "flat": Variant("ResidualEncoderUNet", **FLAT),
    "turned": Variant(
        "ResidualEncoderUNet",
        spacing=(2.4, 8.0, 2.4),  # the image's x, z, y
        patch=(80, 16, 64),
        strides=((1, 1, 1), (2, 1, 2), (2, 2, 2)),
        kernels=((3, 1, 3), (3, 3, 3), (3, 3, 3)),
        transpose=(2, 0, 1),  # there and back differ
    ),
    "transposed": Variant(
        spacing=(3.5, 5.0, 4.0),
        patch=(48, 24, 32),
        transpose=(1, 0, 2),
        regions=True,
        old_plans=True,
    ),
}


def train(folder: Path, variant: str, *, epochs: int = 8, iterations: int = 100) -> Path:
    """Train a variant below `folder`; return the model's folder."""
    _call(folder, "train", variant, str(epochs), str(iterations))
    return next((folder / "results" / NAME).iterdir())


def predict(folder: Path, model: Path, image: Path, output: Path, *folds: str) -> dict[str, float]:
    """Let nnU-Net's own predictor write the labels (.npy, in the file's axes) of one image.

    Returns
    -------
    dict of str to float
        ``wall_s`` and ``cpu_s`` from voxels to labels, the network loaded.
    """
    told = _call(folder, "predict", str(model), str(image), str(output), *folds)
    seconds: dict[str, float] = json.loads(told.splitlines()[-1])
    return seconds


def fresh(folder: Path, image: Path) -> None:
    """Make an untrained model of every variant (`folder`/variant) and nnU-Net's labels of `image`
    (`folder`/variant.npy)."""
    _call(folder, "fresh", str(folder), str(image))


def _call(folder: Path, *arguments: str) -> str:
    places = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    quiet = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tiny_nnunet", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, **places, **quiet, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    return done.stdout


def main(arguments: list[str]) -> None:
    """Run one of the three programs."""
    if arguments[0] == "train":
        _train(VARIANTS[arguments[1]], int(arguments[2]), int(arguments[3]))
    elif arguments[0] == "fresh":
        _fresh(Path(arguments[1]), Path(arguments[2]))
    else:
        model, image, output, *folds = arguments[1:]
        labels, seconds = _predicted(Path(model), Path(image), folds or ["0"])
        np.save(output, labels)
        print(json.dumps(seconds))


def _fresh(folder: Path, image: Path) -> None:
    """Let nnU-Net make a network of every variant, save it untrained, and predict an image."""
    from nnunetv2.paths import nnUNet_preprocessed

    prepared = Path(str(nnUNet_preprocessed)) / NAME / "nnUNetPlans_3d_fullres"
    prepared.mkdir(parents=True)
    (prepared / "none.b2nd").touch()  # tells nnU-Net how its training data would be stored
    for name, variant in VARIANTS.items():
        dataset = {"channel_names": {"0": "CT"}, "numTraining": CASES, "file_ending": ".nii.gz"}
        dataset["labels"], order = _labels(variant)
        if order:
            dataset["regions_class_order"] = order
        facts = {"foreground_intensity_properties_per_channel": {"0": INTENSITIES}}
        plans = {**_plans(variant, facts), "continue_training": False}
        for fold in range(variant.folds):
            trainer = _trainer(plans, dataset, fold)
            trainer.output_folder = str(folder / name / f"fold_{fold}")
            Path(trainer.output_folder).mkdir(parents=True)
            trainer.initialize()
            trainer.save_checkpoint(str(folder / name / f"fold_{fold}" / "checkpoint_final.pth"))
        for file, content in (("plans", _plans(variant, facts)), ("dataset", dataset)):
            (folder / name / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
        folds = [str(fold) for fold in range(variant.folds)]
        np.save(folder / f"{name}.npy", _predicted(folder / name, image, folds)[0])


def _train(variant: Variant, epochs: int, iterations: int) -> None:
    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json, save_json
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.nnUNetTrainer.variants.optimizer import nnUNetTrainerAdam

    torch.set_num_threads(1)
    raw, prepared = Path(str(nnUNet_raw)) / NAME, Path(str(nnUNet_preprocessed)) / NAME
    if not raw.exists():
        _write_cases(raw)
    dataset = load_json(str(raw / "dataset.json"))
    dataset["labels"], order = _labels(variant)
    if order:
        dataset["regions_class_order"] = order
    prepared.mkdir(parents=True, exist_ok=True)
    save_json(dataset, str(raw / "dataset.json"), sort_keys=False)
    save_json(dataset, str(prepared / "dataset.json"), sort_keys=False)
    fingerprint = extract_fingerprint_dataset(7, num_processes=1, verbose=False)
    plans = _plans(variant, fingerprint)
    save_json(plans, str(prepared / "nnUNetPlans.json"), sort_keys=False)
    DefaultPreprocessor(verbose=False).run(7, "3d_fullres", "nnUNetPlans", num_processes=1)
    for fold in range(variant.folds):
        trainer = _trainer(plans, dataset, fold)
        trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
        trainer.oversample_foreground_percent = 0.9
        # nnU-Net's own variant: its SGD finds the liver alone in so few steps
        adam = nnUNetTrainerAdam.nnUNetTrainerVanillaAdam.configure_optimizers
        trainer.configure_optimizers = MethodType(adam, trainer)
        trainer.initial_lr = ADAM_RATE
        trainer.num_val_iterations_per_epoch = 1
        trainer.do_split = lambda: ([f"case{i}" for i in range(CASES)],) * 2
        trainer.run_training()


def _trainer(plans: dict[str, Any], dataset: dict[str, Any], fold: int) -> Any:
    import torch
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation import nnUNetTrainerNoDA

    torch.manual_seed(fold)
    np.random.seed(fold)  # nnU-Net draws from it
    # nnU-Net looks for the trainer by name, and on its way imports what is not installed here
    nnUNetTrainerNoDA.nnUNetTrainerNoDA.__name__ = "nnUNetTrainer"
    copied = json.loads(json.dumps({**plans, "continue_training": False}))
    return nnUNetTrainerNoDA.nnUNetTrainerNoDA(
        copied, "3d_fullres", fold, dataset, device=torch.device("cpu")
    )


def _predicted(model: Path, image: Path, folds: list[str]) -> tuple[np.ndarray, dict[str, float]]:
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(1)
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(
        str(model), tuple(int(f) for f in folds), checkpoint_name="checkpoint_final.pth"
    )
    pixels, facts = SimpleITKIO().read_images([str(image)])
    wall, cpu = time.perf_counter(), time.process_time()
    labels = predictor.predict_single_npy_array(pixels, facts)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return labels, {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


def _write_cases(raw: Path) -> None:
    from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
    from flare_core.imaging.files import write_volume

    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for seed in range(CASES):
        case = make_phantom(PhantomSettings(seed=seed, spacing_mm=(5.0, 3.0, 3.0)))
        ids = np.zeros(256, np.uint8)
        for value, organs in enumerate(SOURCES.values(), 1):
            ids[list(organs)] = value
        labels = case.labels.with_array(ids[case.labels.array])
        write_volume(raw / "imagesTr" / f"case{seed}_0000.nii.gz", case.image)
        write_volume(raw / "labelsTr" / f"case{seed}.nii.gz", labels)
    dataset = {"channel_names": {"0": "CT"}, "labels": {}, "numTraining": CASES,
               "file_ending": ".nii.gz"}  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")


def _labels(variant: Variant) -> tuple[dict[str, Any], list[int]]:
    values: dict[str, Any] = {"background": 0}
    values |= {name: i for i, name in enumerate(SOURCES, 1)}
    if not variant.regions:
        return values, []
    # The right kidney is what is left of "both kidneys" when the left one is painted over it
    del values["kidney_right"], values["kidney_left"]
    values |= {"kidney_right": [3, 4], "kidney_left": 4}
    return values, [1, 2, 5, 6, 3, 4]


def _plans(variant: Variant, fingerprint: dict[str, Any]) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    chosen: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(variant.patch),
        "median_image_size_in_voxels": [64, 64, 64],
        "spacing": list(variant.spacing),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": False,
    }
    chosen |= _architecture(variant)
    order = list(variant.transpose)
    return {
        "dataset_name": NAME, "plans_name": "nnUNetPlans", "experiment_planner_used": "tests",
        "original_median_spacing_after_transp": [5.0, 3.0, 3.0],
        "original_median_shape_after_transp": [60, 100, 120],
        "image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager",
        "transpose_forward": order, "transpose_backward": [order.index(a) for a in range(3)],
        "configurations": {"3d_fullres": {"inherits_from": "3d_base"}, "3d_base": chosen},
        "foreground_intensity_properties_per_channel":
            fingerprint["foreground_intensity_properties_per_channel"],
    }  # fmt: skip


def _architecture(variant: Variant) -> dict[str, Any]:
    """Return how plans describe the network, the old way or the new."""
    depth = "n_conv_per_stage" if variant.architecture == "PlainConvUNet" else "n_blocks_per_stage"
    stages, strides = len(variant.strides), [list(s) for s in variant.strides]
    kernels = [list(k) for k in variant.kernels]
    if variant.old_plans:
        return {
            "UNet_class_name": variant.architecture, "UNet_base_num_features": 8,
            "unet_max_num_features": 24, "num_pool_per_axis": [2, 2, 2],
            "pool_op_kernel_sizes": strides, "conv_kernel_sizes": kernels,
            "n_conv_per_stage_encoder": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
        }  # fmt: skip
    described = {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + variant.architecture,
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": [8, 16, 24],
            "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": kernels,
            "strides": strides, depth: [1, 2, 2], "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None,
            "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    return {"architecture": described}


if __name__ == "__main__":
    main(sys.argv[1:])
