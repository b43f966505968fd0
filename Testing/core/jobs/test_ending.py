from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from flare_core.jobs.ending import on_stop_signal

signals = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process there")


@signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_does_what_it_always_does(number: int) -> None:
    asked, ended = [], []
    before = signal.signal(number, lambda *_: ended.append(number))
    try:
        with on_stop_signal(lambda: asked.append(number)):
            os.kill(os.getpid(), number)
            assert (asked, ended) == ([number], [])
            os.kill(os.getpid(), number)
            assert (asked, ended) == ([number], [number])
        with on_stop_signal(lambda: asked.append(number)):
            pass
        os.kill(os.getpid(), number)  # afterwards everything is as before
        assert (asked, ended) == ([number], [number, number])
    finally:
        signal.signal(number, before)


@signals
def test_a_closed_terminal_asks_however_often_it_says_so() -> None:
    asked, ended = [], []
    before = signal.signal(signal.SIGHUP, lambda *_: ended.append(1))
    try:
        with on_stop_signal(lambda: asked.append(1)):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGHUP)
            assert (asked, ended) == ([1], [])
        os.kill(os.getpid(), signal.SIGHUP)
        assert (asked, ended) == ([1], [1])
    finally:
        signal.signal(signal.SIGHUP, before)


@signals
def test_a_terminal_that_says_it_while_it_is_heard_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, ended, set_handler = [], [], signal.signal
    before = signal.signal(signal.SIGHUP, lambda *_: ended.append(1))

    def then_again(number: int, handler: object) -> object:
        was = set_handler(number, handler)  # type: ignore[arg-type]
        if number == signal.SIGHUP:
            os.kill(os.getpid(), signal.SIGHUP)
        return was

    try:
        with on_stop_signal(lambda: asked.append(1)):
            monkeypatch.setattr(signal, "signal", then_again)
            os.kill(os.getpid(), signal.SIGHUP)
            monkeypatch.undo()
        assert (asked, ended) == ([1], [])
    finally:
        signal.signal(signal.SIGHUP, before)


@signals
def test_under_nohup_a_closed_terminal_asks_nothing() -> None:
    asked: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_stop_signal(lambda: asked.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_it_changes_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with on_stop_signal(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(("flush", "told"), [("True", "said"), ("False", "")])
def test_a_process_ends_at_once_though_a_thread_goes_on(flush: str, told: str) -> None:
    code = (
        "import sys, threading, time\n"
        "from flare_core.jobs.ending import end_at_once\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "sys.stdout.write('said')\n"
        f"end_at_once(flush={flush})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONUNBUFFERED": ""},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
