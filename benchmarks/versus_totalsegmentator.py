"""Time and peak memory of TotalSegmentator's own pipeline and of FLARESeg, from file to file.

    python benchmarks/versus_totalsegmentator.py SCAN.nii.gz [--size 3mm|1.5mm] [--threads 1]
        [--rounds 1] [--sides totalsegmentator float32 bf16 default]

- totalsegmentator: its package as it is, with `fast=True` (one network of 3 mm for all 118 classes)
  or its prediction with one of its five networks of 1.5 mm (25 classes); labels into one file;
- float32, bf16: FLARESeg with the same network and weights, the same tiles and the same step (.8);
- default: FLARESeg's own model without lesions, what a person would run instead; no equal work.

How it is made fair. The networks have six levels of 32 to 320 channels and tiles of 128^3 voxels at
1.5 mm, 112 x 112 x 128 at 3 mm, which is what TotalSegmentator is known to have (its files were not
looked at); weights are drawn at random: nothing is downloaded, and the time does not depend on what
they know. They name something in most voxels (3 mm: in 87 %, any of 108 classes), more than in a
scan: FLARESeg interpolates nearly each voxel, TotalSegmentator compresses noise. Neither side
mirrors tiles or crops to a region. Each run is a process of its own, sides take turns, and
everything counts that a person waits for: start, imports, reading, writing. CPU seconds and memory
are those of the whole process tree, as TotalSegmentator has worker processes; memory that processes
share is counted once. It sends no usage statistics here. One thing is not equal, in its favour: it
takes the best class at the network's voxel size and enlarges that by nearest neighbours, where
FLARESeg interpolates scores onto the scan's own grid. On a busy machine take --threads 1 and read
CPU seconds.

Needs TotalSegmentator and nnunetv2 (`pip install TotalSegmentator`, or with `--no-deps` and what an
import then asks for).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

STEP = 0.8
"""Tile step of TotalSegmentator's task ``total``."""

SIZES: dict[str, dict[str, Any]] = {
    "3mm": {
        "features": [32, 64, 128, 256, 320, 320], "patch": [112, 112, 128],
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 4, [1, 1, 2]], "spacing": [3.0] * 3, "classes": 118,
        "id": 297, "folder": "Dataset297_TotalSegmentator_total_3mm_1559subj",
        "trainer": "nnUNetTrainer_4000epochs_NoMirroring",
    },
    "1.5mm": {
        "features": [32, 64, 128, 256, 320, 320], "patch": [128, 128, 128],
        "spacing": [1.5] * 3, "classes": 25,
        "id": 291, "folder": "Dataset291_TotalSegmentator_part1_organs_1559subj",
        "trainer": "nnUNetTrainerNoMirroring",
    },
}  # fmt: skip

MODEL = "same"
"""Name of the network in our form."""

SIDES = ("totalsegmentator", "float32", "bf16", "default")

SAMPLE_S = 0.1
"""Time between two looks at the memory."""

Run = dict[str, float]


