"""What the panel reads of a run's folder, against the folders that the rounds really write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from FLARESegLib.qt.event_loop import PlainLoop
from FLARETrainLib.run.processes import FACTS, is_alive, start_detached
from FLARETrainLib.run.state import known_runs, read_state
from FLARETrainLib.run.texts import STAGES as STAGE_TEXTS
from FLARETrainLib.run.texts import STATUSES, numbers_line, status_line
from FLARETrainLib.run.watch import RunFiles, RunWatch, TrainingClock, WatchedRun

from flare_core.train.log import LogTail, RunLog
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import STAGES, create_run
from flare_core.train.rounds.status import Curve, RunState, run_status


@pytest.fixture
def run(tmp_path):
    """A run of two rounds that has not begun."""
    settings = RoundSettings(
        "mine", str(tmp_path / "store"), "s.json", rounds=2, strategy={"kind": "confident"}
    )
    return create_run(tmp_path / "runs" / "mine-1", settings, "", {})


def trained(run, number: int = 1) -> RunLog:
    folder = run.round(number).student(0)
    folder.mkdir(parents=True, exist_ok=True)
    return RunLog(folder / "log.jsonl", lambda facts: None)


def step(log: RunLog, at: int, loss: float, **more: object) -> None:
    facts = {"phase": 0, "phase_fraction": 0.25, "run_seconds_left": 90.0}
    log.tell({"event": "step", "step": at, "loss": loss, **facts, **more})


def test_all_stages_of_the_rounds_have_words():
    assert set(STAGE_TEXTS) == set(STAGES)


def test_a_new_run_is_ready(run):
    state = read_state(run.path)
    assert (state.name, state.status, state.rounds) == ("mine", "ready", 2)
    assert state.strategy == "confident" and state.fraction() == 0


def test_status_follows_the_run_as_its_own_command_tells_it(run):
    with run.owned():
        run.begin(1, "predict")
        state = read_state(run.path)
        assert state.status == run_status(run.path)["status"] == "running" and state.active
    assert read_state(run.path).status == run_status(run.path)["status"] == "interrupted"
    run.end("stopped", "on request")
    state = read_state(run.path)
    assert (state.status, state.message) == ("stopped", "on request")
    run.end("done", "All done.")
    assert read_state(run.path).fraction() == 1.0


def test_the_share_done_agrees_with_that_of_the_command(run):
    with run.owned():
        for name in STAGES[:4]:
            run.begin(1, name)
            run.finish(1, name)
        run.begin(1, "train")
        step(trained(run), 20, 0.7)
        view = RunFiles(run.path).look()
        assert view.fraction == pytest.approx(run_status(run.path)["fraction"], abs=1e-4)
        assert 0 < view.fraction < 0.5


def test_looking_takes_no_lock(run):
    """Looking must never keep the run itself from starting."""
    for _ in range(20):
        assert read_state(run.path).status != "running"
        with run.owned():
            assert read_state(run.path).status == "running"


def test_a_process_that_is_only_starting_is_told_from_one_that_failed(run, tmp_path):
    folder = tmp_path / "runs" / "new"
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps({"name": "new", "rounds": 3}), "utf-8")
    facts = {"pid": os.getpid(), "started": datetime.now(timezone.utc)}
    (folder / FACTS).write_text(json.dumps(facts, default=lambda t: t.isoformat()), "utf-8")
    assert read_state(folder).status == "starting" and read_state(folder).name == "new"
    old = facts | {"started": "2020-01-01T00:00:00+00:00"}
    (folder / FACTS).write_text(json.dumps(old), "utf-8")
    assert read_state(folder).status == "failed"


def test_runs_are_found_newest_first_and_other_folders_are_not(run, tmp_path):
    newer = tmp_path / "runs" / "newer"
    newer.mkdir()
    (newer / "request.json").write_text("{}", encoding="utf-8")
    os.utime(run.path / "settings.json", (1, 1))
    (tmp_path / "runs" / "nothing").mkdir()
    assert known_runs(tmp_path / "runs") == (newer, run.path)
    assert known_runs(tmp_path / "nowhere") == ()


def test_curves_grow_by_what_is_new(run):
    run.begin(1, "train")
    log, files = trained(run), RunFiles(run.path)
    step(log, 20, 0.7)
    log.tell({"event": "validation", "step": 20, "dsc": {"liver": 0.5, "spleen": None}})
    first = files.look().curves
    assert first[0].loss == [(20.0, 0.7)] and first[0].dsc == [(20.0, {"liver": 0.5})]
    step(log, 40, 0.6)
    assert files.look().curves[0].loss == [(20.0, 0.7), (40.0, 0.6)]


def test_a_training_that_goes_on_from_its_checkpoint_loses_the_points_after_it(run):
    run.begin(1, "train")
    log, files = trained(run), RunFiles(run.path)
    step(log, 20, 0.7)
    step(log, 40, 0.6)
    files.look()
    log.tell({"event": "resume", "phase": 0, "step": 20, "total_steps": 20})
    step(log, 40, 0.5)
    assert files.look().curves[0].loss == [(20.0, 0.7), (40.0, 0.5)]


def test_words_for_people(run):
    with run.owned():
        run.begin(1, "train")
        log = trained(run)
        step(log, 20, 0.7)
        log.tell({"event": "validation", "step": 20, "dsc": {"liver": 0.5, "spleen": 0.7}})
        view = RunFiles(run.path).look()
    assert status_line(view) == "Round 1 of 2, Training the student, about 2 min left"
    assert numbers_line(view) == "step 20: loss 0.700, mean DSC on held-out scans 0.600"
    run.end("failed", "the disk is full")
    assert status_line(RunFiles(run.path).look()) == "Failed. the disk is full"
    assert {"ready", "running", "stopped", "interrupted", "failed", "done"} <= set(STATUSES)


def test_a_new_list_of_what_to_look_at_next_is_noticed(run):
    """Teachers label scans before the training, a student without a teacher after it."""
    assert read_state(run.path).listed is None
    run.finish(1, "evidence")
    assert read_state(run.path).listed == (1, "evidence")
    for name in ("train", "review", "score"):
        run.finish(1, name)
    assert read_state(run.path).listed == (1, "review")


def test_scans_are_counted_from_what_the_process_prints(run):
    (run.path / "process.jsonl").write_text(
        '{"event": "begin", "round": 1}\n{"event": "predict", "done": 7, "total": 20}\n', "utf-8"
    )
    with run.owned():
        run.begin(1, "predict")
        assert "(7 of 20)" in status_line(RunFiles(run.path).look())
        with (run.path / "process.jsonl").open("a", encoding="utf-8") as stream:
            stream.write('{"event": "review", "done": 8, "total": 20}\n')
        run.begin(1, "review")
        assert "(8 of 20)" in status_line(RunFiles(run.path).look())


def test_verdicts_and_promotions_are_read(run):
    run.begin(1, "promote")
    run.round(1).write("verdict", {"promote": True, "reason": "better", "changes": []})
    run.round(1).write("promotion", {"model": "mine@1.0.0"})
    view = RunFiles(run.path).look()
    assert view.verdicts[0][0] == 1 and view.verdicts[0][1]["reason"] == "better"
    assert dict(view.promotions)[1]["model"] == "mine@1.0.0"


def test_half_a_line_waits_and_rubbish_is_left_out(tmp_path):
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.read() == []
    path.write_bytes(b'{"a": 1}\nno json\n[1]\n{"b"')
    assert tail.read() == [{"a": 1}]
    with path.open("ab") as stream:
        stream.write(b": 2}\n")
    assert tail.read() == [{"b": 2}]
    path.write_bytes(b'{"c": 3}\n')
    assert tail.read() == [{"c": 3}]


def test_damaged_files_do_not_end_the_watching(run):
    (run.path / "state.json").write_text("{", encoding="utf-8")
    assert read_state(run.path).status == "failed"
    (run.path / "state.json").write_bytes(b"\xff\xfe")
    assert RunFiles(run.path).look().state.status == "failed"


def test_watching_tells_again_and_again_until_it_is_closed(run):
    loop, seen = PlainLoop(), []
    watch = RunWatch(loop, every_s=0.01)
    watch.seen.connect(seen.append)
    watch.watch(run.path)
    for _ in range(200):
        loop.pump(0.02)
        if len(seen) > 2:
            break
    assert len(seen) > 2 and all(view.folder == run.path for view in seen)
    watch.close()
    count = len(seen)
    loop.pump(0.1)
    assert len(seen) == count and watch.folder is None


def test_a_process_outlives_whoever_started_it(tmp_path):
    """The starter ends at once; what it started goes on and writes into the run's folder."""
    worker = 'import time,sys; time.sleep(1); print(\'{"event": "alive"}\', flush=True)'
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path[:0] = {[str(p) for p in sys.path if p]!r}\n"
        "from FLARETrainLib.run.processes import start_detached\n"
        f"start_detached(Path({str(tmp_path)!r}), [sys.executable, '-c', {worker!r}])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    pid = json.loads((tmp_path / FACTS).read_text("utf-8"))["pid"]
    assert is_alive(pid)
    tail = LogTail(tmp_path / "process.jsonl")
    found = wait_for(tail.read)
    assert found == [{"event": "alive"}]


