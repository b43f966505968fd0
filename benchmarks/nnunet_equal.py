"""The same labels as nnU-Net v2's own predictor gives, on real CT, from networks it trained.

    python benchmarks/nnunet_equal.py [SCAN.nii.gz ...] [--folder build/nnunet_equal]
        [--variants plain flat ...] [--epochs 8] [--iterations 100] [--train-only]

For each variant of `tiny_nnunet.VARIANTS` (plain and residual encoders, cubes and flat voxels with
slices resampled apart, turned axes, regions, old plans, two folds) nnunetv2 trains a small network
on phantoms, its predictor labels the scans, our engine labels them with the imported model, and a
table says in how many voxels both agree, the DSC of each organ, and the CPU seconds of both (from
voxels to labels, one thread, float32). Trained networks and nnU-Net's labels stay in the folder: a
second call only runs our side. The exit status is 1 if a variant misses 99.9 % of the voxels or a
DSC of .999.

Without scans it takes those of shared/data beside the repository, and says so if there are none.
Needs nnunetv2 (`pip install nnunetv2`; without its torchvision: `pip install --no-deps`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing")]  # the trainer is one of the tests'

import nnunet_agreement  # noqa: E402
import tiny_nnunet  # noqa: E402
from flare_core.home import open_home  # noqa: E402
from flare_core.imaging.files import read_volume  # noqa: E402
from flare_core.models.nnunet.convert import import_nnunet  # noqa: E402

SCANS = [REPOSITORY.parent / f"shared/data/ct/{name}.nii.gz" for name in ("hcc015b", "hcc009thick")]
"""2.5 mm slices; 10 mm slices, which nnU-Net resamples apart for every network."""

LINE = "{:12}{:14}{:>9}{:>11}{:>11}{:>9}{:>10}{:>9}  {}"


def main() -> int:
    """Train what is not trained, compare, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "nnunet_equal")
    parser.add_argument("--variants", nargs="+", choices=tiny_nnunet.VARIANTS)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    variants = arguments.variants or list(tiny_nnunet.VARIANTS)
    models = {variant: trained(arguments, variant) for variant in variants}
    scans = arguments.scans or [scan for scan in SCANS if scan.is_file()]
    if arguments.train_only or not scans:
        print("trained only" if arguments.train_only else f"no CT at {SCANS[0].parent}: skipped")
        return 0
    print(LINE.format("variant", "scan", "organs %", "different", "equal %", "least", "nnU-Net",
                      "ours", "DSC of each organ"))  # fmt: skip
    print(LINE.format("", "", "of scan", "voxels", "", "DSC", "CPU s", "CPU s", ""))
    held = [
        compared(arguments.folder / variant, variant, model, scan)
        for variant, model in models.items()
        for scan in scans
    ]
    print(f"{sum(held)} of {len(held)} agree in {nnunet_agreement.WANTED:.1%} of voxels and DSC")
    return 0 if all(held) else 1


def trained(arguments: argparse.Namespace, variant: str) -> Path:
    """Return the folder of a variant's model; nnunetv2 trains it now if it is not there."""
    folder = arguments.folder / variant
    results = folder / "results" / tiny_nnunet.NAME
    folds = tiny_nnunet.VARIANTS[variant].folds
    if len(list(results.glob("*/fold_*/checkpoint_final.pth"))) == folds:
        return next(results.iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    for outdated in (*folder.glob("*.npy"), *folder.glob("*.json")):
        outdated.unlink()  # labels of a network that is made anew
    start = time.perf_counter()
    model = tiny_nnunet.train(
        folder, variant, epochs=arguments.epochs, iterations=arguments.iterations
    )
    print(f"{variant}: {folds} trained in {time.perf_counter() - start:.0f} s", flush=True)
    return model


def compared(folder: Path, variant: str, model: Path, scan: Path) -> bool:
    """Label a scan both ways and print a line; return whether the labels are the same."""
    image = read_volume(scan)
    found, their_seconds = predicted(folder, variant, model, scan)
    with tempfile.TemporaryDirectory() as home:
        package = import_nnunet(model, home=open_home(home))
        stage = nnunet_agreement.loaded(package)
        start = time.process_time()
        mine = nnunet_agreement.our_labels(stage, image)
        seconds = time.process_time() - start
    result = nnunet_agreement.agreement(mine, nnunet_agreement.their_labels(package, found))
    organs = " ".join(f"{key} {dsc:.5f}" for key, dsc in result.dsc.items())
    differing = round((1 - result.equal) * mine.size)
    print(LINE.format(
        variant, scan.name.partition(".")[0], f"{100 * result.labelled:.1f}", differing,
        f"{100 * result.equal:.4f}", f"{min(result.dsc.values(), default=0.0):.5f}",
        f"{their_seconds:.1f}", f"{seconds:.1f}", organs,
    ), flush=True)  # fmt: skip
    return result.holds


def predicted(folder: Path, variant: str, model: Path, scan: Path) -> tuple[np.ndarray, float]:
    """Return nnU-Net's labels of a scan and the CPU seconds they took; made once and kept."""
    output = folder / f"{scan.name.partition('.')[0]}.npy"
    told = output.with_suffix(".json")
    if not told.is_file():
        folds = [str(fold) for fold in range(tiny_nnunet.VARIANTS[variant].folds)]
        seconds = tiny_nnunet.predict(folder, model, scan, output, *folds)
        told.write_text(json.dumps(seconds), encoding="utf-8")
    return np.load(output), json.loads(told.read_text(encoding="utf-8"))["cpu_s"]


if __name__ == "__main__":
    sys.exit(main())
