"""One child process that brings in or removes a model: ``flare models ... --progress json``.

Its events are described in ``flare_core/cli/models_report.py``. It is stopped by closing its input;
what it downloaded stays for the next time.
"""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from contextlib import suppress
from typing import Any

from FLARESegLib.models.messages import ended_text
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal
from FLARESegLib.run.child_process import Child, End
from FLARESegLib.run.failures import RunFailed, Stopped, error_of
from FLARESegLib.run.worker_process import Command, LineReader

RELEASE_S = 5.0
"""How long a process may take to stop before it is ended."""
LOG_LINES = 5
"""How many of its last lines are told when it ends without a word."""


class ModelProcess:
    """Runs once.

    Parameters
    ----------
    child : Child
        A process that is not started yet.
    loop : EventLoop
        Calls later.
    """

    def __init__(self, child: Child, loop: EventLoop) -> None:
        self.progressed = Signal()
        """Called with the fields of every ``progress``."""
        self.ended = Signal()
        """Called once: with (fields of the result, None) or (None, the exception)."""
        self._child = child
        self._loop = loop
        self._pid: int | None = None
        self._answer: dict[str, Any] | None = None
        self._stopping = self._over = False
        self._output, self._errors = LineReader(), LineReader()
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        child.on_output.connect(lambda data: self._take(self._output.feed(data)))
        child.on_errors.connect(lambda data: self._log.extend(self._errors.feed(data)))
        child.on_end.connect(self._end)

    def start(self, command: Command) -> None:
        """Start it."""
        self._child.start(*command)

    def cancel(self) -> None:
        """Have it stop; it is ended if it does not."""
        self._stopping = True
        self._child.close_input()
        self._loop.call_later(RELEASE_S, self.kill)

    def kill(self) -> None:
        """End it at once, if it is still there."""
        if self._over:
            return
        self._stopping = True
        if self._pid is not None:  # the child may be a launcher, whose end would not be this one's
            with suppress(OSError):
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._child.kill()

    def close(self, wait_s: float = 2.0) -> None:
        """End it politely, or after `wait_s` otherwise. Blocks: for reloads and Slicer's end."""
        if self._over:
            return
        self._stopping = True
        self._child.close_input()
        if not self._child.wait(wait_s):
            self.kill()
            self._child.wait(wait_s)

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict):
                self._log.append(line)  # a launcher's word
            elif event.get("event") == "start":
                self._pid = event.get("pid")
            elif event.get("event") == "progress":
                self.progressed.emit(event)
            else:
                self._answer = event

    def _end(self, end: End) -> None:
        self._take(self._output.rest())
        self._log.extend(self._errors.rest())
        self._over = True
        answer = self._answer or {}
        if answer.get("event") == "result":
            self.ended.emit(answer, None)
        elif answer.get("event") == "error":
            self.ended.emit(None, error_of(answer))
        elif self._stopping or answer.get("event") == "cancelled":
            self.ended.emit(None, Stopped())
        else:
            words = ended_text(end.reason, end.code, tuple(self._log))
            self.ended.emit(None, RunFailed("internal", words))
