"""How the default model is made: start, configurations, training, package, scores.

    python benchmarks/default_model/teacher.py RUNS/teacher.safetensors   the organ stage's start
    python benchmarks/default_model/lesion_cases.py RUNS     what the lesion stage learns from
    python benchmarks/default_model/make.py configs RUNS     the JSON files beside this one
    flare train benchmarks/default_model/localiser.json -o RUNS/localiser --cache RUNS/cache
    flare train benchmarks/default_model/localiser-windows.json -o RUNS/localiser-windows ...
    flare train benchmarks/default_model/organs.json -o RUNS/organs --cache RUNS/cache
    flare train benchmarks/default_model/lesions-clear.json -o RUNS/lesions-clear ...
    flare train benchmarks/default_model/lesions.json -o RUNS/lesions --cache RUNS/cache
    python benchmarks/default_model/make.py package RUNS     flare_core/resources/default_model
    python benchmarks/default_model/froc.py RUNS             lesions found and invented
    python benchmarks/default_model/score.py [MODEL]         tables by organ, patient, thickness

`package` takes the weights of RUNS/organs where they are, else RUNS/teacher.safetensors. With
``--keep-localiser`` the localiser of the model in the repository stays. A lesion stage
(RUNS/lesions) is added with ``--lesions``. The model in the repository has none:
froc.py says what the one trained so far finds and invents, and why that is not enough.

The scans are those of ../shared/data (its README names collections and licences); they are not in
the repository. Labels there are pseudo labels of another network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lesion_cases import HELD_OUT
from teacher import NETWORK, NORMALISATION, PATCH, SPACING_MM
from torch import Tensor

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS
from flare_core.datasets.augment.patch import Augmentation
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.models.card import ModelCard, TrainingSource
from flare_core.models.package import load_package, read_weights, write_package
from flare_core.models.stage_card import NetworkSpec, Normalisation, StageCard
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
FINE = Phase(SPACING_MM, PATCH, 20000, learning_rate=1e-4)
RARE = Augmentation(
    rotation_degrees=(8.0, 5.0, 5.0), zoom=0.12, bend_mm=4.0, organ_probability=0.5,
    thick_probability=0.4, window_probability=0.15, ascites_probability=0.1,
    filled_probability=0.2, excretion_probability=0.15, removed_probability=0.1,
)  # fmt: skip
"""Mild shapes, strong appearances: the start knows the anatomy, not what few scans show."""

TUMOURS = Normalisation("window", -160, 260, 60, 100)
"""Narrow: air and bone would set the scale of the instance norm, and a tumour be lost in it."""
LESION_NETWORK = replace(NETWORK, output_channels=2)
COARSER = Phase((3, 2, 2), (32, 96, 96), 40000, learning_rate=1.2e-3)
"""Small patches: four times the steps in the same time, and it is steps that are short."""
THRESHOLD, PEAK, LEAST_ML = 0.5, 0.999, 0.5
"""Probabilities at the edge and somewhere in a lesion that is reported, and its size: froc.py."""
HOSTS = ("liver", "pancreas", "right_kidney", "left_kidney", "spleen", "stomach")
SOLID = (
    "liver",
    "right_kidney",
    "left_kidney",
    "spleen",
    "pancreas",
    "right_adrenal_gland",
    "left_adrenal_gland",
)
CLEAR = LesionSettings(
    lesions=(2, 4), sizes=("small", "medium", "medium", "medium", "large"), organs=SOLID,
    decoys=(0, 0), least_contrast_hu=45, liver_share=0.6,
)  # fmt: skip
"""To begin with: from subtle ones alone it learned in 800 steps where tumours usually are."""
VISIBLE = LesionSettings(organs=SOLID, least_contrast_hu=30, liver_share=0.6)
FOR_CLEAR = Augmentation(
    rotation_degrees=(10.0, 5.0, 5.0), zoom=0.15, bend_probability=0, contrast=0.1,
    organ_probability=0, noise_hu=10, noise_probability=0.2, blur_probability=0.1,
    thick_probability=0,
)  # fmt: skip
FOR_LESIONS = Augmentation(
    rotation_degrees=(10.0, 5.0, 5.0), zoom=0.15, bend_mm=4.0, bend_probability=0.2, contrast=0.12,
    organ_probability=0.1, noise_hu=20, noise_probability=0.3, blur_probability=0.15,
    thick_probability=0.2, ascites_probability=0.05, filled_probability=0.12,
    excretion_probability=0.12,
)  # fmt: skip

FROC = "froc.json"
"""Name in RUNS of what froc.py wrote."""
ORGAN_LIMITS = (
    "Adrenal glands, duodenum, pancreas and vena cava need a look. Children, pregnancy, "
    "transplants and situs inversus are untested. The labels it is compared with come from the "
    "network it starts from, so agreement with them is no measure of accuracy."
)
NO_LESIONS = "Tumours inside organs are not marked and may be left out of the organ."
LESION_LIMITS = (
    "Lesions are suggestions for a second look, no finding: many are missed, above all those "
    "under 2 cm, faint ones, and all of stomach and bowel; some that are marked are none. It "
    "learned from synthetic tumours and from pseudo labels of liver tumours in six patients, and "
    "was never compared with an expert's."
)
LESION_TRAINING = (
    "Starts from the organ stage; lesion_cases.py, then flare train with lesions-clear.json and "
    "lesions.json on two CPU cores. Synthetic tumours (flare_core.datasets.lesions) in liver, "
    "kidneys, spleen, pancreas and adrenal glands; pseudo labels of liver tumours by PyPI's "
    "pyliverlesionseg 0.3 (Apache-2.0), completed. Patients hcc011, hcc015, lidc0001, acrin042 and "
    "ctc0518 of ../shared/data were kept apart from it."
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
        "FLARESeg phantoms", 16, "Apache-2.0", "flare_core.datasets.phantom.cohort", "",
        "synthetic; known truth",
    ),
)  # fmt: skip


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    configs = steps.add_parser("configs", help="write the training configurations")
    configs.add_argument("runs", type=Path, help="folder of the runs")
    configs.add_argument("--minutes", type=float, default=600.0, help="of the organ stage")
    configs.add_argument("--lesion-minutes", type=float, default=600.0)
    configs.add_argument("--localiser-minutes", type=float, default=7.0)
    package = steps.add_parser("package", help="write the default model")
    package.add_argument("runs", type=Path)
    package.add_argument("--version", default="0.3.0")
    package.add_argument("--out", type=Path, default=RESOURCES)
    package.add_argument("--keep-localiser", action="store_true")
    package.add_argument("--lesions", action="store_true", help="with the lesion stage of RUNS")
    package.add_argument("--peak", type=float, default=PEAK, help="of a lesion, see froc.py")
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
        ema_decay=0.99,
    )  # fmt: skip
    tumours: dict[str, Any] = {
        "data": (str(runs / "lesion-cases.json"),), "organs": ("lesion",), "centre_on": HOSTS,
        "held_out_patients": HELD_OUT, "centred": 0.85, "phantoms": 0,
    }  # fmt: skip
    _write(
        "lesions-clear", "lesions", LESION_NETWORK, TUMOURS,
        (replace(COARSER, learning_rate=1.5e-3, minutes=arguments.lesion_minutes / 4),),
        init_from=str(runs / "lesion-start.safetensors"), augmentation=FOR_CLEAR,
        synthetic=CLEAR, synthetic_share=0.9, class_balance=0.4, ema_decay=0.99, **tumours,
    )  # fmt: skip
    _write(
        "lesions", "lesions", LESION_NETWORK, TUMOURS,
        (replace(COARSER, minutes=arguments.lesion_minutes),),
        init_from=str(runs / "lesions-clear" / WEIGHTS), augmentation=FOR_LESIONS,
        synthetic=VISIBLE, synthetic_share=0.65, class_balance=0.1, ema_decay=0.995, **tumours,
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


def stage_cards(peak: float) -> tuple[StageCard, StageCard, StageCard]:
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
    lesions = StageCard(
        "lesions",
        network=LESION_NETWORK,
        weights="lesions.safetensors",
        spacing_mm=COARSER.spacing_mm,
        patch=COARSER.patch,
        normalisation=TUMOURS,
        labels=("background", "lesion"),
        tile_step=0.5,
        margin_mm=((15.0, 15.0), (10.0, 10.0), (10.0, 10.0)),
        threshold=THRESHOLD,
        peak=peak,
        least_ml=LEAST_ML,
        use="Marks tumours in the box around the organs.",
    )
    return localiser, organs, lesions


def make_package(arguments: argparse.Namespace) -> None:
    """Write the default model into the library."""
    runs, out = arguments.runs, arguments.out
    trained = runs / "organs" / WEIGHTS
    start = trained if trained.is_file() else runs / "teacher.safetensors"
    if arguments.keep_localiser:
        old = load_package("default")
        card = old.card.stage("localiser")
        assert card is not None
        localiser = read_weights(next(iter(old.weights_paths(card))))
    else:
        localiser = halved(read_weights(runs / "localiser-windows" / WEIGHTS))
    tensors = {"localiser": localiser, "organs": halved(read_weights(start))}
    if arguments.lesions:
        tensors["lesions"] = halved(read_weights(runs / "lesions" / WEIGHTS))
    stages = tuple(card for card in stage_cards(arguments.peak) if card.name in tensors)
    shutil.rmtree(out, ignore_errors=True)
    froc = froc_of(runs, arguments.peak) if "lesions" in tensors else {}
    facts = Facts(trained.is_file(), arguments.keep_localiser, froc)
    write_package(out, model_card(stages, arguments.version, facts), tensors)
    size = sum(f.stat().st_size for f in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB, organs from {start}")


def froc_of(runs: Path, peak: float) -> dict[str, Any]:
    """Return what froc.py measured at a peak; a word that nothing was if it did not run."""
    path = runs / FROC
    if not path.is_file():
        return {"note": "not measured"}
    table = json.loads(path.read_text("utf-8"))
    row = next((row for row in table["rows"] if row["peak"] == peak), {})
    at = {key: round(value, 2) for key, value in row.items()}
    return {**at, "lesions": table["lesions"], "command": "python benchmarks/default_model/froc.py"}


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with convolution kernels as bf16: half the size, no label changed."""
    return {k: v.to(torch.bfloat16) if v.dim() > 1 else v for k, v in weights.items()}


