"""The warm worker: one ``flare segment --worker`` process, its requests and their answers.

The protocol is described in ``flare_core/jobs/worker.py``. The process is started by the first
request, kept between runs, and started again by the next request after it has ended, whatever the
reason. Every request gets exactly one last answer, here too: if the process ends without it, the
answer is made up here and says what is known about the end.
"""

from __future__ import annotations

import codecs
import itertools
import json
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal
from FLARESegLib.run.child_process import Child, End
from FLARESegLib.run.worker_failures import ended_answer, outdated_answer, slow_answer

PROTOCOL = 1
"""The protocol of the worker that this module understands."""
START_S = 180.0
"""How long a worker may take until it says that it is ready; a first start on a slow disk, with a
virus scanner looking at every file, has taken more than a minute."""
RELEASE_S = 1.5
"""How long a cancelled run may hold the processor and its files before the worker is ended."""
ASK_S = 0.1
"""How often a worker is asked whether it is free again."""
LOG_LINES = 400
"""How many lines of the worker's log are kept."""

Answer = dict[str, Any]
OnAnswer = Callable[[Answer], None]
Command = tuple[str, list[str]]


class WorkerProcess:
    """Owns the one child process.

    Parameters
    ----------
    command : callable
        Returns the program and its arguments; asked at every start.
    new_child : callable
        Makes a process that is not started yet: `QtChild`, `ThreadedChild` or a test's.
    loop : EventLoop
        Calls later.
    """

    def __init__(
        self, command: Callable[[], Command], new_child: Callable[[], Child], loop: EventLoop
    ) -> None:
        self.on_log = Signal()
        """Called with every line of the worker's log."""
        self.pid: int | None = None
        """Number of the real process, once it is ready."""
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        """The last lines of the log of this process or, before the next one starts, of the last."""
        self._command = command
        self._new_child = new_child
        self._loop = loop
        self._child: Child | None = None
        self._ids = itertools.count(1)
        self._open: dict[int, OnAnswer] = {}
        self._wanted: set[int] = set()  # open requests for whose result somebody waits
        self._unsent: dict[int, bytes] = {}
        self._stopping = False
        self._output, self._errors = LineReader(), LineReader()
        self._lines: deque[str] = deque()  # of its standard output, not yet looked at

    @property
    def running(self) -> bool:
        """Whether there is a process, ready or not."""
        return self._child is not None

    @property
    def ready(self) -> bool:
        """Whether it has said that it is ready."""
        return self.pid is not None

    def start(self) -> None:
        """Start the process, if there is none."""
        if self._child is not None:
            return
        program, arguments = self._command()
        self.log.clear()
        self._stopping = False
        self._output, self._errors = LineReader(), LineReader()
        self._lines.clear()
        child = self._child = self._new_child()
        child.on_output.connect(lambda data: self._hear(child, data))
        child.on_errors.connect(self._keep_log)
        child.on_end.connect(lambda end: self._ended(child, end))
        self._loop.call_later(START_S, lambda: self._check_started(child))
        child.start(program, arguments)

    def request(self, fields: Answer, on_answer: OnAnswer) -> int:
        """Send a request, starting the process if need be; return the request's id.

        `on_answer` is called later, with every answer, in the main thread. All but those with the
        event ``progress`` are the last one.
        """
        self.start()
        number = next(self._ids)
        self._open[number] = on_answer
        if fields["command"] != "ping":
            self._wanted.add(number)
        self._send(number, fields)
        return number

    def cancel(self, number: int, on_free: Callable[[], None]) -> None:
        """Have a request stopped; call `on_free` when the worker holds none of its files any more.

        A worker that does not let go in `RELEASE_S` is ended. Unless it works for somebody else
        too: then `on_free` is called all the same, and whoever cares can try its files again.
        """
        self._wanted.discard(number)
        if self._unsent.pop(number, None) is not None:  # it will never hear of it
            self._open.pop(number, None)
            self._loop.call_later(0, on_free)
            return
        if number in self._open:
            self._send(next(self._ids), {"command": "cancel", "target": number})
        _Release(self, self._loop, on_free).ask()

    def kill(self) -> None:
        """End the process at once; open requests are answered ``cancelled``."""
        if self._child is None:
            return
        self._stopping = True
        self._child.close_input()
        if self.pid is not None:  # the child may be a launcher, whose end would not be the worker's
            with suppress(OSError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._child.kill()

    def close(self, wait_s: float = 2.0) -> None:
        """End the process politely, or after `wait_s` otherwise; it is gone on return.

        Blocks: for the end of Slicer, for a reload, and for tests.
        """
        child = self._child
        if child is None:
            return
        self._stopping = True
        child.close_input()  # the worker ends itself when its input does
        if not child.wait(wait_s):
            self.kill()
            child.wait(wait_s)

    @property
    def works_for_others(self) -> bool:
        """Whether somebody waits for a result."""
        return bool(self._wanted)

    def _send(self, number: int, fields: Answer) -> None:
        line = (json.dumps({"id": number, **fields}) + "\n").encode("ascii")
        if self.ready and self._child is not None:
            self._child.write(line)
        else:
            self._unsent[number] = line

    def _hear(self, child: Child, data: bytes) -> None:
        self._lines.extend(self._output.feed(data))
        while self._lines and child is self._child:  # a listener may fail: the rest comes next time
            self._take(self._lines.popleft())

    def _take(self, line: str) -> None:
        """Hand an answer to whoever asked."""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._log(line)  # a launcher's or a library's word: not for us
        elif answer.get("event") == "ready":
            self._welcome(answer)
        else:
            self._hand_out(answer)

    def _welcome(self, answer: Answer) -> None:
        """Send what has been waiting, if we speak the same language."""
        if answer.get("protocol") != PROTOCOL:
            self._fail_all(outdated_answer(answer))
            self.kill()
            return
        self.pid = answer.get("pid")
        waiting, self._unsent = self._unsent, {}
        for line in waiting.values():
            if self._child is not None:
                self._child.write(line)

    def _hand_out(self, answer: Answer) -> None:
        number = answer.get("id")
        on_answer = self._open.get(number) if isinstance(number, int) else None
        if answer.get("event") != "progress" and isinstance(number, int):
            self._open.pop(number, None)
            self._wanted.discard(number)
        if on_answer is not None:
            on_answer(answer)

    def _keep_log(self, data: bytes) -> None:
        for line in self._errors.feed(data):
            self._log(line)

    def _log(self, line: str) -> None:
        self.log.append(line)
        self.on_log.emit(line)

    def _check_started(self, child: Child) -> None:
        if child is self._child and not self.ready:
            self._fail_all(slow_answer(START_S, tuple(self.log)))
            self.kill()

    def _ended(self, child: Child, end: End) -> None:
        """Forget the process; tell everybody who still waits for an answer."""
        if child is not self._child:
            return
        self._hear(child, b"")
        for line in self._output.rest():
            self._take(line)
        for line in self._errors.rest():
            self._log(line)
        self._child, self.pid, self._unsent = None, None, {}
        self._fail_all({"event": "cancelled"} if self._stopping else ended_answer(end, self.log))

    def _fail_all(self, answer: Answer) -> None:
        """Give everybody the same last answer."""
        waiting, self._open = self._open, {}
        self._wanted.clear()
        for number, on_answer in waiting.items():
            on_answer({"id": number, **answer})


class _Release:
    """Asks a worker whether it is free after a cancellation, and ends it if it takes too long."""

    def __init__(self, worker: WorkerProcess, loop: EventLoop, on_free: Callable[[], None]) -> None:
        self._worker = worker
        self._loop = loop
        self._on_free: Callable[[], None] | None = on_free
        loop.call_later(RELEASE_S, self._lose_patience)

    def ask(self) -> None:
        """Ask once, if there is a process to ask."""
        if self._on_free is None:
            return
        if self._worker.ready:
            self._worker.request({"command": "ping"}, self.hear)
        elif self._worker.running:  # it has not begun to read, so it will not know of the request
            self._loop.call_later(ASK_S, self.ask)
        else:
            self._free()

    def hear(self, answer: Answer) -> None:
        """Take the answer, or the news that the worker is gone."""
        if answer.get("event") == "pong" and answer.get("busy"):
            self._loop.call_later(ASK_S, self.ask)
        else:
            self._free()

    def _lose_patience(self) -> None:
        if self._on_free is None:
            return
        if self._worker.works_for_others:
            self._free()
        else:
            self._worker.kill()  # which answers the open question, or lets the next one be none

    def _free(self) -> None:
        on_free, self._on_free = self._on_free, None
        if on_free is not None:
            on_free()


class LineReader:
    r"""Makes lines of bytes that come in pieces; bytes that are no UTF-8 become question marks.

    Examples
    --------
    >>> reader = LineReader()
    >>> reader.feed(b"one\r\ntw"), reader.feed(b"o\n"), reader.feed(b"\xff"), reader.rest()
    (['one'], ['two'], [], ['�'])
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are whole now."""
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return [line.rstrip("\r") for line in lines]

    def rest(self) -> list[str]:
        """Return the last line, if it never got its end."""
        text = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [text] if text else []
