"""Do scans without labels help? Few labels against each strategy against all labels, on phantoms.

    python benchmarks/self_training/proof.py FOLDER                    run what is missing, print
    python benchmarks/self_training/proof.py FOLDER --only iterative   this row (and what it needs)
    python benchmarks/self_training/proof.py FOLDER --table            print only

Every row is a self-training run (`train.rounds.run`) in FOLDER/runs, so the command can be
stopped and started at will. All rows share cohort, network, steps of each network, and hold-out:

* ``few``: FEW labelled scans and nothing else. ``full``: the same scans and the others, all
  labelled.
* ``teacher``: a larger network at the scan's own voxels, trained on the same few labels.
* the strategies: FEW labelled scans, the others without labels. Where a teacher labels them, it is
  two networks of the kind of ``teacher``; the student is the small network of ``few`` and ``full``
  (FLARE22's winner: large teacher, small student). ``iterative`` goes on training the teacher in
  its first round, on the scans it has labelled, and then teaches the small student.
  A seed chooses both the labelled scans and every random draw of training.

The hold-out is scored at the end and chooses nothing within a run: every student teaches the next
round. What is not the strategies' own default was settled on another cohort (``--cohort 1000``).
These were changed after rows of this cohort had been seen: FEW (from 3 to 6), STEPS (from 600), the
teacher (was three networks of the kind of ``few``, and pseudo labels closed nothing of the gap),
``iterative`` (``most_organ`` went from .5 to what ``agreement`` allows, ``keep`` from .8 to its
default, and its large student began with nothing), and WITHOUT_LABELS.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from flare_core import atomic
from flare_core.cases.store import LabelFacts, open_store
from flare_core.datasets.augment.patch import Augmentation
from flare_core.datasets.phantom.make import PhantomSettings, make_phantom, random_settings
from flare_core.errors import Cancelled
from flare_core.imaging.files import write_labels, write_volume
from flare_core.models.package import load_package, read_weights, write_package
from flare_core.models.stage_card import NetworkSpec, Normalisation, WeightsFile
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.config_file import config_text
from flare_core.train.log import Facts, Listener
from flare_core.train.rounds.pseudo_labels import only
from flare_core.train.rounds.run import run_rounds, start_rounds
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import RunFolder

ORGANS = (
    "liver", "right_kidney", "spleen", "pancreas", "aorta", "inferior_vena_cava", "stomach",
    "left_kidney",
)  # fmt: skip
"""Those that have more than a few dozen voxels at this voxel size."""

FEW, OTHERS, HELD_OUT = 6, 24, 12
"""Scans that are labelled in every row, that are labelled in ``full`` only, and of the hold-out."""

SCAN_MM = (5.0, 4.0, 4.0)
FIELDS = (
    ("abdomen", 0.5),
    ("upper-abdomen", 0.2),
    ("lower-abdomen", 0.15),
    ("chest-abdomen", 0.15),
)
SEEDS = (0, 1, 2)
CUBE = (3, 3, 3)
NETWORK = NetworkSpec(
    "plain_unet",
    output_channels=1 + len(ORGANS),
    features_per_stage=(16, 32, 64, 64),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    kernel_sizes=(CUBE,) * 4,
    convolutions_per_stage_encoder=(1,) * 4,
    convolutions_per_stage_decoder=(1,) * 3,
    deep_supervision=True,
)
STEPS = 1500
PHASE = Phase((8.0, 7.6, 7.6), (24, 40, 48), STEPS, learning_rate=5e-3)
"""Not 8 mm in plane: at just twice the scan's pixel the nearest label is always the same neighbour,
half a pixel off, and students of students move further with each round."""

LARGE = replace(
    NETWORK,
    features_per_stage=(16, 32, 64, 96, 96),
    strides=((1, 1, 1), *((2, 2, 2),) * 3, (1, 2, 2)),
    kernel_sizes=(CUBE,) * 5,
    convolutions_per_stage_encoder=(1,) * 5,
    convolutions_per_stage_decoder=(1,) * 4,
)
LARGE_PHASE = Phase(SCAN_MM, (32, 64, 64), STEPS, learning_rate=5e-3)

MILD = Augmentation(rotation_degrees=(8.0, 4.0, 4.0), zoom=0.08, bend_probability=0.0)
"""So that a short training is enough; the same in every row."""

STRONG = Augmentation(rotation_degrees=(15.0, 8.0, 8.0), zoom=0.18, bend_probability=0.3)

SUPERVISED: dict[str, object] = {"kind": "supervised"}

ROWS: dict[str, tuple[int, dict[str, object]]] = {
    "few": (1, SUPERVISED),
    "full": (1, SUPERVISED),
    "teacher": (1, SUPERVISED),
    "iterative": (2, {"kind": "iterative", "most_organ": 0.3}),
    "agreement": (1, {"kind": "agreement", "least_mean": 0.7}),
    "confident": (1, {"kind": "confident", "least_confidence": 0.85}),
    "soft_labels": (1, {"kind": "soft_labels"}),
    "mean_teacher": (1, {"kind": "mean_teacher", "ramp_steps": 500}),
    "cross_pseudo": (1, {"kind": "cross_pseudo", "ramp_steps": 500}),
}
"""Row of the table -> rounds, strategy."""

TEACHERS = ("teacher", "teacherb")
"""Large networks trained on the few labels with other random draws; together they teach."""

WITHOUT_LABELS = ("mean_teacher", "cross_pseudo")
"""Rows in which every other step sees an unlabelled patch alone. They get twice the steps, and so
see as many labelled patches as the others."""

ALONE = ("few", "full", *WITHOUT_LABELS, *TEACHERS)
"""Rows that need no teacher."""


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--cohort", type=int, default=0, help="seed of the cohort")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in arguments.seeds:
            for row in dict.fromkeys(("few", "full", *arguments.only)):
                run_row(arguments.folder, row, seed, arguments)
                print(table_text(arguments.folder), flush=True)
    print(table_text(arguments.folder))


def run_row(folder: Path, row: str, seed: int, arguments: argparse.Namespace) -> None:
    """Run one row of one seed, or go on with it."""
    place = folder / "runs" / f"{row}-{seed}"
    if row not in ALONE:
        for teacher in TEACHERS:
            run_row(folder, teacher, seed, arguments)
        make_teacher(folder, seed)
    if not (place / "state.json").exists():
        start_rounds(place, row_settings(folder, row, seed, arguments))
    if RunFolder(place).state.status != "done":
        try:
            run_rounds(place, report=_tell(row, seed))
        except Cancelled:
            raise SystemExit(130) from None


def row_settings(folder: Path, row: str, seed: int, arguments: argparse.Namespace) -> RoundSettings:
    """Return the run of one row and seed; makes its case store and configuration."""
    rounds, strategy = ROWS.get(row, (1, SUPERVISED))
    teacher = "" if row in ALONE else str((folder / "teachers" / str(seed)).resolve())
    configs = write_configs(folder, arguments.steps)
    large = row in TEACHERS or rounds > 1
    return RoundSettings(
        f"proof-{row.replace('_', '-')}-{seed}",
        str(make_store(folder, seed, arguments.cohort, full=row == "full").resolve()),
        configs["large" if large else "small"],
        teacher=teacher,
        rounds=rounds,
        steps=2 * arguments.steps if row in WITHOUT_LABELS else 0,
        last_student=configs["small"] if rounds > 1 else "",
        warm_start=rounds > 1,
        strategy=dict(strategy),
        students_teach=True,
        promote=False,
        home=str((folder / "home").resolve()),
        device="cpu",
        threads=1,
        seed=seed + (100 * TEACHERS.index(row) if row in TEACHERS else 0),
    )


def make_teacher(folder: Path, seed: int) -> None:
    """Put the large networks of a seed together as the folds of one model."""
    target = folder / "teachers" / str(seed)
    if target.exists():
        return
    folds = [
        load_package(folder / "runs" / f"{row}-{seed}" / "round-01" / "package") for row in TEACHERS
    ]
    names = [f"organs-{number}.safetensors" for number in range(1, len(folds))]
    card = folds[0].card
    stage = replace(card.stages[0], folds=tuple(WeightsFile(name) for name in names))
    tensors = {
        name: read_weights(fold.weights_path("organs"))
        for name, fold in zip(("organs", *names), folds, strict=True)
    }
    write_package(target, replace(card, stages=(stage,)), tensors)


def write_configs(folder: Path, steps: int) -> dict[str, str]:
    """Return the files of the configurations, writing them if they are not there."""
    small = TrainConfig(
        "proof",
        "organs",
        data=("filled-in-by-the-run",),
        network=NETWORK,
        normalisation=Normalisation("window", -200, 300, 50, 125),
        phases=(replace(PHASE, steps=steps),),
        organs=ORGANS,
        class_balance=0.1,  # strong class weights dilate organs, and students of students more so
        warm_up_steps=20,
        ema_decay=0.97,
        augmentation=MILD,
        device="cpu",
        threads=1,
        validate_every=0,
    )
    large = replace(
        small, network=LARGE, phases=(replace(LARGE_PHASE, steps=steps),), augmentation=STRONG
    )
    files = {"small": folder / "small.json", "large": folder / "large.json"}
    for (_, file), config in zip(files.items(), (small, large), strict=True):
        if not file.exists():
            atomic.write_text(file, config_text(config))
    return {name: str(file.resolve()) for name, file in files.items()}


def make_store(folder: Path, seed: int, cohort: int, *, full: bool) -> Path:
    """Return a case store: hold-out and labelled scans with their truth, the others without."""
    place = folder / "stores" / ("full" if full else f"few-{seed}")
    done = place.with_suffix(".done")
    if done.exists():
        return place
    names = [f"{part}-{n:02d}" for part, count in _parts() for n in range(count)]
    chosen = np.random.default_rng((cohort, seed)).permutation(FEW + OTHERS)[:FEW]
    labelled = {f"train-{n:02d}" for n in (range(FEW + OTHERS) if full else chosen)}
    with open_store(place, create=True) as store:
        for number, name in enumerate(names):
            image, labels = make_scan(folder / "scans", name, cohort, number)
            store.add_case(image, name=name, patient=name, source="phantom", link=True)
            if (name in labelled or name.startswith("test")) and not store.versions(name):
                store.add_labels(name, labels, truth_facts(labels))
        store.freeze_hold_out([name for name in names if name.startswith("test")])
    done.touch()
    return place


def truth_facts(labels: Path) -> LabelFacts:
    """Return what a phantom's truth claims: every organ, those outside the field as absent."""
    from flare_core.anatomy.organs import organ
    from flare_core.imaging.files import read_labels

    there = set(np.unique(read_labels(labels).array).tolist())
    absent = tuple(key for key in ORGANS if organ(key).id not in there)
    return LabelFacts("expert", ORGANS, author="phantom", absent=absent)


