"""The program that compares the tests' CPU seconds of two commits counts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from suite_time import compared, seconds_of

TESTING = Path(__file__).parents[1]
SPENDS = """
import time, pytest
@pytest.mark.parametrize("n", [1, 2])
def test_spends(n):
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
def test_rests(): pass
"""


def test_each_test_has_its_seconds_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(SPENDS, "utf-8")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "suite_time", "--junitxml", "j.xml"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTING)}, check=True,
        capture_output=True,
    )  # fmt: skip
    found = seconds_of((tmp_path / "j.xml").read_text("utf-8"))
    assert found["test_x::test_spends"] > 0.39 > 0.1 > found["test_x::test_rests"]


def test_tests_of_both_alone_are_summed() -> None:
    then = Counter({"a::x": 8.0, "a::y": 2.0, "a::gone": 100.0})
    now = Counter({"a::x": 1.0, "a::y": 4.0, "a::new": 100.0})
    told = compared(then, now)
    assert told.startswith("2 tests are in both: 10.0 CPU s then, 5.0 now (50 %)")
    assert told.splitlines()[2].endswith("a::x")


def test_a_test_whose_file_is_called_otherwise_is_still_the_same() -> None:
    then = Counter({"rounds::x": 8.0, "rounds::y": 2.0})
    now = Counter({"run::x": 2.0, "run::y": 1.0, "loop::y": 1.0})
    assert compared(then, now).startswith("1 tests are in both: 8.0 CPU s then, 2.0 now (25 %)")
