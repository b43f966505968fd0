"""Follows a run: a look every two seconds, in a thread, of what its folder and its process say.

Curves grow by what was added to the logs since the last look.
"""

from __future__ import annotations

import time
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
FIRST_LINE_S, FIRST_SHARE = 120.0, 0.05
"""Before a network's first line: this share of it is thought to be done after so long."""
MOST_AHEAD = 0.8
"""Of what is left, the clock alone never counts more as done."""
MOST_BYTES = 2**20
"""Read of each log in one look; the next look goes on from there."""


@dataclass(frozen=True)
class WatchedRun(status.RunView):
    """What a panel shows of a run."""

    counted: str = ""
    """Of the stage at work: event, scans done and scans in all, as ``predict 7 20``."""
    problem: str = ""
    """What cannot be read, or the last words of a process that failed."""
    since: float = 0.0
    """What the clock says of the training, 0 to 1: its log comes in lines, far apart at times."""

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        mine = [curve.fraction for curve in self.curves if curve.round == self.state.round]
        return self.state.fraction(max(sum(mine) / self.state.folds, self.since))


class RunFiles:
    """Reads a run's folder; each look reads only what is new. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = status.RunReader(folder, MOST_BYTES)
        self._output = LogTail(folder / OUTPUT)
        self._counted = ""
        self._clock = TrainingClock()

    def look(self) -> WatchedRun:
        """Return what the folder says now."""
        for facts in self._output.read(MOST_BYTES):
            self._count(facts)
        try:
            seen = self._reader.look()
        except InputError as error:
            seen = status.RunView(self.folder, unread_state(self.folder, error))
        state = with_start(seen.state, self.folder)
        since = self._clock.share(state, seen.curves, time.monotonic())
        problem = last_words(self.folder) if state.status in ("failed", "interrupted") else ""
        return WatchedRun(
            folder=self.folder,
            state=state,
            curves=seen.curves,
            verdicts=seen.verdicts,
            promotions=seen.promotions,
            damage=seen.damage,
            counted=self._counted,
            since=since,
            problem=problem or ("" if seen.damage is None else str(seen.damage)),
        )

    def _count(self, facts: Facts) -> None:
        if facts.get("event") in ("predict", "review", "score") and "total" in facts:
            self._counted = f"{facts['event']} {facts.get('done', 0)} {facts['total']}"
        elif facts.get("event") == "begin":
            self._counted = ""


class TrainingClock:
    """Goes on between two lines of a training's log, so that a bar does not stand still."""

    def __init__(self) -> None:
        self._known: tuple[int, str, float] | None = None
        self._began = 0.0

    def share(
        self, state: status.RunState, curves: tuple[status.Curve, ...], now_s: float
    ) -> float:
        """Return how much of the training at work is done, by its own guess and the clock.

        Parameters
        ----------
        state : RunState
            Says which round and stage is at work, and how many networks there will be.
        curves : tuple of Curve
            What the logs say.
        now_s : float
            From any start.
        """
        mine = [curve for curve in curves if curve.round == state.round]
        told = sum(curve.fraction for curve in mine)
        here = (state.round, state.stage, told)
        if here != self._known:
            self._known, self._began = here, now_s
        if state.stage != "train" or state.status != "running" or not state.folds:
            return 0.0
        open_ = [curve for curve in mine if curve.fraction < 1.0]
        left = open_[-1].seconds_left if open_ else FIRST_LINE_S
        if left is None or left <= 0:
            return told / state.folds
        ahead = (1.0 - open_[-1].fraction) if open_ else FIRST_SHARE
        gone = min(1.0, (now_s - self._began) / left)
        return (told + MOST_AHEAD * ahead * gone) / state.folds


class RunWatch:
    """Looks at a run now and then, and tells.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    """

    def __init__(self, loop: EventLoop, every_s: float = EVERY_S) -> None:
        self.seen = Signal()
        """Called with a `WatchedRun` after every look."""
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

    def _told(self, number: int, files: RunFiles, future: Future[WatchedRun]) -> None:
        if number != self._number:
            return
        again: Callable[[], None] = lambda: self._look(number, files)  # noqa: E731 - a bound call
        self._loop.call_later(self._every_s, again)
        self.seen.emit(future.result())
