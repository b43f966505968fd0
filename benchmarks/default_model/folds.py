"""The organ stage in two folds: each scan segmented by a network that never saw its patient.

    python benchmarks/default_model/folds.py configs RUNS [--steps 160]
    flare train RUNS/fold-a.json -o RUNS/fold-a --cache RUNS/cache      and fold-b
    python benchmarks/default_model/folds.py score RUNS -o TABLE.json

The patients of ../shared/data, in the order of their names, belong to the folds by turns. A fold's
network starts from RUNS/teacher.safetensors, learns as organs.json says from the other fold's
patients, for as many steps a patient as the default model had, and takes the same share of the way
(make.py). `score` runs the whole cascade with it, without lesions, and prints DSC with the labels
of ../shared/data by scan, patient, contrast phase and slice thickness, for the folds and for the
start itself.

The labels come from the network that the training starts from: the table says how much of its
agreement a training keeps on patients it has not seen, and no more. Only totalseg_ct has labels of
another origin.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from make import between, halved
from score import DATA, Row, labelled, score_case, show_groups
from torch import Tensor

from flare_core import atomic
from flare_core.datasets.case import Case
from flare_core.models.package import load_package, read_weights, write_package
from flare_core.train.config_file import config_text, load_config
from flare_core.train.loop import WEIGHTS

HERE = Path(__file__).resolve().parent
FOLDS = ("a", "b")
START = "start"
"""The network before any training, and the rows of the table that it has."""
STEPS = 160
"""The default model's organ stage had about 230 with 13 patients; a fold has nine."""


def main() -> None:
    """Write the configurations, or the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    configs = steps.add_parser("configs", help="write the configurations of both folds")
    configs.add_argument("runs", type=Path, help="folder of the runs")
    configs.add_argument("--steps", type=int, default=STEPS)
    table = steps.add_parser("score", help="segment every scan by the network of the other fold")
    table.add_argument("runs", type=Path)
    table.add_argument("-o", "--out", type=Path, help="JSON file for the table")
    arguments = parser.parse_args()
    {"configs": write_configs, "score": write_table}[arguments.step](arguments)


def patients_of(fold: str) -> tuple[str, ...]:
    """Return the patients of a fold: in the order of their names, by turns."""
    names = sorted({case.patient for case in labelled()})
    return tuple(names[FOLDS.index(fold) :: len(FOLDS)])


def write_configs(arguments: argparse.Namespace) -> None:
    """Write ``fold-a.json`` and ``fold-b.json``: organs.json without a clock, a fold held out."""
    base = load_config(HERE / "organs.json")
    (phase,) = base.phases
    runs = arguments.runs.resolve()
    for fold in FOLDS:
        config = replace(
            base,
            name=f"fold-{fold}",
            data=(str(DATA),),
            init_from=str(runs / "teacher.safetensors"),
            held_out_patients=patients_of(fold),
            phases=(replace(phase, steps=arguments.steps, minutes=0.0),),
        )
        atomic.write_text(runs / f"{config.name}.json", config_text(config))


def write_model(runs: Path, name: str) -> Path:
    """Write the default model with a fold's organ stage, or with the start's; return its folder."""
    start = read_weights(runs / "teacher.safetensors")
    weights = start
    if name != START:
        weights = between(start, read_weights(runs / f"fold-{name}" / WEIGHTS))
    default = load_package("default")
    stages = tuple(stage for stage in default.card.stages if stage.name != "lesions")
    tensors: dict[str, dict[str, Tensor]] = {"organs": halved(weights)}
    for stage in stages:
        if stage.name not in tensors:
            tensors[stage.name] = read_weights(next(iter(default.weights_paths(stage))))
    cards = tuple(replace(each, sha256="", size_bytes=0) for each in stages)
    folder = runs / f"model-{name}"
    card = replace(default.card, name=f"fold-{name}", stages=cards)
    shutil.rmtree(folder, ignore_errors=True)
    write_package(folder, card, tensors)
    return folder


def scored_by(runs: Path, name: str) -> list[tuple[Case, Row]]:
    """Score the scans of a fold with the network that never saw them; all with the start."""
    model = str(write_model(runs, name))
    cases = [each for each in labelled() if name == START or each.patient in patients_of(name)]
    return [(case, score_case(case, model)) for case in cases]


def write_table(arguments: argparse.Namespace) -> None:
    """Print both tables and keep them."""
    tables = {
        "folds": [pair for fold in FOLDS for pair in scored_by(arguments.runs, fold)],
        START: scored_by(arguments.runs, START),
    }
    for name, scored in tables.items():
        print(name)
        show_groups(scored)
    if arguments.out:
        rows = {name: {c.name: row for c, row in scored} for name, scored in tables.items()}
        atomic.write_json(arguments.out, rows)


if __name__ == "__main__":
    main()
