from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_core.train.rounds.status import curves

STEP = {"event": "step", "step": 1, "loss": 0.5, "phase_fraction": 0.25, "run_seconds_left": 9.0}
SCORE = {"event": "validation", "step": 1, "dsc": {"liver": 0.75}}


@pytest.mark.parametrize("spoilt", ["loss", "phase_fraction", "run_seconds_left"])
def test_a_line_that_lacks_something_is_no_point(tmp_path: Path, spoilt: str) -> None:
    worse = {key: value for key, value in STEP.items() if key != spoilt}
    other = STEP | {spoilt: ["x"]}
    dsc = ({"liver": "high"}, [0.5], {"liver": float("nan")}, None)
    odd = [SCORE | {"dsc": each} for each in dsc]
    lines = [STEP, SCORE, worse, other, *odd, {"event": "validation"}, [1], "x"]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert curves(log) == {
        "loss": [[1, 0.5]],
        "dsc": [[1, {"liver": 0.75}]],
        "fraction": 0.25,
        "seconds_left": 9.0,
    }
