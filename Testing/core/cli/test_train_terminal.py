"""A terminal that is closed, or a reader that leaves, costs a training no step."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.loop import CHECKPOINT
from tiny_training import make_cases, tiny_config, write_config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")

ROOT = Path(__file__).parents[3]
LONG = 100_000
"""Steps of a run that nobody waits for."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of trainings that were left, each in the folder of its name."""
    folder = tmp_path_factory.mktemp("left")
    config = tiny_config(make_cases(folder / "data"), validate_every=0)
    phase = replace(config.phases[0], steps=LONG)
    path = write_config(folder / "train.json", replace(config, phases=(phase,)))
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "Testing")))
    done = subprocess.run(
        [sys.executable, "-m", "left_trainings", str(path), str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def steps_of(run: Path) -> int:
    steps: int = load_checkpoint(run / CHECKPOINT)["progress"]["total_steps"]
    return steps


def test_a_closed_terminal(runs: Path) -> None:
    assert 2 <= steps_of(runs / "closed_terminal") < LONG


def test_a_reader_that_leaves(runs: Path) -> None:
    assert 2 <= steps_of(runs / "reader_that_leaves") < LONG
