"""A terminal that is closed, or a reader that leaves, costs a training no step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.train.checkpoint import load_checkpoint
from flare_core.train.loop import CHECKPOINT
from tiny_training import make_cases, tiny_config, write_config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")

CODE = (
    "import sys; from flare_core import cli; from flare_core.train import loop; "
    "loop.REPORT_EVERY = 2; sys.exit(cli.main(sys.argv[1:]))"
)
LONG = 100_000
"""Steps of a run that nobody waits for."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    config = tiny_config(make_cases(tmp_path / "data"), validate_every=0)
    phase = replace(config.phases[0], steps=LONG)
    path = write_config(tmp_path / "train.json", replace(config, phases=(phase,)))
    return [sys.executable, "-c", CODE, "train", str(path), "-o", str(tmp_path / "run")]


def steps_of(folder: Path) -> int:
    steps: int = load_checkpoint(folder / "run" / CHECKPOINT)["progress"]["total_steps"]
    return steps


def test_a_closed_terminal(command: list[str], tmp_path: Path) -> None:
    """The system tells of it, the shell again, and whatever is printed then fails."""
    child, terminal = os.forkpty()
    if child == 0:
        os.execv(command[0], command)
    said = b""
    while b"step 2 " not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)  # the first SIGHUP
    end = time.monotonic() + 120
    while os.waitpid(child, os.WNOHANG) == (0, 0):  # the shell's, and again
        os.kill(child, signal.SIGHUP)
        assert time.monotonic() < end
        time.sleep(0.02)
    assert 2 <= steps_of(tmp_path) < LONG


def test_a_reader_that_leaves(command: list[str], tmp_path: Path) -> None:
    words = [*command, "--progress", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while b'"step": 2,' not in process.stdout.readline():
            pass
        process.stdout.close()
        process.wait(120)
    assert 2 <= steps_of(tmp_path) < LONG
