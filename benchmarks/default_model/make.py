"""How the default model was made: configurations, two-fold check across patients, package.

    python benchmarks/default_model/make.py configs RUNS    the JSON files beside this one
    flare train benchmarks/default_model/NAME.json -o RUNS/NAME --cache RUNS/cache
    python benchmarks/default_model/make.py score RUNS      two-fold table, RUNS/two_fold.json
    python benchmarks/default_model/make.py package RUNS    flare_core/resources/default_model

NAME is, in order: organs-fold-a, organs-fold-b, localiser-fold-a, localiser-fold-b, the two
organs-fold-*-balanced, -last and -phantoms, localiser,
localiser-windows, organs, organs-continued, organs-calibrated.

The scans are those of ../shared/data (its README names collections and licences); they are not in
the repository. Labels there are pseudo labels of another network.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import Settings, atomic, read_volume, segment_ct
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.augment import Augmentation
from flare_core.datasets.case import Case, cases_of_folder
from flare_core.datasets.split import patient_folds
from flare_core.evaluate.metrics.dsc import dice
from flare_core.store.models import ModelCard, TrainingSource
from flare_core.store.package import read_weights, write_package
from flare_core.store.stage_card import NetworkSpec, Normalisation, StageCard
from flare_core.train.config import Phase, TrainConfig, config_text
from flare_core.train.loop import WEIGHTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = ROOT.parent / "shared" / "data"
RESOURCES = ROOT / "flare_core" / "resources" / "default_model"

NORMALISATION = Normalisation("window", -200, 300, 50, 125)
CUBE = (3, 3, 3)
ORGAN_NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=14,
    features_per_stage=(32, 64, 96, 128, 160),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)),
    kernel_sizes=(CUBE,) * 5,
    convolutions_per_stage_encoder=(2,) * 5,
    convolutions_per_stage_decoder=(1,) * 4,
    space_to_depth=(1, 2, 2),
    deep_supervision=True,
)
LOCALISER_NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=14,
    features_per_stage=(16, 32, 64, 96),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=(CUBE,) * 4,
    convolutions_per_stage_encoder=(2,) * 4,
    convolutions_per_stage_decoder=(1,) * 3,
    deep_supervision=True,
)
NETWORKS = {"organs": ORGAN_NETWORK, "localiser": LOCALISER_NETWORK}
COARSE = Phase((5, 3.2, 3.2), (32, 96, 96), 20000, learning_rate=2e-3)
FINE = Phase((3, 1.9, 1.9), (48, 128, 160), 20000, learning_rate=1.2e-3)
WHOLE = Phase((6, 6, 6), (48, 64, 64), 20000, learning_rate=2e-3)
SPLIT_SEED = 1
"""Deals the non-contrast scans and the partial one over both halves; chosen before training."""
FINAL = ("-continued", "-calibrated")
"""Later runs of the default organ model, the last one counts."""
LEAST_ML = 1.0
"""A label smaller than this in a scan is left out of the mean."""
FLOOR_AND_AIM = {
    "liver": (0.92, 0.96), "spleen": (0.87, 0.94), "right_kidney": (0.87, 0.94),
    "left_kidney": (0.87, 0.94), "aorta": (0.80, 0.92), "inferior_vena_cava": (0.65, 0.88),
    "stomach": (0.65, 0.88), "gallbladder": (0.45, 0.75), "pancreas": (0.45, 0.75),
    "esophagus": (0.50, 0.80), "duodenum": (0.35, 0.65), "right_adrenal_gland": (0.30, 0.70),
    "left_adrenal_gland": (0.30, 0.70),
}  # fmt: skip

PSEUDO = "labels: pseudo labels of a public 0.36 M-parameter FLARE25 entry (Apache-2.0)"
TCIA = "https://www.cancerimagingarchive.net/collection/"
SOURCES = (
    (
        "TCIA HCC-TACE-Seg", 16, "CC BY 4.0",
        "Moawad et al. 2021, doi 10.7937/TCIA.5FNA-0924", TCIA + "hcc-tace-seg/", PSEUDO,
    ),
    (
        "TCIA ACRIN-FLT-Breast", 1, "CC BY", "ACRIN-FLT-Breast, The Cancer Imaging Archive",
        TCIA + "acrin-flt-breast/", PSEUDO,
    ),
    (
        "TCIA ACRIN-NSCLC-FDG-PET", 1, "CC BY", "doi 10.7937/tcia.2019.30ilqfcl",
        TCIA + "acrin-nsclc-fdg-pet/", PSEUDO,
    ),
    (
        "TCIA CPTAC-PDA", 1, "CC BY 3.0", "CPTAC-PDA, The Cancer Imaging Archive",
        TCIA + "cptac-pda/", PSEUDO,
    ),
    (
        "TCIA LIDC-IDRI", 1, "CC BY 3.0", "Armato et al. 2015, LIDC-IDRI",
        TCIA + "lidc-idri/", PSEUDO,
    ),
    (
        "TotalSegmentator test example", 1, "Apache-2.0 repository",
        "Wasserthal et al. 2023, Radiology: Artificial Intelligence",
        "https://github.com/wasserth/TotalSegmentator", "labels: TotalSegmentator v1",
    ),
    (
        "FLARESeg phantoms", 16, "Apache-2.0", "flare_core.datasets.phantom_cohort", "",
        "synthetic; known truth",
    ),
)  # fmt: skip


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    configs = steps.add_parser("configs", help="write the training configurations")
    configs.add_argument("runs", type=Path, help="folder of the runs")
    configs.add_argument("--minutes", type=float, default=50.0)
    configs.add_argument("--balanced-minutes", type=float, default=16.0)
    configs.add_argument("--last-minutes", type=float, default=10.0)
    configs.add_argument("--phantom-minutes", type=float, default=9.5)
    configs.add_argument("--final-minutes", type=float, default=12.0)
    configs.add_argument("--continued-minutes", type=float, default=115.0)
    configs.add_argument("--calibrated-minutes", type=float, default=22.0)
    configs.add_argument("--localiser-minutes", type=float, default=7.0)
    configs.add_argument("--phantoms", type=int, default=16)
    score = steps.add_parser("score", help="two-fold check: each half scored by the other's model")
    score.add_argument("runs", type=Path)
    package = steps.add_parser("package", help="write the default model")
    package.add_argument("runs", type=Path)
    package.add_argument("--version", default="0.2.0")
    arguments = parser.parse_args()
    {"configs": write_configs, "score": score_folds, "package": make_package}[arguments.step](
        arguments
    )


def fold_patients() -> dict[str, tuple[str, ...]]:
    """Return fold letter -> patients that are scored with it and never trained on."""
    first, second = patient_folds(cases_of_folder(DATA), 2, seed=SPLIT_SEED)
    return {"a": first, "b": second}


def write_configs(arguments: argparse.Namespace) -> None:
    """Write the configurations of the three steps, for organs and localiser.

    1. ``-fold-a``, ``-fold-b``: one half of the patients, from nothing, coarse voxels first.
    2. ``organs-fold-a-balanced``, ``-b-``: goes on with rare classes weighing more; ``-last`` once
       more, after remnants of organs no longer counted as places to centre a patch on;
       ``-phantoms`` with phantoms, whose gallbladders the few patients of a half lack.
    3. no tag: goes on from fold a with all scans and phantoms; ``-continued`` for longer still;
       ``-calibrated`` ends with rare classes weighing less, which were drawn too large: this is
       the default model.
    """
    runs = arguments.runs
    for letter, held_out in fold_patients().items():
        fold = f"-fold-{letter}"
        first = (
            replace(COARSE, minutes=0.3 * arguments.minutes),
            replace(FINE, minutes=0.7 * arguments.minutes),
        )
        _write("organs", fold, first, held_out_patients=held_out, class_balance=0.0)
        more = (replace(FINE, minutes=arguments.balanced_minutes, learning_rate=1e-3),)
        init = str(runs / f"organs{fold}" / WEIGHTS)
        _write("organs", fold + "-balanced", more, held_out_patients=held_out, init_from=init)
        init = str(runs / f"organs{fold}-balanced" / WEIGHTS)
        more = (replace(FINE, minutes=arguments.last_minutes, learning_rate=6e-4),)
        _write("organs", fold + "-last", more, held_out_patients=held_out, init_from=init)
        init = str(runs / f"organs{fold}-last" / WEIGHTS)
        more = (replace(FINE, minutes=arguments.phantom_minutes, learning_rate=1e-3),)
        phantoms = {"phantoms": arguments.phantoms, "phantom_weight": 0.5}
        _write(
            "organs",
            fold + "-phantoms",
            more,
            held_out_patients=held_out,
            init_from=init,
            **phantoms,
        )
        whole = (replace(WHOLE, minutes=arguments.localiser_minutes),)
        _write("localiser", fold, whole, held_out_patients=held_out, class_balance=0.0)
    _write_final(arguments)


def _write_final(arguments: argparse.Namespace) -> None:
    """Write the configurations of the default model itself, which go on from fold a."""
    runs = arguments.runs
    last = (replace(FINE, minutes=arguments.final_minutes, learning_rate=8e-4),)
    init = str(runs / "organs-fold-a-phantoms" / WEIGHTS)
    _write("organs", "", last, init_from=init, phantoms=arguments.phantoms)
    _write_longer(arguments)
    init = str(runs / "localiser-fold-a" / WEIGHTS)
    whole = (replace(WHOLE, minutes=arguments.localiser_minutes),)
    _write("localiser", "", whole, init_from=init, phantoms=arguments.phantoms, class_balance=0.0)
    init = str(runs / "localiser" / WEIGHTS)
    windows = (replace(WHOLE, minutes=5.5, learning_rate=1.5e-3),)
    _write(
        "localiser",
        "-windows",
        windows,
        init_from=init,
        phantoms=arguments.phantoms,
        phantom_weight=0.5,
        centred=0.5,
        class_balance=0.0,
        augmentation=Augmentation(window_probability=0.5),
    )


def _write_longer(arguments: argparse.Namespace) -> None:
    """Write the last two configurations of the organ model, each going on from the one before."""
    longer: tuple[tuple[str, str, float, float, dict[str, float]], ...] = (
        ("organs", "-continued", arguments.continued_minutes, 1e-3, {"ema_decay": 0.998}),
        (
            "organs-continued", "-calibrated", arguments.calibrated_minutes, 5e-4,
            {"class_balance": 0.2, "ema_decay": 0.99},
        ),
    )  # fmt: skip
    for before, tag, minutes, rate, fields in longer:
        _write(
            "organs",
            tag,
            (replace(FINE, minutes=minutes, learning_rate=rate),),
            init_from=str(arguments.runs / before / WEIGHTS),
            phantoms=arguments.phantoms,
            **fields,
        )


def _write(stage: str, tag: str, phases: tuple[Phase, ...], **fields: Any) -> None:
    """Write one configuration."""
    config = TrainConfig(
        stage + tag,
        stage,
        data=("../../../shared/data",),
        network=NETWORKS[stage],
        normalisation=NORMALISATION,
        phases=phases,
        validate_every=600 if stage == "organs" else 1500,
        **fields,
    )
    atomic.write_text(HERE / f"{stage}{tag}.json", config_text(config))


def stage_card(stage: str) -> StageCard:
    """Return the card of a stage as it is run."""
    labels = ("background", *(o.key for o in ORGANS))
    if stage == "localiser":
        return StageCard(
            "localiser",
            network=LOCALISER_NETWORK,
            weights="localiser.safetensors",
            spacing_mm=WHOLE.spacing_mm,
            patch=WHOLE.patch,
            normalisation=NORMALISATION,
            labels=labels,
            step=0.75,
            use="Finds the organs roughly on the whole scan and draws the box for the next stage.",
        )
    return StageCard(
        "organs",
        network=ORGAN_NETWORK,
        weights="organs.safetensors",
        spacing_mm=FINE.spacing_mm,
        patch=FINE.patch,
        normalisation=NORMALISATION,
        labels=labels,
        step=0.7,
        margin_mm=((25.0, 25.0), (20.0, 20.0), (20.0, 20.0)),
        use="Segments the 13 organs inside the box.",
    )


def build(folder: Path, runs: Path, tag: str, card: ModelCard) -> None:
    """Write a package from two runs' weights."""
    shutil.rmtree(folder, ignore_errors=True)
    names = {"localiser": f"localiser{tag or '-windows'}", "organs": f"organs{tag}"}
    for later in ("-balanced", "-last", "-phantoms") if tag else FINAL:
        if (runs / f"organs{tag}{later}" / WEIGHTS).exists():
            names["organs"] = f"organs{tag}{later}"
    weights = {stage: read_weights(runs / name / WEIGHTS) for stage, name in names.items()}
    write_package(folder, card, weights)


