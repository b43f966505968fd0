"""How the default model is made: start, configurations, training, package, scores.

    python benchmarks/default_model/teacher.py RUNS/teacher.safetensors   the organ stage's start
    python benchmarks/default_model/lesion_teacher.py WHEEL RUNS/lesions.safetensors
    python benchmarks/default_model/make.py configs RUNS     the JSON files beside this one
    flare train benchmarks/default_model/localiser.json -o RUNS/localiser --cache RUNS/cache
    flare train benchmarks/default_model/localiser-windows.json -o RUNS/localiser-windows ...
    flare train benchmarks/default_model/organs.json -o RUNS/organs --cache RUNS/cache
    python benchmarks/default_model/make.py package RUNS     flare_core/resources/default_model
    python benchmarks/default_model/froc.py [MODEL]          lesions found and invented
    python benchmarks/default_model/looks.py [MODEL]         the second look, in part and whole
    python benchmarks/default_model/score.py [MODEL]         tables by organ, patient, thickness
    python benchmarks/default_model/hard.py [MODEL ...]      the same on scans made hard

`package` takes the weights of RUNS/organs where they are, else RUNS/teacher.safetensors. With
``--keep localiser`` or ``--keep localiser lesions`` these stages of the model in the repository
stay as they are.

The scans are those of ../shared/data (its README names collections and licences); they are not in
the repository. Labels there are pseudo labels of another network.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lesion_teacher import MASK
from lesion_teacher import NETWORK as LESION_NETWORK
from lesion_teacher import NORMALISATION as LIVER_WINDOW
from lesion_teacher import ORIENTATION as LESION_ORIENTATION
from lesion_teacher import PATCH as LIVER_PATCH
from lesion_teacher import SPACING_MM as LESION_SPACING_MM
from teacher import NETWORK, NORMALISATION, PATCH, SPACING_MM
from torch import Tensor

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.augment.patch import Augmentation
from flare_core.models.card import ModelCard, TrainingSource
from flare_core.models.package import load_package, read_weights, write_package
from flare_core.models.stage_card import (
    ContrastLook,
    NetworkSpec,
    Normalisation,
    SecondLook,
    StageCard,
)
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.config_file import config_text
from flare_core.train.loop import WEIGHTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESOURCES = ROOT / "flare_core" / "resources" / "default_model"

CUBE = (3, 3, 3)
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
ABDOMEN = Normalisation("window", -200, 300, 50, 125)
WHOLE = Phase((6, 6, 6), (48, 64, 64), 20000, learning_rate=2e-3)
FINE = Phase(SPACING_MM, PATCH, 4000, learning_rate=3e-4)
RARE = Augmentation(
    rotation_degrees=(8.0, 5.0, 5.0), zoom=0.12, bend_mm=4.0, organ_probability=0.5,
    thick_probability=0.4, window_probability=0.15, ascites_probability=0.1,
    filled_probability=0.2, excretion_probability=0.15, removed_probability=0.1,
)  # fmt: skip
"""Mild shapes, strong appearances: the start knows the anatomy, not what few scans show."""

HELD_OUT = ("hcc011", "hcc015", "acrin042", "lidc0001", "ctc0518")
"""Patients that the organ stage never saw: hard.py measures on them."""
TRAINED_SHARE = 0.6
"""How far the organ stage's weights go from the start to what training made of them (as Wortsman et
al. 2022): half of the way kept the start's agreement on scans as they are, all of it lost .007 on
the first of hard.py's scans and gained the most on those made hard. Chosen there, by hard.py."""

