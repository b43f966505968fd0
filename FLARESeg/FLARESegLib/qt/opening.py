"""A module's logic and panel, opened in steps, so that a click on the module is answered at once.

Importing a library and making a panel hold Qt's thread for half a second together. Each step comes
when Qt has come round; whoever needs the panel before has the rest done on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

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


class ModuleLife:
    """What a module has between its first showing and its end; for its widget, which hands on.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    guard : callable
        As for `Opening`.
    to_logic, to_panel : sequence of callable
        The steps to each; what the last one returns is the logic, or the panel.
    observe : callable
        Hears of the scene from then on; the last step before the panel is entered.
    """

    def __init__(
        self,
        loop: EventLoop,
        guard: Callable[[], AbstractContextManager[object]],
        *,
        to_logic: Sequence[Callable[[], Any]],
        to_panel: Sequence[Callable[[], Any]],
        observe: Callable[[], object],
    ) -> None:
        self._logic: Any = None
        self._panel: Any = None
        self._left = False  # before the panel was there
        self._make_logic, self._make_panel = to_logic[-1], to_panel[-1]
        steps = (
            *to_logic[:-1], self._have_logic, *to_panel[:-1], self._have_panel, observe,
            self._enter_first,
        )  # fmt: skip
        self._opening = Opening(loop, steps, guard)
        self._opening.start()

    @property
    def opened(self) -> bool:
        """Whether no step is left."""
        return self._opening.done

    @property
    def panel(self) -> Any:
        """The panel; if it is still opening, it is made ready now. None after the end."""
        self._opening.finish()
        return self._panel

    @property
    def logic(self) -> Any:
        """The logic; if the panel is still opening, it is made ready now. None after the end."""
        self._opening.finish()
        return self._logic

    def enter(self) -> None:
        """Take the panel up again; one that is still opening enters by itself."""
        self._left = False
        if self._panel:
            self._panel.enter()

    def exit(self) -> None:
        """Leave the scene to the next module."""
        self._left = True
        if self._panel:
            self._panel.exit()

    def scene_closes(self) -> None:
        """Let go of the nodes that are about to vanish."""
        if self._panel:
            self._panel.scene_closes()

    def scene_closed(self) -> None:
        """Begin anew with the scene that is there now, in a module that is shown."""
        if self._panel:
            self._panel.enter()

    def end(self) -> None:
        """Stop opening; end the panel, then the logic."""
        self._opening.stop()
        panel, self._panel = self._panel, None
        if panel:
            panel.cleanup()
        logic, self._logic = self._logic, None
        if logic:
            logic.shutdown()

    def _have_logic(self) -> None:
        self._logic = self._make_logic()

    def _have_panel(self) -> None:
        self._panel = self._make_panel()

    def _enter_first(self) -> None:
        if not self._left:
            self._panel.enter()
