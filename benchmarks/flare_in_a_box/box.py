"""FLARE in a box: the winners' recipes trained, measured, scored and ranked on a made cohort.

    BOX=benchmarks/flare_in_a_box/box.py
    python $BOX FOLDER                every recipe at small that has no result yet
    python $BOX FOLDER --only flare23-citi flare23-blackbean
    python $BOX FOLDER --tiny         two recipes in a minute or two: only the chain
    python $BOX FOLDER --scans SCANS  on real scans (`real`); results are kept in FOLDER
    python $BOX --table               print the table of the results that are kept; trains nothing
    python $BOX FOLDER --table        and write FOLDER/ranking/ranking.html and table.md from them

    FOLDER/cohort/            FLARE23's folders and a hidden test set (`cohort`)
    FOLDER/runs/RECIPE/       `flare recipes run`: ends with package/
    FOLDER/measured/RECIPE/   `flare measure` around predict.sh, case by case; `flare evaluate`
    FOLDER/ranking/           ranking.html, table.md
    results/RECIPE.json       beside this file: what is kept (--tiny and --scans: in FOLDER)

Stop it at any time (SIGTERM ends it after a checkpoint); the same command goes on. A recipe whose
result is kept is not run again, so that another session, on another machine, adds the next one;
seconds are kept with those of a fixed convolution beside them (`results`).

Budget at small, one thread of an AMD EPYC with AVX512-BF16, counted from a step of each network: 5
to 40 CPU minutes a recipe, 156 for all ten trainings; with the labels of bare scans and the hidden
cases about 3 hours, half of it on two cores with two parts of --only. What was really spent is in
every result. What such a comparison can tell: that the recipes run from cases to ranking, and how
they spend time and memory at this size. What it can't: who would win on patients. Phantoms are no
anatomy, widths, patches and steps are divided, and SGD is replaced (`train.recipe_run.scale`): an
order here is an order of these settings. FLARE22's and FLARE24's recipes learn no lesions:
FLARE23's rules give them the points of healthy scans only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohort import SEED, SIZES, CohortSize, make_cohort
from real import link_cohort, roles_of
from results import (
    RecipeResult,
    cases_of,
    commit,
    keep,
    kept,
    machine,
    organs_of,
    reference_seconds,
    standings,
    write_teams,
)

from flare_core import atomic
from flare_core.cli import main as flare
from flare_core.models.package import load_package, read_weights
from flare_core.train.recipe_run.scale import find_scale
from flare_core.train.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
TINY = ("flare22-blackbean", "flare23-citi")

COLUMNS = (
    ("place", "place", "{}"), ("recipe", "recipe", "{}"),
    ("organ_dsc", "organ DSC", "{:.3f}"), ("organ_nsd", "organ NSD", "{:.3f}"),
    ("lesion_dsc", "lesion DSC", "{:.3f}"), ("lesion_nsd", "lesion NSD", "{:.3f}"),
    ("cpu_s", "CPU s a case", "{:.1f}"), ("references", "x reference", "{:.0f}"),
    ("ram_mib", "RAM MiB", "{:.0f}"), ("millions", "parameters, M", "{:.2f}"),
    ("minutes", "training, CPU min", "{:.1f}"),
)  # fmt: skip
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Do what is not done yet; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), default=[], metavar="RECIPE")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--scans", type=Path, help="folder with ct/, labels/ and cases.json")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bootstraps", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.folder is None and (arguments.tiny or not arguments.table):
        parser.error("FOLDER is needed for all but --table")
    folder: Path | None = arguments.folder and arguments.folder.resolve()
    scale = "tiny" if arguments.tiny else "small"
    own = arguments.tiny or arguments.scans
    results = folder / "results" if folder and own else HERE / "results"
    if folder and not arguments.table:
        names = arguments.only or (TINY if arguments.tiny else tuple(RECIPES))
        words = prepare(folder / "cohort", scale, arguments.scans)
        for name in names:
            if not (results / f"{name}.json").exists():
                keep(results, one_recipe(folder, name, scale, words, arguments.threads))
    found = kept(results)
    if folder:
        text = rank(folder / "ranking", found, arguments.bootstraps)
        atomic.write_text(folder / "ranking" / "table.md", text)
    else:
        with tempfile.TemporaryDirectory() as nowhere:
            text = rank(Path(nowhere) / "ranking", found, 0)
    print(text)
    return 0


def prepare(folder: Path, scale: str, scans: Path | None) -> str:
    """Make the cohort, or link it; return which scans it is of, in words."""
    if scans:
        link_cohort(folder, scans)
        counts = Counter(roles_of(scans).values())
        return "real scans: " + ", ".join(f"{n} {role}" for role, n in sorted(counts.items()))
    make_cohort(folder, SIZES[scale])
    return cohort_in_words(SIZES[scale])


def one_recipe(folder: Path, name: str, scale: str, cohort: str, threads: int) -> RecipeResult:
    """Train, measure and score one recipe, or go on with it."""
    trained_s = train(folder, name, scale, threads)
    before_s = reference_seconds()
    predict(folder, name, threads)
    after_s = reference_seconds()
    measured = score(folder, name)
    return RecipeResult(
        name,
        f"{scale}: {find_scale(scale)}",
        cohort,
        machine(),
        commit(ROOT),
        round((before_s + after_s) / 2, 5),
        round(trained_s, 1),
        parameters(folder / "runs" / name / "package"),
        cases_of(measured),
        organs_of(measured),
    )


def cohort_in_words(size: CohortSize) -> str:
    """Return which scans the results are of."""
    parts = f"{size.full} full, {size.lesions} lesions, {size.organs} organs, {size.bare} bare"
    mm = " x ".join(f"{each:g}" for each in size.spacing_mm)
    return f"{parts}, {size.tuning} tuning, {size.test} test; {mm} mm; seed {SEED}"


def train(folder: Path, name: str, scale: str, threads: int) -> float:
    """Train a recipe, or go on with it; return the CPU seconds of all attempts together."""
    run = folder / "runs" / name
    spent = run / "cpu_seconds.json"
    before = json.loads(spent.read_text("utf-8")) if spent.exists() else 0.0
    words = ["recipes", "run", name, "--data", folder / "cohort" / "train", "-o", run]
    start = time.process_time()
    try:
        _flare(*words, "--scale", scale, "--device", "cpu", "--threads", threads)
    finally:
        before += time.process_time() - start
        if run.is_dir():
            atomic.write_json(spent, before)
    return float(before)


def predict(folder: Path, name: str, threads: int) -> None:
    """Measure the model on the hidden test set, one container's run a case, as FLARE does."""
    command = [
        "sh", ROOT / "predict.sh", "{input_folder}", "{output}",
        "--model", folder / "runs" / name / "package", "--device", "cpu", "--threads", threads,
    ]  # fmt: skip
    images, measured = folder / "cohort" / "test" / "images", folder / "measured" / name
    _flare("measure", "-i", images, "-o", measured, "--", *command)