@dataclass(frozen=True)
class Facts:
    """How a model came about."""

    tuned: bool
    """Whether the organ stage was trained further."""
    kept: bool
    """Whether the localiser is that of the model before."""
    froc: dict[str, Any]
    """What its lesion stage finds and invents; empty without one."""


def model_card(stages: tuple[StageCard, ...], version: str, facts: Facts) -> ModelCard:
    """Return the card of the default model."""
    start = (
        "The organ stage starts from the weights of a public FLARE25 task-2 entry (Apache-2.0), "
        "its depth-wise separable convolutions multiplied out into dense ones (teacher.py)"
    )
    after = ", then flare train with organs.json." if facts.tuned else "; not trained further."
    provenance = {
        "organs": start + after,
        "localiser": "that of 0.2.0" if facts.kept else "flare train with localiser*.json",
    }
    metrics: dict[str, Any] = {
        "mean DSC against experts, of the network that the organ stage starts from": {
            "portal venous, 5 mm, 13 organs": 0.854,
            "arterial, 10 organs": 0.810,
        },
        "note": "measured by others on two scans kept apart; see benchmarks/default_model",
        "command": "python benchmarks/default_model/score.py",
    }
    limits = f"{NO_LESIONS} {ORGAN_LIMITS}"
    if facts.froc:
        metrics["lesions, on scans of patients kept apart"] = facts.froc
        provenance["lesions"] = LESION_TRAINING
        limits = f"{LESION_LIMITS} {ORGAN_LIMITS}"
    return ModelCard(
        "flareseg-default",
        version,
        "13 abdominal organs"
        + (" and, for a second look, tumours" if facts.froc else "")
        + f" on CT of any contrast phase; a cascade of {len(stages)} small U-Nets.",
        stages=stages,
        licence="Apache-2.0",
        intended_use=(
            "For research use; not a medical device. Adult abdominal CT, 1 to 10 mm slices, with "
            "or without contrast, whole or partial abdomen."
        ),
        limitations=limits,
        training_data=tuple(TrainingSource(*row) for row in SOURCES),
        metrics=metrics,
        provenance=provenance,
    )


if __name__ == "__main__":
    main()
