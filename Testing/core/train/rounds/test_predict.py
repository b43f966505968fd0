"""Each scan is labelled once, wherever, over any number of restarts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import stub_models
from flare_core.errors import InputError
from flare_core.imaging.files import read_labels, write_labels
from flare_core.models.package import load_package
from flare_core.spread.here import in_processes
from flare_core.train.processes import ALONE, Processes
from flare_core.train.rounds.predict import (
    Elsewhere,
    PredictionJob,
    Predictor,
    earlier_maps,
    label_there,
    predict_all,
    predict_one,
    task_of,
    warm_predictor,
)
from flare_core.train.rounds.run import require_even, start_rounds
from flare_core.train.rounds.state import RoundFolder, RunFolder
from flare_core.train.strategies.candidate import read_evidence
from rounds_world import UNLABELLED, make_store, settings, student
from spread_cases import ending
from stub_models import ORGANS as STAGE
from stub_models import stub_package
from two_ranks import LAUNCH

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_store(folder)
    student(folder, batch_size=2)
    levels = {"background": 0.0, "liver": 120.0, "spleen": 60.0}
    stub_package(folder / "teacher", (STAGE,), levels)
    return folder


@pytest.fixture
def predictor(world: Path) -> Predictor:
    return Predictor(load_package(world / "teacher"), settings(world))


def jobs(world: Path) -> list[PredictionJob]:
    return [PredictionJob(name, world / f"{name}.nii.gz") for name in UNLABELLED]


def place(tmp_path: Path, number: int = 1) -> RoundFolder:
    folder = RoundFolder(tmp_path / f"round-{number:02d}", number)
    folder.predictions.mkdir(parents=True)
    return folder


def run(
    predictor: Predictor,
    work: Sequence[PredictionJob],
    folder: RoundFolder,
    processes: Processes = ALONE,
    tell: Any = lambda _: None,
) -> None:
    def do(job: PredictionJob) -> None:
        predict_one(predictor, job, folder, (), lambda _: None)

    predict_all(do, work, folder, model="stub-1.2.3", processes=processes, tell=tell)


def test_labels_and_evidence_of_every_scan(world, predictor, tmp_path):
    folder = place(tmp_path)
    told: list[dict[str, Any]] = []
    run(predictor, jobs(world), folder, tell=told.append)
    assert [row["done"] for row in told] == [0, 1, 2, 3]
    for name in UNLABELLED:
        labels = read_labels(folder.labels_of(name))
        assert {1, 3} <= set(labels.array.ravel().tolist())
        found = read_evidence(folder.evidence_of(name))
        assert found.case == name and found.model == "stub-1.2.3"
        assert found.organs["liver"].volume_plausible


def test_a_teacher_in_half_precision_that_the_processor_lacks_says_what_it_does(world):
    asked = replace(settings(world), device="cpu", precision="fp16")
    notes = Predictor(load_package(world / "teacher"), asked).notes
    assert len(notes) == 1 and "float32 was used instead" in notes[0]


class Second(Processes):
    """The second of two, which knows of the first one's list only."""

    def agree(self, value):
        return value


def test_processes_share_what_is_left_and_nothing_is_done_again(world, predictor, tmp_path):
    folder = place(tmp_path)
    second, told = Second(1, 2), list[dict[str, Any]]()
    run(predictor, jobs(world), folder, second)
    (mine,) = (name for name in UNLABELLED if folder.evidence_of(name).exists())
    assert mine == UNLABELLED[1]
    before = folder.evidence_of(mine).stat().st_mtime_ns
    run(predictor, jobs(world), folder, tell=told.append)
    assert all(folder.evidence_of(name).exists() for name in UNLABELLED)
    assert folder.evidence_of(mine).stat().st_mtime_ns == before
    assert [row["done"] for row in told] == [1, 2, 3]


def test_a_scan_that_cannot_be_read_does_not_stop_the_others(world, predictor, tmp_path):
    folder = place(tmp_path)
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    run(predictor, [PredictionJob("bad", bad), *jobs(world)[:1]], folder)
    found = read_evidence(folder.evidence_of("bad"))
    assert found.organs == {} and "bad.nii.gz" in found.notes[0]
    assert folder.evidence_of(UNLABELLED[0]).exists() and not folder.labels_of("bad").exists()


