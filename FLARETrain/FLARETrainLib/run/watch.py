"""Follows a run: a look every two seconds, in a thread, of what its folder and its process say.

Curves grow by what was added to the logs since the last look.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal

from flare_core.errors import InputError
from flare_core.train.log import Facts, LogTail
from flare_core.train.rounds import status
from FLARETrainLib.run.processes import OUTPUT, last_words
from FLARETrainLib.run.state import unread_state, with_start

EVERY_S = 2.0
"""Between two looks."""
MOST_BYTES = 2**20
"""Read of each log in one look; the next look goes on from there."""


@dataclass(frozen=True)
class RunView(status.RunView):
    """What a panel shows of a run."""

    counted: str = ""
    """Of the step at work: event, scans done and scans in all, as ``predict 7 20``."""
    problem: str = ""
    """What cannot be read, or the last words of a process that failed."""


class RunFiles:
    """Reads a run's folder; each look reads only what is new. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = status.RunReader(folder, MOST_BYTES)
        self._output = LogTail(folder / OUTPUT)
        self._counted = ""

    def look(self) -> RunView:
        """Return what the folder says now."""
        for facts in self._output.read(MOST_BYTES):
            self._count(facts)
        try:
            seen = self._reader.look()
        except InputError as error:
            seen = status.RunView(self.folder, unread_state(self.folder, error))
        state = with_start(seen.state, self.folder)
        problem = last_words(self.folder) if state.status in ("failed", "interrupted") else ""
        return RunView(
            folder=self.folder,
            state=state,
            curves=seen.curves,
            verdicts=seen.verdicts,
            promotions=seen.promotions,
            damage=seen.damage,
            counted=self._counted,
            problem=problem or ("" if seen.damage is None else str(seen.damage)),
        )

    def _count(self, facts: Facts) -> None:
        if facts.get("event") in ("predict", "review", "score") and "total" in facts:
            self._counted = f"{facts['event']} {facts.get('done', 0)} {facts['total']}"
        elif facts.get("event") == "begin":
            self._counted = ""


class RunWatch:
    """Looks at a run now and then, and tells.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    """

    def __init__(self, loop: EventLoop, every_s: float = EVERY_S) -> None:
        self.seen = Signal()
        """Called with a `RunView` after every look."""
        self._loop = loop
        self._every_s = every_s
        self._files: RunFiles | None = None
        self._number = 0

    @property
    def folder(self) -> Path | None:
        """The run that is watched."""
        return self._files.folder if self._files else None

    def watch(self, folder: Path | None) -> None:
        """Watch this run from now on; None: none."""
        self._number += 1
        self._files = RunFiles(folder) if folder else None
        if self._files is not None:
            self._look(self._number, self._files)

    def close(self) -> None:
        """Look no more, and tell nobody."""
        self.watch(None)
        self.seen.clear()

    def _look(self, number: int, files: RunFiles) -> None:
        if number == self._number:
            in_background(self._loop, files.look, lambda future: self._told(number, files, future))

    def _told(self, number: int, files: RunFiles, future: Future[RunView]) -> None:
        if number != self._number:
            return
        again: Callable[[], None] = lambda: self._look(number, files)  # noqa: E731 - a bound call
        self._loop.call_later(self._every_s, again)
        self.seen.emit(future.result())