def score_folds(arguments: argparse.Namespace) -> None:
    """Score every scan with the model that has not seen its patient; print and keep the table."""
    cases = {case.name: case for case in cases_of_folder(DATA)}
    scores: dict[str, dict[str, float]] = {}
    for letter, patients in fold_patients().items():
        package = arguments.runs / f"package-fold-{letter}"
        build(package, arguments.runs, f"-fold-{letter}", model_card("0.0.1", {}))
        for case in cases.values():
            if case.patient in patients:
                scores[case.name] = _score(case, package)
                row = " ".join(f"{v:.2f}" for v in scores[case.name].values())
                print(f"{letter} {case.name:12s} {row}", flush=True)
    means = {
        o.key: float(np.mean([s[o.key] for s in scores.values() if o.key in s])) for o in ORGANS
    }
    for key, value in means.items():
        floor, aim = FLOOR_AND_AIM[key]
        verdict = "aim" if value >= aim else "floor" if value >= floor else "BELOW FLOOR"
        print(f"{key:22s} {value:.3f}   floor {floor:.2f}  aim {aim:.2f}   {verdict}")
    atomic.write_json(arguments.runs / "two_fold.json", {"mean": means, "cases": scores})


def _score(case: Case, package: Path) -> dict[str, float]:
    """Return organ key -> DSC of one scan, on its own grid."""
    assert case.labels is not None
    reference = read_volume(case.labels)
    found = segment_ct(case.image, Settings(model=str(package)))
    truth = reference.array.astype(np.uint8)
    sizes = np.bincount(truth.ravel(), minlength=256) * reference.geometry.voxel_ml
    ids = [o.id for o in ORGANS if sizes[o.id] >= LEAST_ML]
    values = dice(found.labels.array, truth, ids)  # type: ignore[arg-type]
    return {o.key: values[o.id] for o in ORGANS if o.id in values}


