from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FAKE, four
from flare_core.errors import Cancelled, InputError
from flare_core.jobs.one_case import Caller, Job, run_case
from flare_core.jobs.outputs import output_paths
from flare_core.segment.settings import Settings


def job(folder: Path, name: str = "a.nrrd", **changes) -> Job:
    """Return the case `a` with its outputs in `folder`."""
    return replace(Job("a", Path(name), output_paths(folder, "a")), **changes)


def test_steps_and_files(tmp_path):
    steps = []
    result = run_case(job(tmp_path), Settings(), FAKE, Caller(steps.append))
    assert set(os.listdir(tmp_path)) == four("a")
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert (steps[0].stage, steps[-1].stage) == ("reading the scan", "done")
    timings = result.segmentation.timings
    assert result.seconds == timings["case"] >= timings["read"] + timings["write"]


def test_only_what_is_wanted_is_written(tmp_path):
    result = run_case(job(tmp_path, outputs=("statistics",)), Settings(), FAKE, Caller())
    assert set(result.files) == {"statistics_csv", "statistics_json"}
    assert set(os.listdir(tmp_path)) == {"a_statistics.csv", "a_statistics.json"}


def test_the_scan_is_read_while_the_model_loads(tmp_path):
    """Each waits for the other to begin, so one after the other would never end."""
    together = threading.Barrier(2)

    def read(path, series):
        together.wait(5)
        return FAKE.read(path, series)

    engine = replace(FAKE, read=read, preload=lambda chosen: together.wait(5))
    run_case(job(tmp_path), Settings(), engine, Caller())
    assert set(os.listdir(tmp_path)) == four("a")


def test_a_bad_scan_is_told_before_a_bad_model(tmp_path):
    def no_model(chosen):
        raise InputError("--model", "none", "a model", "Choose one.")

    engine = replace(FAKE, preload=no_model)
    with pytest.raises(InputError, match="truncated"):
        run_case(job(tmp_path, "bad.nrrd"), Settings(), engine, Caller())
    with pytest.raises(InputError, match="--model"):
        run_case(job(tmp_path), Settings(), engine, Caller())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("stage", ["reading the scan", "localiser", "organs"])
def test_a_cancellation_at_any_stage_leaves_nothing(tmp_path, stage):
    seen = []
    caller = Caller(lambda step: seen.append(step.stage), lambda: stage in seen)
    with pytest.raises(Cancelled):
        run_case(job(tmp_path), Settings(), FAKE, caller)
    assert os.listdir(tmp_path) == []
    assert "writing" not in seen