THRESHOLD, PEAK, LEAST_ML = 0.5, 0.95, 0.5
"""Probabilities at the edge and somewhere in a lesion that is reported, and its size: chosen on the
29 scans of ../shared/data, run as anybody runs them, and by froc.py. A ball of 10 mm has .5 mL: of
synthetic lesions from there on .51 are found with it, .43 with 1 mL."""
SECOND_LOOK = SecondLook(peak=0.9, least_rise_hu=10.0, most_beyond=0.25)
"""For bright lesions, chosen on the same scans: of what is marked by the second look there, vessels
have far more beyond them, and the lesions .09 and less (docs/models.md)."""
CONTRAST_LOOK = ContrastLook(
    median_hu=110.0, least_hu=30.0, below_hu=95.0, most=2.0, peak=0.96, least_ml=20.0
)
"""For large lesions without contrast, chosen on the same scans (docs/models.md): with 5 mL one more
synthetic lesion is found, and two more findings in scans without lesions are vessels."""
GROWTH_MM = 8.0
"""How far lesions grow to half of their contrast: mean DSC of froc.py's scans .38 without, .42 with
8, 12 or 20 mm; small ones lose with more than 8."""
LESION_METRICS: dict[str, Any] = {
    "synthetic lesions of the liver found (froc.py, 108 in 24 scans)": {
        "< 10 mm": 0.07, "10-20 mm": 0.68, "20-50 mm": 0.71, "> 50 mm": 0.88,
        ">= 10 mm, darker": 0.85, ">= 10 mm, brighter": 0.61, ">= 10 mm, alike": 0.38,
    },
    "false findings a scan with synthetic lesions (froc.py)": 0.38,
    "false findings a scan as it is (froc.py, 6 scans)": 0.5,
    "DSC of the scans with lesions, mean": 0.49,
    "false findings on 9 scans without known tumours of the liver": 3,
    "of these in pleural fluid called liver": 1,
    "DSC with pyliverlesionseg as published, hcc005b": 0.66,
    "note": "its settings were chosen on these same scans; no expert's labels; float32",
}  # fmt: skip
ORGAN_LIMITS = (
    "Adrenal glands, duodenum, pancreas and vena cava need a look. Children, pregnancy, "
    "transplants and situs inversus are untested. The labels it is compared with come from the "
    "network it starts from, so agreement with them is no measure of accuracy."
)
LESION_LIMITS = (
    "Lesions are suggestions for a second look, no finding. Of the liver alone: tumours of other "
    "organs are not marked and may be left out of their organ. A third of the synthetic tumours of "
    "10 mm and more are missed, bright ones at vessels among them, and parts of large ones; marked "
    "at times are dark vessels without contrast, fissures, streaks, and edges blurred by the heart."
    " It was not compared with an expert's labels here."
)
LESION_ORIGIN = (
    "The lesion stage has the weights of pyliverlesionseg 0.3 (PyPI; X. Tang and G. Schramm, KU "
    "Leuven; Apache-2.0), of a U-Net of DeepVoxNet (Robben et al. 2018, KUL/ESAT/PSI/1801), run on "
    "the liver as a whole and not in tiles (lesion_teacher.py); not trained further. What it was "
    "trained on is not published with it."
)

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
        "pyliverlesionseg 0.3 (lesion stage)", 0, "Apache-2.0 (weights)",
        "Tang et al. 2020, Eur J Nucl Med Mol Imaging 47, doi 10.1007/s00259-020-04800-3; "
        "Robben et al. 2018, DeepVoxNet, KUL/ESAT/PSI/1801",
        "https://github.com/KUL-recon-lab/pyliverlesionseg", "CT and MR; cases are not published",
    ),
    (
        "FLARESeg phantoms", 16, "Apache-2.0", "flare_core.datasets.phantom.cohort", "",
        "synthetic; known truth",
    ),
)  # fmt: skip


STAGES = ("localiser", "organs", "lesions")


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    configs = steps.add_parser("configs", help="write the training configurations")
    configs.add_argument("runs", type=Path, help="folder of the runs")
    configs.add_argument("--minutes", type=float, default=46.0, help="of the organ stage")
    configs.add_argument("--localiser-minutes", type=float, default=7.0)
    package = steps.add_parser("package", help="write the default model")
    package.add_argument("runs", type=Path)
    package.add_argument("--version", default="0.5.2")
    package.add_argument("--out", type=Path, default=RESOURCES)
    package.add_argument("--keep", nargs="*", default=(), choices=STAGES)
    arguments = parser.parse_args()
    {"configs": write_configs, "package": make_package}[arguments.step](arguments)


