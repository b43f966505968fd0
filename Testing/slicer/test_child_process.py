from __future__ import annotations

import sys

import pytest
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run.child_process import QtChild, ThreadedChild
from FLARESegLib.run.worker_process import WorkerProcess
from FLARESegLib.run.workplace import worker_command
from process_double import alive, bad_command, until
from qt_process_double import SIGNALS, qt_with

ECHO = (
    "import sys; print('born'); print('error', file=sys.stderr)\n"
    "for line in sys.stdin: print(line.strip()[::-1]); sys.stdout.flush()\n"
    "sys.exit(7)"
)


@pytest.fixture
def loop():
    return PlainLoop()


@pytest.fixture(params=["qt", "threads"])
def new_child(request, loop, monkeypatch):
    """Makes processes of both kinds."""
    if request.param == "threads":
        return lambda: ThreadedChild(loop)
    monkeypatch.setitem(sys.modules, "qt", qt_with(loop))
    return QtChild


class Ears:
    """Keeps what a child says."""

    def __init__(self, child) -> None:
        self.output, self.errors, self.ends = b"", b"", []
        child.on_output.connect(lambda data: setattr(self, "output", self.output + data))
        child.on_errors.connect(lambda data: setattr(self, "errors", self.errors + data))
        child.on_end.connect(self.ends.append)


def test_a_life(new_child, loop):
    child = new_child()
    ears = Ears(child)
    child.start(sys.executable, ["-c", ECHO])
    child.write(b"abc\n")
    until(loop, lambda: b"cba" in ears.output)
    assert ears.ends == []
    child.close_input()
    until(loop, lambda: ears.ends)
    assert ears.output.splitlines() == [b"born", b"cba"]
    assert ears.errors.strip() == b"error"
    assert (ears.ends[0].code, ears.ends[0].reason) == (7, "")
    child.write(b"too late\n")
    child.close_input()
    child.kill()
    assert child.wait(0.1)
    assert len(ears.ends) == 1


def test_a_program_that_is_not_there(new_child, loop):
    child = new_child()
    ears = Ears(child)
    child.start("/no/such/program", [])
    assert ears.ends == []  # later, as every end
    until(loop, lambda: ears.ends)
    assert "No such file" in ears.ends[0].reason


def test_a_violent_end(new_child, loop):
    child = new_child()
    ears = Ears(child)
    child.start(sys.executable, ["-c", "import time; print('up', flush=True); time.sleep(600)"])
    until(loop, lambda: ears.output)
    assert not child.wait(0.05)
    child.kill()
    until(loop, lambda: ears.ends)
    assert ears.ends[0].code == -9


def test_waiting_delivers_the_last_words_first(new_child, loop):
    child = new_child()
    ears = Ears(child)
    child.start(sys.executable, ["-c", "print('x' * 300_000)"])
    assert child.wait(60)
    assert len(ears.output.strip()) == 300_000
    assert len(ears.ends) == 1


def test_the_worker_through_either(new_child, loop):
    worker = WorkerProcess(worker_command, new_child, loop)
    heard = []
    worker.request({"command": "ping"}, heard.append)
    until(loop, lambda: heard)
    pid = worker.pid
    worker.close()
    assert not worker.running
    assert not alive(pid)


def test_killing_a_launcher_ends_the_worker_behind_it(new_child, loop):
    program, arguments = bad_command("mute")
    launcher = f"import subprocess; subprocess.call({[program, *arguments]!r})"
    worker = WorkerProcess(lambda: (sys.executable, ["-c", launcher]), new_child, loop)
    worker.request({"command": "segment"}, lambda answer: None)
    until(loop, lambda: worker.ready)
    loop.pump(0.1)
    pid = worker.pid
    worker.kill()
    until(loop, lambda: not worker.running)
    until(loop, lambda: not alive(pid))


def test_a_signal_that_qt_does_not_know_is_noticed(loop, monkeypatch):
    monkeypatch.setitem(sys.modules, "qt", qt_with(loop, SIGNALS[:-1]))
    with pytest.raises(RuntimeError, match="errorOccurred"):
        QtChild()
