"""Jobs in the order they came, one at a time, in one thread; everybody knows their position."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flare_core.jobs.engine import IsCancelled

Work = Callable[[IsCancelled], Any]
"""Does a job; asks often whether it should stop."""

OnPlace = Callable[[int, int], None]
"""Told the position (1 is the next one) and how many wait; called in any thread."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One job that waits or runs."""

    work: Work
    """Does it."""
    on_place: OnPlace
    """Told where it stands."""
    done: Future[Any] = field(default_factory=Future)
    """What came of it; cancelled if it left before its turn."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when nobody wants it any more."""


class Turns:
    """The queue and the thread that works; `close` ends it."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: list[Turn] = []
        self._running: Turn | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, work: Work, on_place: OnPlace) -> Turn:
        """Line up."""
        turn = Turn(work, on_place)
        with self._change:
            if self._closed:
                turn.done.cancel()
                return turn
            self._waiting.append(turn)
            self._tell_places()
            self._change.notify()
        return turn

    def leave(self, turn: Turn) -> None:
        """Stop a job, whether it waits, runs or is over."""
        turn.stop.set()
        with self._change:
            if turn in self._waiting:
                self._waiting.remove(turn)
                turn.done.cancel()
                self._tell_places()

    def close(self, wait_s: float) -> bool:
        """Stop everything; return whether the thread has ended in time."""
        with self._change:
            self._closed = True
            left = [*self._waiting, *filter(None, [self._running])]
            self._change.notify()
        for turn in left:
            self.leave(turn)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            try:
                result = turn.work(turn.stop.is_set)
            except Exception as error:  # handed to whoever asks for the result
                turn.done.set_exception(error)
            except BaseException as error:  # would end whoever asks
                turn.done.set_exception(RuntimeError(repr(error)))
            else:
                turn.done.set_result(result)
                del result  # it may be large, and the next job may be a day away
            del turn

    def _next(self) -> Turn | None:
        with self._change:
            self._running = None
            while not self._waiting and not self._closed:
                self._change.wait()
            if self._closed:
                return None
            self._running = self._waiting.pop(0)
            self._running.done.set_running_or_notify_cancel()
            self._tell_places()
            return self._running

    def _tell_places(self) -> None:
        for position, turn in enumerate(self._waiting, start=1):
            turn.on_place(position, len(self._waiting))
