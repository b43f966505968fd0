"""Eight writers and others, killed at random moments: a few; `make force` does it for long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="os.fork")
SYNCED = True

TESTING = Path(__file__).parents[2]

RUN = """
import sys, pathlib
from force.counts import table
from force.kill_store import run
found = run(10, int(sys.argv[2]), pathlib.Path(sys.argv[1]))
print(table({"kill-store": found}))
sys.exit(not (found.good and found.tried == 10))
"""


def test_ten_kills_lose_nothing_and_leave_nothing(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), "7"], cwd=TESTING,
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{TESTING.parent}:{TESTING}", "OMP_NUM_THREADS": "1"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