def main() -> None:
    """Run the sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--size", choices=SIZES, default="3mm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=(*SIDES, "make"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        work = {"make": _make, "totalsegmentator": _totalsegmentator, "default": _default}
        work.get(arguments.side, _ours)(arguments)
        return
    runs: dict[str, list[Run]] = {side: [] for side in arguments.sides}
    with tempfile.TemporaryDirectory() as name:
        _run(Path(name), "make", arguments)
        for _ in range(arguments.rounds):
            for side, done in runs.items():
                done.append(_run(Path(name), side, arguments))
                print(f"  {side}: {done[-1]}", flush=True)
        _print(runs)


def _run(folder: Path, side: str, arguments: argparse.Namespace) -> Run:
    """Run one side in a process of its own; return wall clock, CPU s and peak GiB of its tree."""
    from flare_core.evaluate.efficiency.probe import open_tree

    command = [sys.executable, __file__, str(arguments.scan), "--side", side, "--size",
               arguments.size, "--threads", str(arguments.threads),
               "--folder", str(folder)]  # fmt: skip
    here = {"TOTALSEG_HOME_DIR": str(folder), "TOTALSEG_WEIGHTS_PATH": str(folder / "weights"),
            "OMP_NUM_THREADS": str(arguments.threads)}  # fmt: skip
    tree, seen_mib, peak, log = open_tree(), 0.0, 0, folder / f"{side}.log"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env={**os.environ, **here}, stdout=stream, stderr=subprocess.STDOUT
        )
        ended: list[Any] = []
        waiter = threading.Thread(target=lambda: ended.extend(os.wait4(process.pid, 0)))
        waiter.start()
        while waiter.is_alive():
            if tree is not None and (now_mib := tree.ram_mib()) > seen_mib:
                seen_mib = now_mib
                peak = max(peak, sum(map(_own_kib, tree.members())))  # takes the system a while
            waiter.join(SAMPLE_S)
    wall = time.perf_counter() - start
    _, status, usage = ended
    if status:
        sys.exit(f"{side} failed:\n{log.read_text()[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_gib": round(peak / 2**20, 2)}


def _own_kib(pid: int) -> int:
    """Return a process's resident memory, of what it shares only its part, KiB; 0 if it is gone."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _make(arguments: argparse.Namespace) -> None:
    """Write the model where TotalSegmentator looks for it, our form of it, and its settings."""
    from versus_nnunet import make_model

    from flare_core.home import open_home
    from flare_core.models.nnunet.convert import About, import_nnunet

    size = SIZES[arguments.size]
    config = {"totalseg_id": "none", "send_usage_stats": False, "prediction_counter": 0,
              "statistics_disclaimer_shown": True}  # fmt: skip
    (arguments.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    name = f"{size['trainer']}__nnUNetPlans__3d_fullres"
    model = arguments.folder / "weights" / size["folder"] / name
    make_model(model, size)  # its class of trainer is nnU-Net's own: found at once, and no slower
    import_nnunet(
        model, home=open_home(arguments.folder / "home"), name=MODEL, about=About(orientation="SAR")
    )


def _totalsegmentator(arguments: argparse.Namespace) -> None:
    """Label the scan as TotalSegmentator does."""
    import multiprocessing

    multiprocessing.cpu_count = lambda: arguments.threads  # so many threads it takes
    out, size = arguments.folder / "totalsegmentator.nii.gz", SIZES[arguments.size]
    if arguments.size == "3mm":
        from totalsegmentator.python_api import totalsegmentator

        totalsegmentator(arguments.scan, out, ml=True, fast=True, device="cpu", quiet=True)
        return
    from totalsegmentator.config import setup_nnunet, setup_totalseg

    setup_nnunet()
    setup_totalseg()
    from totalsegmentator.nnunet import nnUNet_predict_image  # after its environment

    nnUNet_predict_image(
        arguments.scan, out, size["id"], folds=None, trainer=size["trainer"], tta=False,
        resample=size["spacing"][0], task_name="total", device="cpu", quiet=True,
    )  # fmt: skip


def _ours(arguments: argparse.Namespace) -> None:
    """Label the scan by our engine with the same network."""
    import numpy as np
    import torch

    from flare_core import read_volume
    from flare_core.home import open_home
    from flare_core.imaging.files import write_labels
    from flare_core.imaging.geometry import Box
    from flare_core.models.package import load_package
    from flare_core.segment.runtime import Runtime
    from flare_core.segment.stage import load_stage, run_stage

    torch.set_num_threads(arguments.threads)
    package = load_package(MODEL, home=open_home(arguments.folder / "home"))
    stage = load_stage(package, "organs", Runtime("cpu", arguments.side, arguments.threads))
    if stage is None:
        sys.exit("no stage called organs")
    scan = read_volume(arguments.scan)
    image, axes = scan.canonical()
    whole = Box.of_shape(image.geometry.shape)
    found = run_stage(stage, image, whole, tile_step=STEP).labels_on(image.geometry)
    labels = scan.with_array(np.ascontiguousarray(axes.undo(found.array)))
    write_labels(arguments.folder / f"{arguments.side}.nii.gz", labels, like=arguments.scan)


def _default(arguments: argparse.Namespace) -> None:
    """Label the scan with our own model."""
    from flare_core import ORGANS
    from flare_core.cli import main as flare

    out, organs = arguments.folder / "default", ",".join(each.key for each in ORGANS)
    sys.exit(flare(["segment", str(arguments.scan), "-o", str(out), "--threads",
                    str(arguments.threads), "--organs", organs, "--outputs", "labels",
                    "--overwrite", "--progress", "none"]))  # fmt: skip


def _print(runs: dict[str, list[Run]]) -> None:
    theirs = _median(runs.get("totalsegmentator", []))
    print(f"{'':18}{'wall s':>9}{'CPU s':>9}{'peak GiB':>10}   less time, CPU and memory")
    for side, each in runs.items():
        found = _median(each)
        line = f"{side:18}{found['wall_s']:9.1f}{found['cpu_s']:9.1f}{found['peak_gib']:10.2f}  "
        print(line + " ".join(f"{theirs[name] / found[name]:6.1f}x" for name in theirs))


def _median(runs: list[Run]) -> Run:
    return {name: statistics.median(run[name] for run in runs) for name in (runs or [{}])[0]}


if __name__ == "__main__":
    main()
