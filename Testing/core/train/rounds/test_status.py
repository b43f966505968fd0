"""What a run's folder says: every row is read as what it is, or named with its field."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flare_core.errors import InputError
from flare_core.report.rounds import rounds_page
from flare_core.train.log import LogTail
from flare_core.train.rounds.comparison import CaseScores, Change, Verdict
from flare_core.train.rounds.state import RunFolder, create_run
from flare_core.train.rounds.status import Curve, RunReader, run_status, view_of_run
from flare_core.train.strategies.candidate import (
    CaseEvidence,
    Decision,
    OrganEvidence,
    read_evidence,
    write_evidence,
)
from rounds_world import settings

STEP = {"event": "step", "step": 1, "loss": 0.5, "phase_fraction": 0.25, "run_seconds_left": 9.0}
SCORE = {"event": "validation", "step": 1, "dsc": {"liver": 0.75}}


def test_a_training_of_two_phases_is_not_done_after_the_first():
    curve = Curve(1, 0)
    done = []
    for phase, part, whole in ((0, 1.0, 0.75), (1, 0.5, 0.875), (1, 4.8, math.nan)):
        told = {"phase": phase, "phase_fraction": part, "run_fraction": whole}
        curve.add(STEP | told)
        done.append(curve.fraction)
    assert done == [0.75, 0.875, 1.0]


@pytest.mark.parametrize("spoilt", ["loss", "phase_fraction", "run_seconds_left"])
def test_a_line_that_lacks_something_is_no_point(tmp_path: Path, spoilt: str) -> None:
    worse = {key: value for key, value in STEP.items() if key != spoilt}
    other = STEP | {spoilt: ["x"]}
    dsc = ({"liver": "high"}, [0.5], {"liver": float("nan")}, None)
    odd = [SCORE | {"dsc": each} for each in dsc]
    lines = [STEP, SCORE, worse, other, *odd, {"event": "validation"}, [1], "x"]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    curve = Curve(1, 0)
    for facts in LogTail(log).read():
        curve.add(facts)
    assert curve.points() == {
        "loss": [[1, 0.5]],
        "dsc": [[1, {"liver": 0.75}]],
        "fraction": 0.25,
        "seconds_left": 9.0,
    }


def test_phases_count_on_and_a_resume_takes_back() -> None:
    curve = Curve(1, 0)
    for phase, at, loss in ((0, 20, 0.7), (0, 40, 0.6), (1, 20, None), (10**9, 60, 0.1)):
        curve.add(STEP | {"phase": phase, "step": at, "loss": loss})
    assert curve.loss == [(20, 0.7), (40, 0.6), (60, None)]
    assert curve.finite_loss == [(20, 0.7), (40, 0.6)]
    curve.add({"event": "resume", "total_steps": 40})
    assert curve.loss == [(20, 0.7), (40, 0.6)]


def test_looking_writes_nothing(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", settings(tmp_path), "teacher", {"student": "{}"})
    run.begin(1, "predict")
    before = sorted(run.path.rglob("*"))
    assert RunReader(run.path).look().state.round == 1
    (only,) = view_of_run(run.path)["details"]
    assert (only["predicted"], only["accepted"], only["verdict"]) == (0, 0, None)
    assert sorted(run.path.rglob("*")) == before


def test_a_damaged_file_is_told_and_the_rest_still_shown(run: RunFolder) -> None:
    run.round(1).write("verdict", ["no verdict"])
    view = RunReader(run.path).look()
    assert view.verdicts == () and view.state.stage == "promote"
    assert view.damage is not None and "verdict.json" in view.damage.parts[0]
    with pytest.raises(InputError, match=r"verdict\.json"):
        run_status(run.path)


EVIDENCE = CaseEvidence(
    "a", "tiny@1", {"liver": OrganEvidence(1500.0, 0.9, pieces=1)}, 0.1, {"spleen": "small"},
    {"body_ml": 5.0}, ("a note",),
)  # fmt: skip
DECISION = Decision("a", True, ("liver",), 0.5, "1 of 2", {"spleen": "not found"})
VERDICT = Verdict(
    True, "better", (Change("liver", "dsc", 3, 0.8, 0.9, 0.0, 0.2),), {"dsc": 0.8}, {"dsc": None}
)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(asdict(value)))


ROWS = {
    "candidates": [plain(EVIDENCE)],
    "decisions": [plain(DECISION)],
    "verdict": plain(VERDICT),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = create_run(tmp_path / "run", settings(tmp_path), "teacher", {"student": "{}"})
    run.begin(1, "promote")
    for name, rows in ROWS.items():
        run.round(1).write(name, rows)
    return run


def test_what_was_written_comes_back(run: RunFolder, tmp_path: Path) -> None:
    write_evidence(tmp_path / "a.json", EVIDENCE)
    assert read_evidence(tmp_path / "a.json") == EVIDENCE
    assert Decision.from_json(plain(DECISION)) == DECISION
    assert Verdict.from_json(plain(VERDICT)) == VERDICT
    (round_1,) = json.loads(json.dumps(view_of_run(run.path)))["details"]
    assert (round_1["evidence"], round_1["decisions"]) == (ROWS["candidates"], ROWS["decisions"])


def spoilt() -> list[tuple[str, str, Any]]:
    """Each field of each row in turn, given a value of another type or taken away."""
    found = []
    for name, rows in ROWS.items():
        for key in rows[0] if isinstance(rows, list) else rows:
            for value in (7, "text", [[]], {"x": []}, None, ...):
                changed = copy.deepcopy(rows)
                row = changed[0] if isinstance(changed, list) else changed
                if value is ...:
                    del row[key]
                else:
                    row[key] = value
                if changed != rows:
                    found.append((name, f"{key} = {value}", changed))
    return found


def test_a_spoilt_field_is_named_or_harmless(run: RunFolder) -> None:
    refused = 0
    for name, what, rows in spoilt():
        run.round(1).write(name, rows)
        try:
            rounds_page(view_of_run(run.path))
        except InputError as error:  # nothing else may come
            assert error.parts[0].startswith((str(run.path), name, "evidence", "decision")), what
            refused += 1
        run.round(1).write(name, ROWS[name])
    assert refused > 60


def test_evidence_and_scores_that_are_no_text(tmp_path: Path) -> None:
    for data in (b"\xff\xfe", b"[", b"[]", b'{"case": "a"}'):
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.json"):
            read_evidence(tmp_path / "a.json")


def test_scores_of_a_case_are_checked_to_the_last_number() -> None:
    from flare_core.json_fields import decode

    good = {"case": "a", "patient": "p", "organs": {"liver": {"dsc": 1}}}
    assert decode(CaseScores, good, "x").organs == {"liver": {"dsc": 1.0}}
    for organs in ([], {"liver": 1}, {"liver": {"dsc": "high"}}, {"liver": {"dsc": None}}):
        with pytest.raises(InputError, match="organs"):
            decode(CaseScores, good | {"organs": organs}, "x")
