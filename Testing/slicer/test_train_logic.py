"""The logic with real processes: a small round is started, followed, promoted, undone."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from FLARESegLib.models.choices import model_choices
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run.child_process import ThreadedChild
from FLARETrainLib.comparison.rows import cells, compared
from FLARETrainLib.logic import FLARETrainLogic, rows_of
from FLARETrainLib.run.processes import Answer, ShortProcess
from FLARETrainLib.run.request import RunRequest
from FLARETrainLib.run.watch import RunFiles

from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.models.in_use import put_in_use
from flare_core.train.config_file import load_config

SECONDS = 240


def wait(loop: PlainLoop, condition, what: str = "it"):
    for _ in range(int(SECONDS / 0.05)):
        if found := condition():
            return found
        loop.pump(0.05)
    raise AssertionError(f"{what} never happened")


def short_phases(student: Path) -> tuple:
    """The student's only phase with as few steps as give one point of each curve."""
    phase = load_config(student).phases[0]
    return (replace(phase, steps=20),)


class Asked:
    """Keeps the answer of a command."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def __call__(self, answer: Answer) -> None:
        self.answers.append(answer)


@pytest.fixture
def loop():
    return PlainLoop()


def make_logic(folder: Path, loop: PlainLoop, command=None) -> FLARETrainLogic:
    home = open_home(folder / "home")
    return FLARETrainLogic(home, loop, command) if command else FLARETrainLogic(home, loop)


def test_a_round_from_start_to_promotion(tmp_path, loop):
    """A tiny student learns in seconds; most of the time is torch being loaded."""
    import rounds_world as world

    store = world.make_store(tmp_path)
    student = world.student(tmp_path, phases=short_phases(world.student(tmp_path)))
    logic = make_logic(tmp_path, loop)
    request = RunRequest("mine", store, "", strategy="confident", minutes=5.0, student=student)
    run = logic.start(request)
    assert logic.runs(store) == (run,) and logic.runs(tmp_path / "other") == ()
    wait(loop, lambda: logic.state(run).status in ("done", "failed"), "the end")
    assert logic.state(run).status == "done", logic.last_words(run)
    view = RunFiles(run).look()
    assert view.curves[0].loss and view.curves[0].dsc and view.fraction == 1.0
    assert compared(view.verdicts[0][1])[0].new_dsc > 0 and not view.promotions
    promoting = Asked()
    logic.promote(run, 1, promoting)
    wait(loop, lambda: promoting.answers, "the promotion")
    assert promoting.answers[0].good, promoting.answers[0].errors
    assert logic.in_use("mine") == "mine@1.0.0" and not logic.can_roll_back("mine")
    assert "mine@1.0.0" in [choice.name for choice in model_choices(logic.home)]
    with pytest.raises(InputError):
        logic.roll_back("mine")


def test_stop_and_resume_are_commands_too(tmp_path, loop):
    """Stopping is asked for by a file that the run looks for; resuming starts a new process."""
    from flare_core.train.rounds.settings import RoundSettings
    from flare_core.train.rounds.state import create_run

    run = create_run(tmp_path / "runs" / "r", RoundSettings("mine", "store", "s.json"), "", {}).path
    words: list[list[str]] = []

    def command(asked) -> list[str]:
        words.append(list(asked))
        return [sys.executable, "-c", "print('Asked to stop.')"]

    logic, asked = make_logic(tmp_path, loop, command), Asked()
    logic.stop(run, asked)
    assert wait(loop, lambda: asked.answers)[0].good
    logic.resume(run)
    wait(loop, lambda: "Asked" in (run / "process.jsonl").read_text("utf-8"), "the process")
    assert words == [
        ["rounds", "stop", str(run)],
        ["rounds", "resume", str(run), "--progress", "json"],
    ]


def test_going_back_needs_no_process(tmp_path, loop):
    logic = make_logic(tmp_path, loop)
    for model in ("mine@1.0.0", "mine@1.1.0"):
        put_in_use(logic.home, "mine", model)
    assert logic.can_roll_back("mine") and logic.roll_back("mine") == "mine@1.0.0"
    assert logic.in_use("mine") == "mine@1.0.0" and logic.in_use("other") == ""


def test_what_the_process_finds_wrong_is_told(tmp_path, loop):
    """The command ends before there is a run: what it said is kept, and it can be tried again."""
    code = "import sys; sys.exit('no hold-out yet')"
    logic = make_logic(tmp_path, loop, lambda words: [sys.executable, "-c", code])
    run = logic.startRun(name="mine", store=tmp_path / "store", minutes=1)
    wait(loop, lambda: logic.state(run).status == "failed", "the failure")
    assert "no hold-out" in logic.last_words(run)
    logic.resume(run)
    wait(loop, lambda: logic.last_words(run).count("no hold-out") == 2, "the second failure")


def test_a_command_answers_once_and_never_blocks(loop):
    asked = Asked()
    process = ShortProcess(ThreadedChild(loop), asked)
    code = "import sys; print('out'); sys.exit('err')"
    process.start([sys.executable, "-c", code])
    assert asked.answers == []
    answer = wait(loop, lambda: asked.answers)[0]
    assert (answer.code, answer.output.strip(), answer.errors) == (1, "out", "err")
    assert not answer.good


def test_a_program_that_is_not_there_is_an_answer_too(tmp_path, loop):
    logic = make_logic(tmp_path, loop, lambda words: [str(tmp_path / "nothing"), *words])
    asked = Asked()
    logic.ask(["rounds", "stop", "x"], asked)
    answer = wait(loop, lambda: asked.answers)[0]
    assert answer.code is None and answer.errors


def test_shutdown_ends_short_commands_and_tells_nobody(tmp_path, loop):
    code = "import time; time.sleep(60)"
    logic = make_logic(tmp_path, loop, lambda words: [sys.executable, "-c", code])
    asked = Asked()
    logic.ask(["x"], asked)
    logic.shutdown()
    loop.pump(0.3)
    assert asked.answers == []


def test_rows_of_a_command(tmp_path, loop):
    rows = [{"case": "una", "reason": "liver"}, "no row"]
    code = f"print({json.dumps(json.dumps(rows))})"
    logic = make_logic(tmp_path, loop, lambda words: [sys.executable, "-c", code])
    found: list = []
    logic.next_cases(tmp_path, found.extend)
    assert wait(loop, lambda: found) == [rows[0]]
    assert rows_of(Answer(0, "{", "")) == rows_of(Answer(0, "3", "")) == []


def test_old_against_new_has_the_means_first_and_says_what_fell():
    changes = [
        {"organ": "liver", "metric": "dsc", "cases": 3, "old": 0.9, "new": 0.95, "low": 0.0,
         "high": 0.1, "worse": ""},
        {"organ": "liver", "metric": "nsd", "cases": 3, "old": 0.9, "new": 0.7, "low": -0.3,
         "high": -0.1, "worse": "fell by 0.200"},
    ]  # fmt: skip
    verdict = {"changes": changes, "old": {"dsc": 0.9, "nsd": 0.9}, "new": {"dsc": 0.95}}
    means, liver = compared(verdict)
    assert means.change == pytest.approx(0.05) and means.new_nsd is None
    assert liver.title == "Liver" and liver.worse == "fell by 0.200" and liver.old_nsd == 0.9
    assert cells(liver)[3] == "+0.050" and compared({}) == ()


def test_a_first_model_has_nothing_to_be_compared_with():
    (means,) = compared({"changes": [], "old": None, "new": {"dsc": 0.8, "nsd": 0.7}})
    assert means.old_dsc is None and means.change is None and cells(means)[1] == ""


@pytest.mark.parametrize(
    "name",
    [
        "cases.rows",
        "comparison.rows",
        "logic",
        "run.error_words",
        "run.processes",
        "run.request",
    ],
)
def test_examples_in_the_documentation_are_true(name):
    result = doctest.testmod(importlib.import_module(f"FLARETrainLib.{name}"))
    assert result.attempted and not result.failed