def write_configs(arguments: argparse.Namespace) -> None:
    """Write the configurations beside this file."""
    runs = Path(os.path.relpath(arguments.runs.resolve(), HERE))  # as configurations read paths
    window = Augmentation(window_probability=0.5)
    whole = replace(WHOLE, minutes=arguments.localiser_minutes)
    _write("localiser", "localiser", LOCALISER_NETWORK, ABDOMEN, (whole,))
    _write(
        "localiser-windows", "localiser", LOCALISER_NETWORK, ABDOMEN,
        (replace(whole, learning_rate=1e-3),),
        init_from=str(runs / "localiser" / WEIGHTS), augmentation=window,
    )  # fmt: skip
    _write(
        "organs", "organs", NETWORK, NORMALISATION, (replace(FINE, minutes=arguments.minutes),),
        init_from=str(runs / "teacher.safetensors"), augmentation=RARE, class_balance=0.2,
        ema_decay=0.98, warm_up_steps=20, held_out_patients=HELD_OUT, synthetic_share=0.35,
        phantoms=8, phantom_weight=0.15,
    )  # fmt: skip


def _write(
    name: str,
    stage: str,
    network: NetworkSpec,
    normalisation: Normalisation,
    phases: tuple[Phase, ...],
    **fields: Any,
) -> None:
    config = TrainConfig(
        name,
        stage,
        network=network,
        normalisation=normalisation,
        phases=phases,
        validate_every=0,
        **({"data": ("../../../shared/data",), "phantoms": 16} | fields),
    )
    atomic.write_text(HERE / f"{name}.json", config_text(config))


def stage_cards() -> tuple[StageCard, StageCard, StageCard]:
    """Return the cards of the stages as they are run."""
    labels = ("background", *(o.key for o in ORGANS))
    localiser = StageCard(
        "localiser",
        network=LOCALISER_NETWORK,
        weights="localiser.safetensors",
        spacing_mm=WHOLE.spacing_mm,
        patch=WHOLE.patch,
        normalisation=ABDOMEN,
        labels=labels,
        tile_step=0.75,
        use="Finds the organs roughly on the whole scan and draws the box for the next stage.",
    )
    organs = StageCard(
        "organs",
        network=NETWORK,
        weights="organs.safetensors",
        spacing_mm=SPACING_MM,
        patch=PATCH,
        normalisation=NORMALISATION,
        labels=labels,
        tile_step=0.5,
        margin_mm=((25.0, 25.0), (20.0, 20.0), (20.0, 20.0)),
        use="Segments the 13 organs inside the box.",
    )
    return localiser, organs, lesion_card()


def lesion_card() -> StageCard:
    """Return the card of the lesion stage."""
    return StageCard(
        "lesions",
        network=LESION_NETWORK,
        weights="lesions.safetensors",
        spacing_mm=LESION_SPACING_MM,
        patch=LIVER_PATCH,
        normalisation=LIVER_WINDOW,
        labels=("lesion",),
        regions=True,
        orientation=LESION_ORIENTATION,
        tile_step=0.5,
        margin_mm=((30.0, 30.0), (30.0, 30.0), (30.0, 30.0)),
        mask=MASK,
        threshold=THRESHOLD,
        peak=PEAK,
        least_ml=LEAST_ML,
        growth_mm=GROWTH_MM,
        second_look=SECOND_LOOK,
        contrast_look=CONTRAST_LOOK,
        use="Marks tumours of the liver, which it sees alone.",
    )


