"""Time and peak memory of nnU-Net's own predictor and of FLARESeg on equal work.

    python benchmarks/versus_nnunet.py [SCAN.nii.gz] [--size small|large] [--threads 2]

Same network, same weights, same tiles (step .5), no mirroring, one scan, from voxels to labels on
the scan's grid. Weights are drawn at random: they cost the same as trained ones. `large` has the
shape of TotalSegmentator's 1.5 mm models. Each side runs alone in a process of its own; peak is its
resident memory, imports included. On a busy machine take --threads 1 and read the CPU seconds.

Needs nnunetv2 (`pip install nnunetv2`; without its torchvision: `pip install --no-deps`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "features": [16, 32, 64, 128], "patch": [64, 96, 96], "spacing": [2.5, 1.5, 1.5],
        "classes": 14,
    },
    "large": {
        "features": [32, 64, 128, 256, 320, 320], "patch": [128, 128, 128],
        "spacing": [1.5, 1.5, 1.5], "classes": 25,
    },
}  # fmt: skip
BACKGROUND = 1.5
"""Added to the background's logits."""
SIDES = ("nnunet", "float32", "bf16")
QUIET = {"nnUNet_raw": "", "nnUNet_preprocessed": "", "nnUNet_results": ""}


def main() -> None:
    """Run the sides one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=(*SIDES, "make"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        print(json.dumps(_side(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder), arguments)
        results = {side: _run(Path(folder), side, arguments) for side in arguments.sides}
        _print(results, Path(folder))


def _prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the model folder and the scan's voxels."""
    from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
    from flare_core.imaging.files import read_volume

    if arguments.scan is None:
        image = make_phantom(PhantomSettings(seed=1, spacing_mm=(2.5, 0.8, 0.8))).image
    else:
        image = read_volume(arguments.scan)
    image, _ = image.canonical()
    np.save(folder / "scan.npy", np.ascontiguousarray(image.array))
    (folder / "spacing.json").write_text(json.dumps(image.geometry.spacing_mm), encoding="utf-8")
    print(f"{arguments.size} network, {arguments.threads} threads, {image}", flush=True)
    _run(folder, "make", arguments)


def _run(folder: Path, side: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    command += ["--size", arguments.size, "--threads", str(arguments.threads)]
    threads = {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "nnUNet_def_n_proc")}
    done = subprocess.run(
        command, env={**os.environ, **QUIET, **threads}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {side}: {found}", flush=True)
    return found


def _side(arguments: argparse.Namespace) -> dict[str, float]:
    """Do one side's work in this process and measure it."""
    import torch

    torch.set_num_threads(arguments.threads)
    folder, size = arguments.folder, SIZES[arguments.size]
    if arguments.side == "make":
        make_model(folder / "model", size)
        return {}
    array = np.load(folder / "scan.npy")
    spacing = json.loads((folder / "spacing.json").read_text(encoding="utf-8"))
    ready = _nnunet if arguments.side == "nnunet" else _ours
    work = ready(folder, array, spacing, arguments)
    wall, cpu = time.perf_counter(), time.process_time()
    labels = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    np.save(folder / f"{arguments.side}.npy", labels.astype(np.uint8))
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_gib": round(peak, 3)}


Work = Callable[[], "np.ndarray[Any, np.dtype[Any]]"]


def _nnunet(
    folder: Path, array: np.ndarray, spacing: list[float], arguments: argparse.Namespace
) -> Work:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    del arguments
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder / "model"), (0,))
    pixels = array[None].astype(np.float32)  # as its reader gives them
    return lambda: predictor.predict_single_npy_array(pixels, {"spacing": spacing})


def _ours(
    folder: Path, array: np.ndarray, spacing: list[float], arguments: argparse.Namespace
) -> Work:
    from flare_core.home import open_home
    from flare_core.imaging.geometry import Box, Geometry
    from flare_core.imaging.volume import Volume
    from flare_core.models.nnunet.convert import import_nnunet
    from flare_core.segment.runtime import Runtime
    from flare_core.segment.stage import load_stage, run_stage

    package = import_nnunet(folder / "model", home=open_home(folder / f"home-{arguments.side}"))
    stage = load_stage(package, "organs", Runtime("cpu", arguments.side, arguments.threads))
    if stage is None:
        sys.exit("no stage called organs")
    z, y, x = spacing
    image = Volume(array, Geometry(array.shape, (z, y, x)))
    whole = Box.of_shape(image.geometry.shape)
    return lambda: run_stage(stage, image, whole).labels_on(image.geometry).array


def make_model(model: Path, size: dict[str, Any]) -> None:
    """Write a model folder of nnU-Net's with a network of its own."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    stages = len(size["features"])
    strides = size.get("strides") or [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": size["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": strides, "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None,
            "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    plans, dataset = _described(architecture, size)
    torch.manual_seed(0)
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"],
        architecture["_kw_requires_import"], 1, size["classes"], deep_supervision=True,
    )  # fmt: skip
    # As in a scan, most is background: where labels were noise, each voxel would be interpolated
    network.decoder.seg_layers[-1].bias.data[0] = BACKGROUND
    (model / "fold_0").mkdir(parents=True)
    for name, content in (("plans", plans), ("dataset", dataset)):
        (model / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    checkpoint = {
        "network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
    }  # fmt: skip
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")


def _described(
    architecture: dict[str, Any], size: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    chosen = {
        "data_identifier": "d", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": size["patch"], "spacing": size["spacing"], "batch_dice": False,
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": name, "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": name,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": name,
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": architecture,
    }  # fmt: skip
    facts = {"mean": 80.0, "std": 120.0, "percentile_00_5": -900.0, "percentile_99_5": 300.0}
    plans = {
        "dataset_name": "Dataset001_Speed", "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": chosen},
        "foreground_intensity_properties_per_channel": {"0": facts},
    }  # fmt: skip
    labels = {"background": 0, "liver": 1}
    labels |= {f"part{i}": i for i in range(2, size["classes"])}
    return plans, {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}


def _print(results: dict[str, dict[str, float]], folder: Path) -> None:
    theirs = results.get("nnunet")
    print(
        f"{'':10}{'wall s':>10}{'CPU s':>10}{'peak GiB':>10}{'faster':>9}{'smaller':>9}  liver same"
    )
    for side, found in results.items():
        line = f"{side:10}{found['wall_s']:10.1f}{found['cpu_s']:10.1f}{found['peak_gib']:10.2f}"
        if theirs is not None:
            line += f"{theirs['wall_s'] / found['wall_s']:8.1f}x"
            line += f"{theirs['peak_gib'] / found['peak_gib']:8.1f}x"
            same = np.load(folder / f"{side}.npy") == 1
            line += f"  {np.mean(same == (np.load(folder / 'nnunet.npy') == 1)):.5f}"
        print(line)


if __name__ == "__main__":
    main()
