"""Seconds that listing, filtering and selection take in a case store of 10 000 cases.

    python benchmarks/case_store_benchmark.py [--cases 10000] [--repeats 5] [--json OUT.json]

Every case has two label versions and three scores. The rows are put into the catalogue by the
store's own functions in one transaction; the files they name are not made, as none of what is
measured opens one. The last lines add a real scan and a real label map to the full store.

Of several repeats the quickest counts. The limit for listing, filtering and selection is 1 s; the
exit code is 1 if one needs more processor time than that. Where the wall clock shows much more than
the processor, other programs were at work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flare_core.cases.rows import insert_case
from flare_core.cases.schema import now
from flare_core.cases.settle import new_case, put_version
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.datasets.case import ALL_ORGANS
from flare_core.datasets.stored import cases_of_store
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

LIMIT_S = 1.0
KINDS = ("expert", "corrected", "pseudo", "pseudo", "pseudo", "pseudo")
ORGANS = (ALL_ORGANS, ALL_ORGANS, ALL_ORGANS[:5], ("liver", "lesion"))


def fill(store: CaseStore, count: int) -> None:
    """Put `count` cases with two label versions each into the catalogue."""
    evidence = {key: {"confidence": 0.9, "entropy": 0.1} for key in ALL_ORGANS}
    with store._writing() as write:
        for number in range(count):
            name = f"case_{number:05d}"
            digest = f"{number:064x}"
            case = {"name": name, "patient": f"patient_{number // 2}", "source": "benchmark",
                    "image": f"cases/{name}/image.nii.gz", "linked": False, "sha256": digest,
                    "size": 10**7, "grid": "100 512 512 2.5 0.8 0.8", "added": now(),
                    "weight": 1.0}  # fmt: skip
            case_id = insert_case(write.db, new_case(case))
            organs = ORGANS[number % len(ORGANS)]
            for version, kind in enumerate(("pseudo", KINDS[number % len(KINDS)]), 1):
                facts = LabelFacts(kind, organs, model="m-1", evidence=evidence,
                                   parent=version - 1 or None)  # fmt: skip
                values = {"number": version, "file": f"cases/{name}/labels/v000{version}-0.nii.gz",
                          "sha256": digest, "size": 10**5, "created": now()}  # fmt: skip
                put_version(write.db, case_id, values, facts, chosen=False)
            rows = [(case_id, score, number / count) for score in ("entropy", "diversity", "rank")]
            write.db.executemany("INSERT INTO scores VALUES (?, ?, ?)", rows)


def questions(store: CaseStore) -> dict[str, Callable[[], object]]:
    """Return what is asked of the store, by what a person would call it."""
    return {
        "list every case": lambda: store.cases(),
        "one page of 100 in the middle": lambda: store.cases(limit=100, offset=5000),
        "filter by status": lambda: store.cases(status=("corrected", "accepted")),
        "filter by organ": lambda: store.cases(organ="lesion"),
        "filter by kind": lambda: store.cases(kind="pseudo"),
        "filter by text": lambda: store.cases(text="patient_12"),
        "the hold-out": lambda: store.cases(held_out=True),
        "status, organ, kind, text and hold-out": lambda: store.cases(
            status="pseudo", organ="spleen", kind="pseudo", text="case_0", held_out=False
        ),
        "scores of all cases": store.score_table,
        "label versions of one case": lambda: store.versions("case_00777"),
        "select for training": lambda: cases_of_store(store),
        "select all with pseudo labels": lambda: cases_of_store(
            store, kinds=("pseudo",), statuses=("pseudo", "accepted"), held_out=None
        ),
    }


def quickest(ask: Callable[[], object], repeats: int) -> tuple[int, float, float]:
    """Return the size of an answer, and its shortest times by clock and processor, s."""
    clock, processor, size = [], [], 0
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        answer = ask()
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
        size = len(answer) if hasattr(answer, "__len__") else 1
    return size, min(clock), min(processor)


def additions(store: CaseStore, folder: Path) -> dict[str, float]:
    """Return the seconds that a real scan and a real label map take to come in."""
    grid = Geometry((80, 256, 256), (2.5, 1.2, 1.2))
    hu = np.random.default_rng(0).integers(-200, 300, grid.shape).astype(np.int16)
    labels = np.zeros(grid.shape, np.uint8)
    labels[20:60, 80:160, 80:160] = 1
    write_volume(folder / "new.nii.gz", Volume(hu, grid))
    write_labels(folder / "labels.nii.gz", Volume(labels, grid))
    start = time.perf_counter()
    store.add_case(folder / "new.nii.gz")
    middle = time.perf_counter()
    store.add_labels("new", folder / "labels.nii.gz", LabelFacts("expert", ("liver",)))
    return {"add a scan": middle - start, "add a label map": time.perf_counter() - middle}


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with open_store(folder / "store", create=True) as store:
            fill(store, arguments.cases)
            patients = [f"patient_{n}" for n in range(0, arguments.cases // 2, 10)]
            store.freeze_hold_out(patients)
            asked = {w: quickest(ask, arguments.repeats) for w, ask in questions(store).items()}
            other = additions(store, folder)
        start = time.perf_counter()
        command = [sys.executable, "-m", "flare_core", "cases", "list", "--limit", "100"]
        subprocess.run([*command, "--store", folder / "store"], check=True, capture_output=True)
        other["flare cases list --limit 100, with its start"] = time.perf_counter() - start
        size = (folder / "store" / "catalogue.sqlite").stat().st_size
    print(f"{arguments.cases} cases, 2 label versions each; catalogue {size / 2**20:.1f} MiB")
    print(f"{'':45s} {'answer':>7s} {'clock s':>9s} {'processor s':>12s}")
    for what, (answer, clock, processor) in asked.items():
        print(f"{what:45s} {answer:7d} {clock:9.4f} {processor:12.4f}")
    for what, clock in other.items():
        print(f"{what:45s} {'':7s} {clock:9.4f}")
    slow = [what for what, (_, _, processor) in asked.items() if processor > LIMIT_S]
    print(f"above {LIMIT_S:g} s: {', '.join(slow) or 'nothing'}")
    if arguments.json:
        numbers = {what: clock for what, (_, clock, _) in asked.items()} | other
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
