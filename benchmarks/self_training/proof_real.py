"""One self-training run on real scans: few labelled, the rest not, numbers as they are.

    python benchmarks/self_training/proof_real.py FOLDER [--data ../shared/data] [--steps 1500]

The labels of ../shared/data come from a public network (see its README); here those of three
patients stand in for an expert's, those of four patients are the hold-out's, and the others are
left aside. The network is the large one of `proof.py` (5 x 4 x 4 mm), trained from nothing in both
rounds: the numbers compare old with new and say nothing about the default model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import proof

from flare_core.cases.store import LabelFacts, open_store
from flare_core.datasets.case import Case, cases_of_folder
from flare_core.imaging.files import read_labels, write_labels
from flare_core.train.rounds.pseudo_labels import only
from flare_core.train.rounds.run import run_rounds, start_rounds
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import RunFolder

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LABELLED = ("hcc005", "hcc009", "acrin001")
HELD_OUT = ("hcc002", "hcc015", "acrin042", "cptac189")
"""Patients; chosen by hand so that both parts hold scans with and without contrast."""


def main() -> None:
    """Run the rounds, or go on with them, and print what came of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=proof.STEPS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    run = folder / "run"
    if not (run / "state.json").exists():
        make_store(folder, arguments.data)
        student = proof.write_configs(folder, arguments.steps)["large"]
        start_rounds(run, settings(folder, student))
    if RunFolder(run).state.status != "done":
        run_rounds(run, report=lambda facts: print(facts, flush=True))
    print(result_text(run))


def make_store(folder: Path, data: Path) -> None:
    """Fill a case store: labels of few patients, a hold-out, the other scans bare."""
    cases = cases_of_folder(data)
    with open_store(folder / "store", create=True) as store:
        for case in cases:
            store.add_case(case.image, name=case.name, patient=case.patient, link=True)
            labelled = case.patient in (*LABELLED, *HELD_OUT)
            if labelled and case.labels is not None and not store.versions(case.name):
                _add_labels(folder, store, case)
        store.freeze_hold_out(HELD_OUT)


def settings(folder: Path, student: str) -> RoundSettings:
    """Return the run: a first teacher on the labelled, then one round with the unlabelled."""
    return RoundSettings(
        "proof-real",
        str((folder / "store").resolve()),
        student,
        rounds=2,
        strategy=dict(proof.ROWS["confident"][1]),
        students_teach=True,
        promote=False,
        home=str((folder / "home").resolve()),
        device="cpu",
        threads=1,
    )


def result_text(run: Path) -> str:
    """Return old and new of each round, organ by organ."""
    lines = []
    folder = RunFolder(run)
    for number in range(1, folder.settings.rounds + 1):
        verdict = folder.round(number).read("verdict")
        taken = sum(row["accepted"] for row in folder.round(number).read("decisions") or [])
        if verdict is None:
            continue
        lines.append(f"round {number}: {taken} unlabelled scans taken; {verdict['reason']}")
        for row in verdict["changes"]:
            if row["metric"] == "dsc":
                lines.append(f"  {row['organ']:20s} {row['old']:.3f} -> {row['new']:.3f}")
    return "\n".join(lines)


def _add_labels(folder: Path, store: object, case: Case) -> None:
    """Add a case's labels as an expert's, without the organs that the small network leaves out."""
    assert case.labels is not None
    volume = read_labels(case.labels)
    path = folder / f"{case.name}-labels.nii.gz"
    write_labels(path, volume.with_array(only(volume.array, proof.ORGANS)), like=case.labels)
    facts = proof.truth_facts(path)
    facts = LabelFacts(
        "expert", facts.annotated, author="another network, as a stand-in", absent=facts.absent
    )
    store.add_labels(case.name, path, facts)  # type: ignore[attr-defined]
    path.unlink()


if __name__ == "__main__":
    main()
