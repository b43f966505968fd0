"""What one recipe came to, in a few KB that are kept: so that another session adds the next one.

A result is a JSON file: scores, CPU seconds and memory of every hidden case, what training took,
parameters, machine, commit, and the CPU seconds of `reference_seconds` on that machine beside the
cases. Seconds of two machines are only comparable as multiples of it.
"""

from __future__ import annotations

import csv
import json
import math
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import torch

from flare_core import atomic
from flare_core.anatomy.organs import ORGANS
from flare_core.segment.runtime import choose_runtime

CHANNELS, SIZE, TIMES = 16, 48, 5
"""Of the convolution that is the reference: channels, voxels an axis, how often."""

COLUMNS = {
    "organ_dsc": "organs_mean_dsc", "organ_nsd": "organs_mean_nsd",
    "lesion_dsc": "lesion_dsc", "lesion_nsd": "lesion_nsd",
}  # fmt: skip
"""Score -> column of per_case.csv."""


@dataclass(frozen=True)
class CaseResult:
    """One hidden case."""

    case: str
    """Its name."""
    organ_dsc: float
    """Mean over the 13 organs."""
    organ_nsd: float
    """The same."""
    lesion_dsc: float
    """1 where a healthy scan stays without a finding."""
    lesion_nsd: float
    """The same."""
    cpu_s: float
    """Processor seconds of the container's run: start, model, scan, label map."""
    ram_mib: float
    """Largest resident memory of its processes together."""


@dataclass(frozen=True)
class RecipeResult:
    """One recipe on one cohort."""

    recipe: str
    """Its key."""
    scale: str
    """Of the recipe, with its factors: those of other factors are another comparison."""
    cohort: str
    """Which scans, in words that are equal for equal cohorts."""
    machine: str
    """Processor, number format, torch."""
    commit: str
    """Of this repository when the result was written."""
    reference_s: float
    """CPU seconds of the reference on this machine, measured before and after the cases."""
    training_cpu_s: float
    """CPU seconds of everything before the hidden cases: trainings, pseudo labels, packing."""
    parameters: int
    """Numbers the model has learned, over all its stages."""
    cases: tuple[CaseResult, ...]
    """Every hidden case."""
    organs: dict[str, tuple[float, float]]
    """Organ key -> mean DSC and NSD."""

    def mean(self, column: str) -> float:
        """Return the mean of a column of the cases."""
        return fmean(getattr(case, column) for case in self.cases)

    @property
    def references(self) -> float:
        """Seconds a case as multiples of the reference."""
        return self.mean("cpu_s") / self.reference_s


def reference_seconds() -> float:
    """Return the CPU seconds of a fixed convolution on one thread, the median of several.

    It runs in the number format that networks take here, so it is what their seconds hang on.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runtime = choose_runtime("cpu", "auto", 1)
    network = runtime.place(torch.nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1))
    image = torch.zeros(1, CHANNELS, SIZE, SIZE, SIZE, dtype=runtime.dtype)
    image = image.contiguous(memory_format=runtime.layout)
    spent = []
    with torch.inference_mode():
        network(image)
        for _ in range(TIMES):
            start = time.process_time()
            network(image)
            spent.append(time.process_time() - start)
    torch.set_num_threads(before)
    return median(spent)


def machine() -> str:
    """Return what the seconds were measured on."""
    runtime = choose_runtime("cpu", "auto", 1)
    return f"{_processor()}, {runtime.precision}, torch {torch.__version__}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit(root: Path) -> str:
    """Return the commit that is checked out, or what is known instead of it."""
    words = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "no repository"


def cases_of(folder: Path) -> tuple[CaseResult, ...]:
    """Return the cases that ``flare measure`` and ``flare evaluate`` wrote about."""
    runs = {row["case"]: row for row in _read(folder / "efficiency.csv")}
    return tuple(
        CaseResult(
            row["case"],
            **{key: _rounded(row[column]) for key, column in COLUMNS.items()},
            cpu_s=_rounded(runs[row["case"]]["cpu_time_s"]),
            ram_mib=round(float(runs[row["case"]]["tree_ram_max_mib"])),
        )
        for row in _read(folder / "per_case.csv")
    )


def organs_of(folder: Path) -> dict[str, tuple[float, float]]:
    """Return every organ's mean DSC and NSD over the cases."""
    rows = _read(folder / "per_case.csv")
    return {
        organ.key: (_mean(rows, f"{organ.key}_dsc"), _mean(rows, f"{organ.key}_nsd"))
        for organ in ORGANS
    }


def keep(folder: Path, result: RecipeResult) -> None:
    """Write a result among the others."""
    folder.mkdir(parents=True, exist_ok=True)
    row = asdict(result)
    cases = ",\n  ".join(json.dumps(case) for case in row.pop("cases"))
    organs = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in row.pop("organs").items())
    head = json.dumps(row, indent=1).removesuffix("\n}")  # a line for each case and organ
    text = f'{head},\n "cases": [\n  {cases}\n ],\n "organs": {{\n  {organs}\n }}\n}}\n'
    atomic.write_text(folder / f"{result.recipe}.json", text)


def kept(folder: Path) -> list[RecipeResult]:
    """Return the results of a folder, by name; they are of one cohort and scale.

    Raises
    ------
    SystemExit
        If some are of another.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text("utf-8"))
        cases = tuple(CaseResult(**case) for case in row.pop("cases"))
        organs = {key: (dsc, nsd) for key, (dsc, nsd) in row.pop("organs").items()}
        found.append(RecipeResult(**row, cases=cases, organs=organs))
    kinds = {(each.cohort, each.scale) for each in found}
    if len(kinds) > 1:
        raise SystemExit(f"{folder}: results of different cohorts or scales: {sorted(kinds)}")
    return found


def write_teams(folder: Path, results: Sequence[RecipeResult]) -> None:
    """Write what ``flare rank`` reads: a file for each recipe, seconds as on one machine.

    Run time is CPU seconds: on one thread they are what a machine with nothing else to do takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.csv"):
        left.unlink()
    one_machine = median(each.reference_s for each in results) if results else math.nan
    for each in results:
        factor = one_machine / each.reference_s
        head = ("case", *COLUMNS, "runtime_s", "gpu_max_mib", "auc_gpu_mib_s")
        rows = [
            [case.case, *(getattr(case, key) for key in COLUMNS), case.cpu_s * factor, 0, 0]
            for case in each.cases
        ]
        text = "".join(",".join(map(str, row)) + "\n" for row in (head, *rows))
        atomic.write_text(folder / f"{each.recipe}.csv", text)


def standings(folder: Path) -> dict[str, str]:
    """Return every recipe's place as ``flare rank`` wrote it."""
    return {row["team"]: row["place"] for row in _read(folder / "standings.csv")}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _rounded(text: str) -> float:
    return round(float(text), 4)


def _mean(rows: Sequence[dict[str, str]], column: str) -> float:
    return round(fmean(float(row[column]) for row in rows), 4)
