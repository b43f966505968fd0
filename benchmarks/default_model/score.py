"""Last step: the default model against the labels of ../shared/data, scan by scan.

    python benchmarks/default_model/score.py [MODEL] [--cases hcc006,totalseg_ct] [-o TABLE.json]

One row a scan (DSC of the 13 organs, seconds), then means by patient, contrast phase and slice
thickness. Labels
of ../shared/data come from the network that the organ stage starts from, but for totalseg_ct, which
has TotalSegmentator's: only that row and the phantom's speak of accuracy, the rest of agreement.
They know no lesions: what the model marks as one counts for no organ and against none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from flare_core import Settings, Volume, atomic, read_volume, segment_ct
from flare_core.anatomy.organs import LESION, ORGANS
from flare_core.datasets.case import Case, cases_of_folder
from flare_core.datasets.lesions.phase import phase_of
from flare_core.datasets.phantom.make import PhantomSettings, make_phantom
from flare_core.evaluate.metrics.dsc import dice

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEAST_ML = 1.0
"""A label smaller than this in a scan is left out."""

Row = dict[str, float]


def score(image: Volume, truth: Volume, model: str) -> Row:
    """Return organ key -> DSC of one scan, on its own grid, and the seconds it took."""
    start = time.perf_counter()
    found = segment_ct(image, Settings(model=model))
    seconds = time.perf_counter() - start
    return dsc_of_organs(found.labels, truth) | {"seconds": seconds}


def dsc_of_organs(found: Volume, truth: Volume) -> Row:
    """Return organ key -> DSC; what is found as a lesion counts for no organ and against none."""
    labels = np.where(found.array == LESION.id, 0, truth.array).astype(np.uint8)
    sizes = np.bincount(labels.ravel(), minlength=256) * truth.geometry.voxel_ml
    ids = [o.id for o in ORGANS if sizes[o.id] >= LEAST_ML]
    values = dice(found.array, labels, ids)  # type: ignore[arg-type]
    return {o.key: values[o.id] for o in ORGANS if o.id in values}


def show(name: str, row: Row) -> None:
    """Print one line: organs in the order of their numbers, their mean, seconds."""
    values = [row.get(o.key, float("nan")) for o in ORGANS]
    cells = " ".join("  -  " if np.isnan(v) else f"{v:5.3f}" for v in values)
    print(f"{name:16s} {cells}   {np.nanmean(values):.3f}  {row['seconds']:5.1f} s", flush=True)


def mean(rows: Iterable[Row]) -> Row:
    """Return the mean of each column over the rows that have it."""
    table = list(rows)
    keys = dict.fromkeys(key for row in table for key in row)
    return {key: float(np.mean([row[key] for row in table if key in row])) for key in keys}


def labelled() -> list[Case]:
    """Return the scans of ../shared/data that have labels."""
    return [case for case in cases_of_folder(DATA) if case.labels]


def score_case(case: Case, model: str) -> Row:
    """Score one of these scans, and print its line."""
    assert case.labels is not None
    row = score(read_volume(case.image), read_volume(case.labels), model)
    show(case.name, row)
    return row


def groups_of(case: Case) -> tuple[str, ...]:
    """Return what a scan counts to: its patient, contrast phase (as its HU tell), thickness."""
    assert case.labels is not None
    image, labels = read_volume(case.image), read_volume(case.labels)
    slices = image.canonical()[0].geometry.spacing_mm[0]
    thickness = "<= 2.5 mm" if slices <= 2.5 else "<= 4 mm" if slices <= 4 else "> 4 mm"
    hu = {o.key: image.array[labels.array == o.id] for o in ORGANS}
    phase = phase_of({key: float(np.median(each)) for key, each in hu.items() if each.size})
    return f"patient {case.patient}", f"phase {phase}", f"slices {thickness}", "all"


def show_groups(scored: Sequence[tuple[Case, Row]]) -> None:
    """Print the means by group."""
    groups: dict[str, list[Row]] = {}
    for case, row in scored:
        for group in groups_of(case):
            groups.setdefault(group, []).append(row)
    for group, rows in sorted(groups.items()):
        show(group, mean(rows))


def main() -> None:
    """Score scans, print and keep the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--cases", default="", help="names, separated by commas; all without it")
    parser.add_argument("-o", "--out", type=Path, help="JSON file for the table")
    arguments = parser.parse_args()
    print(" " * 16, " ".join(f"{o.key[:5]:5s}" for o in ORGANS))
    phantom = make_phantom(PhantomSettings())
    rows: dict[str, Row] = {"phantom": score(phantom.image, phantom.labels, arguments.model)}
    show("phantom", rows["phantom"])
    wanted = set(arguments.cases.split(",")) - {""}
    scored: list[tuple[Case, Row]] = []
    for case in labelled():
        if not wanted or case.name in wanted:
            scored.append((case, score_case(case, arguments.model)))
    show_groups(scored)
    if arguments.out:
        rows |= {case.name: row for case, row in scored}
        atomic.write_json(arguments.out, {"model": arguments.model, "scans": rows})


if __name__ == "__main__":
    main()