def test_a_process_is_no_more_once_it_has_ended(tmp_path):
    process = start_detached(tmp_path, [sys.executable, "-c", "raise SystemExit('Oh no')"])
    process.wait(60)
    assert not is_alive(process.pid)
    assert "Oh no" in (tmp_path / "process.log").read_text("utf-8")


def wait_for(ask, seconds: float = 60):
    loop = PlainLoop()
    for _ in range(int(seconds / 0.05)):
        if found := ask():
            return found
        loop.pump(0.05)
    raise AssertionError("it never happened")


def test_reading_needs_no_torch():
    """Slicer's own process must never load it."""
    code = (
        f"import sys; sys.path[:0] = {[str(p) for p in sys.path if p]!r}\n"
        "import FLARETrainLib.logic, FLARETrainLib.run.watch, FLARETrainLib.cases.rows\n"
        "import FLARETrainLib.comparison.rows, FLARETrainLib.cases.thumbnails\n"
        "import FLARETrainLib.run.texts\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- words and the clock


def test_a_start_does_not_repeat_why_it_stopped():
    """Resume: the state's message is from the stop before."""
    for kind, words in (
        ("starting", "Starting."),
        ("stopped", "Stopped; Resume goes on from there."),
        ("failed", "Failed. stopped on request"),
    ):
        state = RunState("mine", kind, message="stopped on request", rounds=1, folds=1)
        assert status_line(WatchedRun(Path("run"), state)) == words


def training(fraction: float | None, seconds_left: float = 100.0) -> tuple[Curve, ...]:
    if fraction is None:
        return ()
    return (Curve(1, 0, fraction=fraction, seconds_left=seconds_left),)


def test_the_bar_goes_on_between_two_lines_of_the_log():
    clock, state = TrainingClock(), RunState("m", "running", round=1, stage="train", folds=1)
    shares = [clock.share(state, training(0.2), now) for now in (0.0, 10.0, 50.0, 100.0, 900.0)]
    assert shares[0] == 0.2 and shares == sorted(shares) and len(set(shares[:4])) == 4
    assert shares[-1] < 1.0  # the clock alone never ends it
    assert clock.share(state, training(0.6), 901.0) == pytest.approx(0.6)


def test_the_bar_moves_before_the_first_line_too():
    clock, state = TrainingClock(), RunState("m", "running", round=1, stage="train", folds=2)
    assert clock.share(state, (), 5.0) == 0.0
    assert 0 < clock.share(state, (), 55.0) < clock.share(state, (), 105.0) < 0.05


def test_the_clock_counts_nothing_but_a_training():
    for status, name in (("running", "predict"), ("stopped", "train"), ("done", "promote")):
        clock, state = TrainingClock(), RunState("m", status, round=1, stage=name, folds=1)
        assert clock.share(state, training(0.2), 0.0) == 0.0
        assert clock.share(state, training(0.2), 50.0) == 0.0