def score(folder: Path, name: str) -> Path:
    """Score the predictions by FLARE23's rules; return the folder."""
    measured = folder / "measured" / name
    labels = folder / "cohort" / "test" / "labels"
    if not (measured / "evaluation.html").exists():
        _flare(
            "evaluate", measured / "predictions", labels, "--edition", "flare23", "-o", measured,
            "--workers", 1,
        )  # fmt: skip
    return measured


def rank(folder: Path, found: Sequence[RecipeResult], bootstraps: int) -> str:
    """Rank the results and write the page; return the table, best first, in Markdown."""
    places: dict[str, str] = {}
    if len(found) > 1:
        write_teams(folder / "teams", found)
        words = ["rank", folder / "teams", "-o", folder, "--bootstraps", bootstraps]
        _flare(*words, "--overwrite", "--progress", "none")
        places = standings(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(each, places) for each in found]
    rows.sort(key=lambda row: (float(row["place"] or 0), row["recipe"]))
    lines = [" | ".join(title for _, title, _ in COLUMNS)]
    lines.append(" | ".join("---" for _ in COLUMNS))
    lines += [" | ".join(form.format(row[key]) for key, _, form in COLUMNS) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _row(each: RecipeResult, places: dict[str, str]) -> dict[str, Any]:
    means = ("organ_dsc", "organ_nsd", "lesion_dsc", "lesion_nsd", "cpu_s")
    return {
        "place": places.get(each.recipe, ""),
        "recipe": each.recipe,
        **{key: each.mean(key) for key in means},
        "references": each.references,
        "ram_mib": max(case.ram_mib for case in each.cases),
        "millions": each.parameters / 1e6,
        "minutes": each.training_cpu_s / 60,
    }


def parameters(package: Path) -> int:
    """Return how many numbers a model has learned, over all its stages."""
    model = load_package(package)
    files = [path for stage in model.card.stages for path in model.weights_paths(stage)]
    return sum(tensor.numel() for path in files for tensor in read_weights(path).values())


def _flare(*words: object) -> None:
    """Run one command of the library in this process; stop where it fails."""
    texts = [str(word) for word in words]
    code = flare(texts)
    if code and texts[0] != "measure":  # a case that failed is named and scores nothing
        sys.exit(f"flare {' '.join(texts)}: exit code {code}")


if __name__ == "__main__":
    sys.exit(main())