def make_package(arguments: argparse.Namespace) -> None:
    """Write the default model into the library."""
    runs, out = arguments.runs, arguments.out
    trained = runs / "organs" / WEIGHTS
    start = trained if trained.is_file() else runs / "teacher.safetensors"
    files = {
        "localiser": runs / "localiser-windows" / WEIGHTS,
        "organs": start,
        "lesions": runs / "lesions.safetensors",
    }
    tensors = {
        name: kept(name) if name in arguments.keep else halved(read_weights(path))
        for name, path in files.items()
    }
    if start == trained and "organs" not in arguments.keep:
        teacher = read_weights(runs / "teacher.safetensors")
        tensors["organs"] = halved(between(teacher, read_weights(trained)))
    old = load_package("default").card
    facts = Facts(start == trained, tuple(arguments.keep), old)
    stages = tuple(
        kept_card(old, each) if each.name in facts.kept else each for each in stage_cards()
    )
    shutil.rmtree(out, ignore_errors=True)
    write_package(out, model_card(stages, arguments.version, facts), tensors)
    size = sum(f.stat().st_size for f in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB")


def kept_card(old: ModelCard, card: StageCard) -> StageCard:
    """Return the card of a stage of the model in the repository, its weights under today's name."""
    there = old.stage(card.name)
    assert there is not None
    return replace(there, weights=card.weights, sha256="", size_bytes=0)


def kept(name: str) -> dict[str, Tensor]:
    """Return the weights of a stage of the model in the repository."""
    old = load_package("default")
    card = old.card.stage(name)
    assert card is not None
    return read_weights(next(iter(old.weights_paths(card))))


def between(start: dict[str, Tensor], trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights `TRAINED_SHARE` of the way from the start to the trained ones."""
    return {k: torch.lerp(start[k].float(), v.float(), TRAINED_SHARE) for k, v in trained.items()}


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with convolution kernels as bf16: half the size, no label changed."""
    return {k: v.to(torch.bfloat16) if v.dim() > 1 else v for k, v in weights.items()}


@dataclass(frozen=True)
class Facts:
    """How a model came about."""

    tuned: bool
    """Whether the organ stage was trained further."""
    kept: tuple[str, ...]
    """Stages that are those of the model before."""
    old: ModelCard
    """The model before."""


def _organ_origin(facts: Facts) -> str:
    start = (
        "The organ stage starts from the weights of a public FLARE25 task-2 entry (Apache-2.0; "
        "teacher.py)"
    )
    if not facts.tuned:
        return start + "; not trained further."
    return (
        f"{start}, then flare train with organs.json: scans with painted tumours, ascites, filled "
        f"stomachs, bright kidneys; the weights are {TRAINED_SHARE} of the way (make.py)."
    )


def model_card(stages: tuple[StageCard, ...], version: str, facts: Facts) -> ModelCard:
    """Return the card of the default model."""
    provenance = {
        "organs": _organ_origin(facts),
        "localiser": "flare train with localiser*.json",
        "lesions": LESION_ORIGIN,
    }
    provenance |= {name: facts.old.provenance[name] for name in facts.kept}
    metrics: dict[str, Any] = {
        "mean DSC against experts, of the network that the organ stage starts from": {
            "portal venous, 5 mm, 13 organs": 0.854,
            "arterial, 10 organs": 0.810,
        },
        "note": "measured by others on two scans kept apart; see benchmarks/default_model",
        "command": "python benchmarks/default_model/score.py",
        "lesions": LESION_METRICS,
    }
    return ModelCard(
        "flareseg-default",
        version,
        "13 abdominal organs and, for a second look, tumours of the liver on CT of any contrast "
        f"phase; a cascade of {len(stages)} small U-Nets.",
        stages=stages,
        licence="Apache-2.0",
        intended_use=(
            "For research use; not a medical device. Adult abdominal CT, 1 to 10 mm slices, with "
            "or without contrast, whole or partial abdomen."
        ),
        limitations=f"{LESION_LIMITS} {ORGAN_LIMITS}",
        training_data=tuple(TrainingSource(*row) for row in SOURCES),
        metrics=metrics,
        provenance=provenance,
    )


if __name__ == "__main__":
    main()
