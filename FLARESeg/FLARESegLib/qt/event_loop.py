"""When things happen: later, in the main thread, and never for long.

Everything in this library that waits asks an `EventLoop` to call it again. In Slicer that is Qt's
loop; in plain Python (batch, tests) a queue of timers.
"""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from collections.abc import Callable
from typing import Protocol

Call = Callable[[], None]

STEP_S = 0.03
"""Longest that one step may take, so that a few in a row stay under 100 ms on slow computers."""


class EventLoop(Protocol):
    """Calls functions in the main thread."""

    def call_later(self, delay_s: float, call: Call) -> None:
        """Call `call` once, after at least `delay_s`; never at once."""

    def pump(self, seconds: float) -> None:
        """Let things happen for about this long, and return."""


class PlainLoop:
    """The loop of a process without Qt: things happen inside `pump` only."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()

    def call_later(self, delay_s: float, call: Call) -> None:
        """Put a call into the queue."""
        heapq.heappush(self._calls, (time.monotonic() + delay_s, next(self._numbers), call))

    def pump(self, seconds: float) -> None:
        """Do what is due until the time is over; sleep in between."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if self._calls and self._calls[0][0] <= now:
                heapq.heappop(self._calls)[2]()
            else:
                due = self._calls[0][0] if self._calls else end
                time.sleep(max(0.0, min(due, end) - now))


class SlicerLoop:
    """Qt's event loop, which Slicer runs anyway."""

    def call_later(self, delay_s: float, call: Call) -> None:
        """Set a single-shot timer."""
        import qt

        qt.QTimer.singleShot(round(1000 * delay_s), call)

    def pump(self, seconds: float) -> None:
        """Have Slicer's events handled while somebody waits for a result."""
        import qt

        import slicer

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            qt.QThread.msleep(5)


def in_slicer() -> bool:
    """Return whether this is the Slicer application (not PythonSlicer, not slicer-core)."""
    slicer = sys.modules.get("slicer")
    return getattr(slicer, "app", None) is not None


def default_loop() -> EventLoop:
    """Return the loop of the process that we are in."""
    return SlicerLoop() if in_slicer() else PlainLoop()
