from __future__ import annotations

import sys
import time

import pytest
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run import worker_process
from FLARESegLib.run.workplace import worker_command
from process_double import alive, bad_command, until, worker_of


@pytest.fixture
def loop():
    return PlainLoop()


@pytest.fixture
def start(loop):
    """A function that makes a worker; all are ended afterwards."""
    made = []

    def make(command):
        made.append(worker_of(command, loop))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()
        until(loop, lambda worker=worker: not worker.running)


def answers_of(worker, loop, **fields):
    """Send a request; return all its answers."""
    heard = []
    worker.request(fields, heard.append)
    until(loop, lambda: heard and heard[-1]["event"] != "progress")
    return heard


def test_the_real_worker_answers_and_stays(start, loop):
    worker = start(worker_command())
    assert not worker.running
    assert answers_of(worker, loop, command="ping")[-1]["event"] == "pong"
    pid = worker.pid
    assert worker.ready
    assert alive(pid)
    error = answers_of(worker, loop, command="segment", input="/no/ct.nrrd", output="/tmp/x")[-1]
    assert (error["kind"], worker.pid) == ("input", pid)


def test_close_ends_the_process_and_its_files(start, loop):
    worker = start(worker_command())
    answers_of(worker, loop, command="ping")
    pid = worker.pid
    worker.close()
    assert not worker.running
    assert not alive(pid)
    worker.close()
    assert answers_of(worker, loop, command="ping")[-1]["event"] == "pong"
    assert worker.pid != pid


def test_a_worker_that_ignores_the_end_of_its_input_is_ended_all_the_same(start, loop):
    worker = start(bad_command("mute"))
    heard = []
    worker.request({"command": "segment"}, heard.append)
    until(loop, lambda: worker.ready)
    loop.pump(0.1)
    pid = worker.pid
    worker.close(wait_s=0.3)
    assert not alive(pid)
    assert [answer["event"] for answer in heard] == ["cancelled"]


@pytest.mark.parametrize(
    ("kind", "expected", "words"),
    [
        ("dies", "worker_died", "code 3"),
        ("memory", "out_of_memory", "Close other programs"),
        ("killed", "out_of_memory", "memory was full"),
        ("unstartable", "worker_died", "could not load a Python package"),
        ("newer", "worker_died", "does not fit"),
    ],
)
def test_an_end_is_told_in_plain_words_and_the_next_request_starts_again(
    start, loop, kind, expected, words
):
    worker = start(bad_command(kind))
    error = answers_of(worker, loop, command="segment")[-1]
    assert (error["event"], error["kind"]) == ("error", expected)
    assert words in error["message"]
    assert "Traceback" not in error["message"].split("\n")[0]
    until(loop, lambda: not worker.running)
    assert answers_of(worker, loop, command="segment")[-1]["kind"] == expected


def test_the_last_lines_of_the_log_are_quoted_whatever_their_bytes(start, loop):
    worker = start(bad_command("dies"))
    message = answers_of(worker, loop, command="segment")[-1]["message"]
    assert "Segmentation fault" in message
    assert "last w\ufffdrds" in message


def test_a_program_that_is_not_there(start, loop):
    worker = start(("/no/such/program", []))
    error = answers_of(worker, loop, command="ping")[-1]
    assert "could not be started: No such file" in error["message"]
    assert not worker.running


def test_what_is_no_answer_goes_to_the_log_and_hurts_nobody(start, loop):
    worker = start(bad_command("garbage"))
    lines = []
    worker.on_log.connect(lines.append)
    assert answers_of(worker, loop, command="segment")[-1]["message"] == "garbage"
    until(loop, lambda: any("a broken name" in line for line in lines))
    assert "[1, 2]" in lines
    assert any("\ufffd" in line for line in lines)


def test_a_worker_that_never_gets_ready(start, loop, monkeypatch):
    monkeypatch.setattr(worker_process, "START_S", 0.3)
    worker = start(bad_command("silent"))
    error = answers_of(worker, loop, command="segment")[-1]
    assert "did not get ready" in error["message"]
    until(loop, lambda: not worker.running)


def test_cancelling_frees_a_worker_that_listens(start, loop):
    worker = start(bad_command("polite"))
    heard, freed = [], []
    number = worker.request({"command": "segment"}, heard.append)
    until(loop, lambda: worker.ready)
    worker.cancel(number, lambda: freed.append(time.monotonic()))
    until(loop, lambda: freed)
    assert worker.running


@pytest.mark.parametrize("kind", ["deaf", "mute"])
def test_cancelling_ends_a_worker_that_does_not_let_go(start, loop, monkeypatch, kind):
    monkeypatch.setattr(worker_process, "RELEASE_S", 0.5)
    worker = start(bad_command(kind))
    heard, freed = [], []
    number = worker.request({"command": "segment"}, heard.append)
    until(loop, lambda: worker.ready)
    pid = worker.pid
    worker.cancel(number, lambda: freed.append(alive(pid)))
    until(loop, lambda: freed)
    assert freed == [False]
    assert heard[-1]["event"] == "cancelled"
    until(loop, lambda: not worker.running)


def test_a_worker_that_somebody_else_waits_for_is_not_ended(start, loop, monkeypatch):
    monkeypatch.setattr(worker_process, "RELEASE_S", 0.3)
    worker = start(bad_command("deaf"))
    mine = worker.request({"command": "segment"}, lambda answer: None)
    theirs = []
    worker.request({"command": "segment"}, theirs.append)
    until(loop, lambda: worker.ready)
    freed = []
    worker.cancel(mine, lambda: freed.append(True))
    until(loop, lambda: freed)
    assert worker.running
    assert theirs == []


def test_a_request_cancelled_before_the_worker_is_ready_is_never_sent(start, loop):
    worker = start(bad_command("dies"))
    freed = []
    number = worker.request({"command": "segment"}, lambda answer: None)
    worker.cancel(number, lambda: freed.append(True))
    assert freed == []
    until(loop, lambda: freed and worker.ready)
    assert answers_of(worker, loop, command="ping")[-1]["event"] == "pong"


def test_the_environment_of_this_process_is_left_alone(start, loop, monkeypatch):
    import os

    before = dict(os.environ)
    answers_of(start(worker_command()), loop, command="ping")
    assert dict(os.environ) == before


def test_the_worker_of_the_product_starts_anywhere(start, loop, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    program, arguments = worker_command()
    assert program == sys.executable
    worker = start((program, arguments))
    assert answers_of(worker, loop, command="ping")[-1]["event"] == "pong"
