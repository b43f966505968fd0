"""FLARE in a box: the winners' recipes trained, measured, scored and ranked on a made cohort.

    BOX=benchmarks/flare_in_a_box/box.py
    python $BOX FOLDER                every recipe at small: a night on two cores
    python $BOX FOLDER --only flare23-citi flare23-blackbean
    python $BOX FOLDER --tiny         two recipes in a minute or two: only the chain
    python $BOX FOLDER --table        print what there is

    FOLDER/cohort/            FLARE23's folders and a hidden test set (`cohort`)
    FOLDER/runs/RECIPE/       `flare recipes run`: ends with package/
    FOLDER/results/RECIPE/    `flare measure` around predict.sh, case by case; `flare evaluate`
    FOLDER/ranking/           ranking.html, table.md

Budget at small: the trainings alone take 8.4 CPU hours (counted from a step of each network on one
thread of a busy AMD EPYC), so 5 to 6 hours on two cores with prediction; --tiny takes a CPU minute.
Stop it at any time; the same command goes on. What such a comparison can tell: that the recipes
run from cases to ranking, and how they spend time and memory at this size. What it can't: who
would win on patients. Phantoms are no anatomy, widths, patches and steps are divided, and SGD is
replaced (`train.recipe_run.scale`): an order here is an order of these settings. FLARE22's and
FLARE24's recipes learn no lesions: FLARE23's rules give them the points of healthy scans only.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cohort import SIZES, make_cohort

from flare_core import atomic
from flare_core.cli import main as flare
from flare_core.models.package import load_package, read_weights
from flare_core.train.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
TINY = ("flare22-blackbean", "flare23-citi")

SCORES = {
    "organ_dsc": "organs_mean_dsc", "organ_nsd": "organs_mean_nsd",
    "lesion_dsc": "lesion_dsc", "lesion_nsd": "lesion_nsd",
}  # fmt: skip
"""Column of the table -> column of per_case.csv."""
COLUMNS = (
    ("place", "place", "{}"), ("recipe", "recipe", "{}"),
    ("organ_dsc", "organ DSC", "{:.3f}"), ("organ_nsd", "organ NSD", "{:.3f}"),
    ("lesion_dsc", "lesion DSC", "{:.3f}"), ("lesion_nsd", "lesion NSD", "{:.3f}"),
    ("seconds", "s a case", "{:.1f}"), ("ram_mib", "RAM MiB", "{:.0f}"),
    ("millions", "parameters, M", "{:.2f}"),
)  # fmt: skip


def main() -> int:
    """Do what is not done yet; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), default=[], metavar="RECIPE")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--bootstraps", type=int, default=1000)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    scale = "tiny" if arguments.tiny else "small"
    names = arguments.only or (TINY if arguments.tiny else tuple(RECIPES))
    if not arguments.table:
        make_cohort(folder / "cohort", SIZES[scale])
        for name in names:
            train(folder, name, scale, arguments.threads)
            predict(folder, name, arguments.threads)
            score(folder, name)
        rank(folder, arguments.bootstraps)
    print(table(folder))
    return 0


def train(folder: Path, name: str, scale: str, threads: int) -> None:
    """Train a recipe, or go on with it."""
    run = folder / "runs" / name
    words = ["recipes", "run", name, "--data", folder / "cohort" / "train", "-o", run]
    _flare(*words, "--scale", scale, "--device", "cpu", "--threads", threads)


def predict(folder: Path, name: str, threads: int) -> None:
    """Measure the model on the hidden test set, one container's run a case, as FLARE does."""
    command = [
        "sh", ROOT / "predict.sh", "{input_folder}", "{output}",
        "--model", folder / "runs" / name / "package", "--device", "cpu", "--threads", threads,
    ]  # fmt: skip
    images, results = folder / "cohort" / "test" / "images", folder / "results" / name
    _flare("measure", "-i", images, "-o", results, "--", *command)


def score(folder: Path, name: str) -> None:
    """Score the predictions by FLARE23's rules."""
    results = folder / "results" / name
    if (results / "evaluation.html").exists():
        return
    labels = folder / "cohort" / "test" / "labels"
    _flare(
        "evaluate", results / "predictions", labels, "--edition", "flare23", "-o", results,
        "--workers", 1,
    )  # fmt: skip


def rank(folder: Path, bootstraps: int) -> None:
    """Rank what has results, and write the page and the table."""
    _flare(
        "rank", folder / "results", "-o", folder / "ranking", "--bootstraps", bootstraps,
        "--overwrite",
    )  # fmt: skip
    atomic.write_text(folder / "ranking" / "table.md", table(folder))


def table(folder: Path) -> str:
    """Return the results of all recipes, best first, in Markdown."""
    places = _places(folder / "ranking" / "standings.csv")
    rows = [_row(folder, path.name, places) for path in sorted((folder / "results").iterdir())]
    rows.sort(key=lambda row: (row["place"], row["recipe"]))
    lines = [" | ".join(title for _, title, _ in COLUMNS)]
    lines.append(" | ".join("---" for _ in COLUMNS))
    lines += [" | ".join(form.format(row[key]) for key, _, form in COLUMNS) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _row(folder: Path, name: str, places: dict[str, str]) -> dict[str, Any]:
    results = folder / "results" / name
    cases = _read(results / "per_case.csv")
    runs = _read(results / "efficiency.csv")
    return {
        "place": places.get(name, ""),
        "recipe": name,
        **{key: _mean(cases, column) for key, column in SCORES.items()},
        "seconds": _mean(runs, "runtime_s"),
        "ram_mib": max((float(row["tree_ram_max_mib"]) for row in runs), default=float("nan")),
        "millions": parameters(folder / "runs" / name / "package") / 1e6,
    }


def parameters(package: Path) -> int:
    """Return how many numbers a model has learned, over all its stages."""
    model = load_package(package)
    files = [path for stage in model.card.stages for path in model.weights_paths(stage)]
    return sum(tensor.numel() for path in files for tensor in read_weights(path).values())


def _places(path: Path) -> dict[str, str]:
    return {row["team"]: row["place"] for row in _read(path)} if path.exists() else {}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _mean(rows: Sequence[dict[str, str]], column: str) -> float:
    values = [float(row[column]) for row in rows if row.get(column)]
    return fmean(values) if values else float("nan")


def _flare(*words: object) -> None:
    """Run one command of the library in this process; stop where it fails."""
    texts = [str(word) for word in words]
    code = flare(texts)
    if code and texts[0] != "measure":  # a case that failed is named and scores nothing
        sys.exit(f"flare {' '.join(texts)}: exit code {code}")


if __name__ == "__main__":
    sys.exit(main())
