"""A panel that opens in steps, so that a click on a module is answered at once.

Importing a library and making a panel hold Qt's thread for half a second together. Each step comes
when Qt has come round; whoever needs the panel before has the rest done on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from FLARESegLib.qt.event_loop import EventLoop


class Opening:
    """Takes steps, each once, in their order.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    steps : sequence of callable
        What is to be done.
    guard : callable
        Returns a context in which each step is taken; it tells a person what went wrong. After a
        step that failed, none is taken any more.
    """

    def __init__(
        self,
        loop: EventLoop,
        steps: Sequence[Callable[[], object]],
        guard: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._loop, self._steps, self._guard = loop, list(steps), guard
        self._busy = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not self._steps

    def start(self) -> None:
        """Begin when Qt comes round."""
        self._loop.call_later(0, self._next)

    def finish(self) -> None:
        """Take the steps that are left now; inside a step nothing happens."""
        while self._steps and not self._busy:
            self._take()

    def stop(self) -> None:
        """Take no step any more."""
        self._steps.clear()

    def _next(self) -> None:
        if self._steps:
            self._take()
            self.start()

    def _take(self) -> None:
        step, self._busy, fine = self._steps.pop(0), True, False
        try:
            with self._guard():
                step()
                fine = True
        finally:
            self._busy = False
            if not fine:
                self.stop()