def make_scan(folder: Path, name: str, cohort: int, number: int) -> tuple[Path, Path]:
    """Return a phantom's scan and labels, making them if they are not there."""
    image, labels = folder / f"{name}.nii.gz", folder / f"{name}-labels.nii.gz"
    if not image.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = make_phantom(scan_settings(cohort, number))
        write_labels(labels, made.labels.with_array(only(made.labels.array, ORGANS)))
        write_volume(image, made.image)
    return image, labels


def scan_settings(cohort: int, number: int) -> PhantomSettings:
    """Return one person and scan of the cohort: as `phantom_cohort`, coarser and noisier."""
    base = random_settings(cohort, number)
    random = np.random.default_rng((cohort, number, 7))
    names, shares = zip(*FIELDS, strict=True)
    return replace(
        base,
        spacing_mm=SCAN_MM,
        field=str(random.choice(names, p=shares)),
        noise_hu=float(random.uniform(10, 60)),
        size_scale=float(random.uniform(0.85, 1.15)),
    )


def table_text(folder: Path) -> str:
    """Return the table: mean over hold-out and organs, over the seeds, and share of the gap."""
    found = {row: _row_scores(folder, row) for row in ROWS}
    low, high = (_mean(found[row]) for row in ("few", "full"))
    lines = [
        "row            seeds   DSC mean (each seed)                  NSD mean   share of the gap"
    ]
    for row, scores in found.items():
        if not scores:
            continue
        each = " ".join(f"{dsc:.3f}" for dsc, _ in scores.values())
        spread = float(np.std([dsc for dsc, _ in scores.values()]))
        nsd = float(np.mean([nsd for _, nsd in scores.values()]))
        share = ""
        if low and high and row not in ("few", "full"):
            mine = [seed for seed in scores if seed in found["few"] and seed in found["full"]]
            gains = [scores[s][0] - found["few"][s][0] for s in mine]
            gaps = [found["full"][s][0] - found["few"][s][0] for s in mine]
            share = f"{100 * np.sum(gains) / np.sum(gaps):.0f} %" if mine else ""
        mean = _mean(scores)
        lines.append(
            f"{row:14s} {len(scores):5d}   {mean:.3f} +- {spread:.3f} ({each})".ljust(62)
            + f"{nsd:8.3f}   {share:>8s}"
        )
    return "\n".join(lines)


def _row_scores(folder: Path, row: str) -> dict[int, tuple[float, float]]:
    """Return seed -> mean DSC and NSD of the row's last student, over organs."""
    scores = {}
    for place in sorted((folder / "runs").glob(f"{row}-[0-9]*")):
        run = RunFolder(place)
        verdict = run.round(run.settings.rounds).read("verdict")
        if verdict:
            scores[run.settings.seed] = (verdict["new"]["dsc"], verdict["new"]["nsd"])
    return scores


def _mean(scores: dict[int, tuple[float, float]]) -> float:
    return float(np.mean([dsc for dsc, _ in scores.values()])) if scores else 0.0


def _parts() -> tuple[tuple[str, int], ...]:
    return ("train", FEW + OTHERS), ("test", HELD_OUT)


def _tell(row: str, seed: int) -> Listener:
    def tell(facts: Facts) -> None:
        if facts["event"] == "begin":
            print(f"{row}-{seed} round {facts['round']}: {facts['stage']}", flush=True)

    return tell


if __name__ == "__main__":
    main()