def make_package(arguments: argparse.Namespace) -> None:
    """Write the default model into the library."""
    table = json.loads((arguments.runs / "two_fold.json").read_text("utf-8"))
    metrics = {
        "two-fold mean DSC across patients, against the pseudo labels of the data": {
            key: round(value, 3) for key, value in table["mean"].items()
        },
        "command": "python benchmarks/default_model/make.py score RUNS",
        "note": "Models trained on half of the patients, with less training (version 0.1.0's "
        "recipe); the model here learned from all, and longer.",
    }
    build(RESOURCES, arguments.runs, "", model_card(arguments.version, metrics))
    size = sum(f.stat().st_size for f in RESOURCES.iterdir()) / 1e6
    print(f"{RESOURCES}: {size:.1f} MB")


def model_card(version: str, metrics: dict[str, object]) -> ModelCard:
    """Return the card of the default model."""
    return ModelCard(
        "flareseg-default",
        version,
        "13 abdominal organs on CT of any contrast phase; a cascade of two small U-Nets.",
        stages=(stage_card("localiser"), stage_card("organs")),
        licence="Apache-2.0",
        intended_use=(
            "For research use; not a medical device. Adult abdominal CT, 1 to 10 mm slices, with "
            "or without contrast, whole or partial abdomen."
        ),
        limitations=(
            "Learned from 12 patients and phantoms, most with liver cancer, and from another "
            "network's labels: it inherits that network's mistakes. Tumours inside organs are not "
            "marked and may be left out of the organ. Small organs (adrenal glands, gallbladder, "
            "duodenum) need a look. Children, pregnancy, transplants and situs inversus are "
            "untested."
        ),
        training_data=tuple(TrainingSource(*row) for row in SOURCES),
        metrics=metrics,
        provenance={"made by": "flare train with benchmarks/default_model/*.json, see make.py"},
    )


if __name__ == "__main__":
    main()