def test_rounds_are_compared_with_the_ones_before(world, predictor, tmp_path):
    first, second = place(tmp_path, 1), place(tmp_path, 2)
    job = jobs(world)[0]
    predict_one(predictor, job, first, (), lambda _: None)
    predict_one(predictor, job, second, (first,), lambda _: None)
    found = read_evidence(second.evidence_of(job.case))
    assert found.disagreement == 0 and found.organs["liver"].disagreement == 0
    assert read_evidence(first.evidence_of(job.case)).disagreement is None
    assert len(earlier_maps(job.case, (first, second, first))) == 2  # no more than are compared


def test_rounds_with_and_without_soft_maps_are_compared_cleaned(world, predictor, tmp_path):
    first, second = place(tmp_path, 1), place(tmp_path, 2)
    job = jobs(world)[0]
    predict_one(predictor, job, first, (), lambda _: None, soft=True)
    labels = read_labels(first.labels_of(job.case))
    speck = labels.array.copy()
    speck[-1, -1, -1] = 1  # clean-up took it away; the soft map's labels still have it
    write_labels(first.labels_of(job.case), labels.with_array(speck))
    predict_one(predictor, job, second, (first,), lambda _: None)
    assert read_evidence(second.evidence_of(job.case)).disagreement == 0


def test_a_batch_that_two_processes_cannot_share_is_refused_before_any_prediction(world, tmp_path):
    start_rounds(tmp_path / "run", settings(world, teacher=str(world / "teacher")))
    with pytest.raises(InputError, match="batch_size"):
        require_even(RunFolder(tmp_path / "run").settings, 3)
    require_even(RunFolder(tmp_path / "run").settings, 2)


def elsewhere(world: Path, tmp_path: Path, spread: Any) -> RoundFolder:
    """Label the scans in other processes."""
    start_rounds(tmp_path / "run", settings(world, teacher=str(world / "teacher"), threads=1))
    run, model = RunFolder(tmp_path / "run"), load_package(world / "teacher")
    task = replace(task_of(run, model, Elsewhere(spread)), round=1)
    folder = run.round(1)

    def stubbed(function, cases):
        return spread(partial(stub_models.do, function), cases)

    predict_all(
        partial(label_there, task),
        jobs(world),
        folder,
        model="stub-1.2.3",
        processes=ALONE,
        tell=lambda _: None,
        spread=stubbed,
    )
    return folder


def test_labels_of_other_processes_are_the_same_and_a_scan_that_ends_one_is_named(
    world, predictor, tmp_path
):
    dying = ending(in_processes(2), {"una": 2, "uwe": 1}, tmp_path / "tried")
    there, here = elsewhere(world, tmp_path, dying), place(tmp_path)
    run(predictor, jobs(world), here)
    for name in ("uwe", "ulla"):
        assert there.labels_of(name).read_bytes() == here.labels_of(name).read_bytes()
        assert there.evidence_of(name).read_bytes() == here.evidence_of(name).read_bytes()
    assert "2 times" in read_evidence(there.evidence_of("una")).notes[0]
    assert not there.labels_of("una").exists()


def test_a_process_keeps_one_model(world, tmp_path):
    start_rounds(tmp_path / "run", settings(world, teacher=str(world / "teacher"), threads=1))
    run, model = RunFolder(tmp_path / "run"), load_package(world / "teacher")
    task = task_of(run, model, Elsewhere(in_processes(2), threads=3))
    assert task.settings.threads == 1
    first = warm_predictor(task)
    assert warm_predictor(replace(task)) is first
    assert warm_predictor(replace(task, round=2, soft=True)) is first
    assert warm_predictor(replace(task, settings=settings(world))) is not first


def test_two_processes_share_a_run(world, tmp_path):
    """Under torchrun: every scan once, by either process, and one finished run."""
    chosen = settings(world, rounds=1, steps=4, teacher=str(world / "teacher"), threads=1)
    start_rounds(tmp_path / "run", chosen)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "Testing")))
    }
    done = subprocess.run(
        [sys.executable, *LAUNCH, "run_with_stub", str(tmp_path / "run")],
        env=environment, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    folder = RunFolder(tmp_path / "run").round(1)
    assert RunFolder(tmp_path / "run").state.status == "done"
    assert not (folder.path / "claims").exists()
    rows = json.loads((folder.path / "candidates.json").read_text("utf-8"))
    assert {row["case"] for row in rows} == set(UNLABELLED)
