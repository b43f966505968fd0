"""The harnesses of Testing/force: each can fail, their seeds are right, and a short run is clean.

The long run is `make force`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core.errors import InputError
from force import counts
from force.children import Harm, complaint, judged, plain_verdict
from force.harnesses import READERS
from force.hostile import MARK, gadgets, guarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and memory of Linux")

TESTING = Path(__file__).parents[1]


def force(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, as it forks."""
    return subprocess.run(
        [sys.executable, "-m", "force", *words],
        cwd=TESTING,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTING.parent}:{TESTING}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_counts_add_up() -> None:
    both = counts.one("right") + counts.one("lost", "how", "why")
    assert (both.tried, both.right, both.lost, both.good) == (2, 1, 1, False)
    assert both.failures == ("lost: why [how]",)
    with pytest.raises(ValueError, match="add up"):
        counts.Counts(tried=2, right=1)
    assert "why [how]" in counts.table({"x": both})


@pytest.mark.parametrize("name", sorted(READERS))
def test_an_unspoilt_input_is_right(name: str, tmp_path: Path) -> None:
    assert plain_verdict(READERS[name], tmp_path / "in") == ("right", "")


def test_verdicts() -> None:
    def fails(error: BaseException) -> None:
        raise error

    assert judged(lambda: fails(InputError("a", "b", "c", "d")))[0] == "clear"
    assert complaint(("a", " ", "c", "d"))[0] == "unclear"
    assert judged(lambda: fails(KeyError("x")))[0] == "unclear"
    assert judged(lambda: fails(Harm("x"))) == ("lost", "x")
    assert complaint(("a", "b\0", "c", "d"))[0] == "unclear"
    assert complaint(("a", "b" * 5000, "c", "d"))[0] == "unclear"


def test_a_gadget_would_run_and_is_seen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mark = tmp_path / "in" / MARK
    data = gadgets(str(mark))["open"]

    def careless(path: Path) -> None:
        pickle.loads(data)  # noqa: S301 - the point of the test

    with pytest.raises(Harm, match=MARK):
        guarded(careless)(tmp_path / "in" / "x.pkl")


KILLED = """
import sys, pathlib
from force.budget import Budget
from force.counts import table
from force.killing import Scene, kill
def prepare(folder): (folder / "out").mkdir()
def work(folder):
    part = folder / "out" / "part"
    part.write_text("x"); part.rename(folder / "out" / "name")
def again(folder, chance): (folder / "out" / "name").write_text("x")
def check(folder, after): return ""
scene = Scene("x", prepare, work, again, check)
found = kill("x", scene, Budget(20, 12), pathlib.Path(sys.argv[1]))
print(found.tried, found.left > 0, found.right > 0)
"""


def test_a_careless_command_is_caught(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=TESTING, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{TESTING.parent}:{TESTING}"}, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["12", "True", "True"], done.stderr


def test_a_short_run_is_clean() -> None:
    done = force("--short")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
