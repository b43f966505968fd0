from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from flare_core.train.log import LOG, LogTail, RunLog


def test_facts_are_appended_and_told(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        RunLog(path, told.append).tell({"event": "step", "loss": 0.5, "dsc": {"liver": 0.9}})
    facts = {"event": "step", "loss": 0.5, "dsc": {"liver": 0.9}}
    assert LogTail(path).read() == told == [facts] * 2


def test_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    path = tmp_path / "log.jsonl"
    RunLog(path, told.append).tell({"loss": math.nan, "left": math.inf, "step": 3})
    assert json.loads(path.read_text(), parse_constant=lambda _: 1 / 0) == told[0]
    assert told[0] == {"loss": None, "left": None, "step": 3}


def test_a_line_that_a_kill_cut_short_is_closed_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 20}\n{"step": 4')
    RunLog(path, lambda _: None).tell({"step": 60})
    assert LogTail(path).read() == [{"step": 20}, {"step": 60}]
    RunLog(path, lambda _: None)
    assert path.read_text().count("\n") == 3  # a whole log is not touched


def test_an_empty_log_is_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.touch()
    RunLog(path, lambda _: None)
    assert not path.read_text()


def test_lines_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / LOG
    path.write_bytes(b'{"event": "step"}\n7\n' + b"[" * 100_000 + b"\n\xff\n")
    assert LogTail(path).read() == [{"event": "step"}]
