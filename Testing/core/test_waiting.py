"""How threads wait is said before torch is loaded, unless somebody has said it already."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flare_core.processes import ROOT

SHOW = "import os, sys, flare_core; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"


def policy(given: dict[str, str]) -> list[str]:
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    python = [sys.executable, "-c", SHOW]
    run = subprocess.run(
        python, env={**rest, **given}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_waiting_threads_sleep_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    assert policy(given) == [expected, "False"]
