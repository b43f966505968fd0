"""Follows a run: a look every two seconds, in a thread, of what its folder says.

Curves grow by what was added to the logs since the last look.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal

from FLARETrainLib.run.detached import OUTPUT, last_words
from FLARETrainLib.run.log_tail import Facts, LogTail
from FLARETrainLib.run.state import RunState, read_state, round_file

EVERY_S = 2.0
"""Between two looks."""
MOST_FOLDS = 10


@dataclass
class Curve:
    """One network's training."""

    round: int
    """From 1."""
    fold: int
    """From 0."""
    loss: list[tuple[float, float]] = field(default_factory=list)
    """Step and loss."""
    dsc: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    """Step and organ -> DSC on held-out scans."""
    fraction: float = 0.0
    """How much of it is done."""
    seconds_left: float | None = None
    """As the training itself says."""
    phases: list[float] = field(default_factory=list)
    """Steps of the phases that are over, so that steps count on."""


@dataclass(frozen=True)
class RunView:
    """What a panel shows of a run."""

    folder: Path
    """Of the run."""
    state: RunState
    """How far it is."""
    curves: tuple[Curve, ...] = ()
    """Of every network so far, the oldest round first."""
    verdicts: tuple[tuple[int, dict[str, Any]], ...] = ()
    """Round and what the comparison of old and new said."""
    promotions: tuple[tuple[int, dict[str, Any]], ...] = ()
    """Round and which model was put into use."""
    counted: str = ""
    """Of the step at work: event, scans done and scans in all, as ``predict 7 20``."""
    problem: str = ""
    """Last words of a process that failed."""

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        mine = [curve.fraction for curve in self.curves if curve.round == self.state.round]
        return self.state.fraction(sum(mine) / len(mine) if mine else 0.0)


class RunFiles:
    """Reads a run's folder; each look reads only what is new. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._output = LogTail(folder / OUTPUT)
        self._logs: dict[tuple[int, int], tuple[LogTail, Curve]] = {}
        self._counted = ""

    def look(self) -> RunView:
        """Return what the folder says now."""
        state = read_state(self.folder)
        for facts in self._output.read():
            self._count(facts)
        for number in range(1, state.round + 1):
            for fold in range(MOST_FOLDS):
                self._follow(number, fold)
        rounds = range(1, state.round + 1)
        files = [(n, round_file(self.folder, n, "verdict")) for n in rounds]
        promoted = [(n, round_file(self.folder, n, "promotion")) for n in rounds]
        return RunView(
            self.folder,
            state,
            tuple(curve for _, (_, curve) in sorted(self._logs.items())),
            tuple((n, value) for n, value in files if value),
            tuple((n, value) for n, value in promoted if value),
            self._counted,
            last_words(self.folder) if state.status in ("failed", "interrupted") else "",
        )

    def _count(self, facts: Facts) -> None:
        if facts.get("event") in ("predict", "review", "score") and "total" in facts:
            self._counted = f"{facts['event']} {facts.get('done', 0)} {facts['total']}"
        elif facts.get("event") == "begin":
            self._counted = ""

    def _follow(self, number: int, fold: int) -> None:
        if (number, fold) not in self._logs:
            path = self.folder / f"round-{number:02d}" / f"student-{fold}" / "log.jsonl"
            if not path.is_file():
                return
            self._logs[number, fold] = (LogTail(path), Curve(number, fold))
        tail, curve = self._logs[number, fold]
        for facts in tail.read():
            add_facts(curve, facts)


def add_facts(curve: Curve, facts: Facts) -> None:
    """Put a line of a training's log into its curve.

    Examples
    --------
    >>> curve = Curve(1, 0)
    >>> add_facts(curve, {"event": "step", "phase": 0, "step": 20, "loss": 0.5})
    >>> add_facts(curve, {"event": "step", "phase": 1, "step": 20, "loss": 0.4})
    >>> curve.loss
    [(20.0, 0.5), (40.0, 0.4)]
    """
    if facts.get("event") == "step":
        phase = int(facts.get("phase", 0))
        last = curve.loss[-1][0] if curve.loss else 0.0
        curve.phases += [last] * (phase - len(curve.phases))
        step = float(facts["step"]) + (curve.phases[phase - 1] if phase else 0.0)
        if facts.get("loss") is not None:
            curve.loss.append((step, float(facts["loss"])))
        curve.fraction = float(facts.get("phase_fraction") or 0.0)
        curve.seconds_left = facts.get("run_seconds_left")
    elif facts.get("event") == "validation":
        scores = {key: float(v) for key, v in facts.get("dsc", {}).items() if v is not None}
        curve.dsc.append((float(facts["step"]), scores))
    elif facts.get("event") == "resume":
        _cut(curve, facts)


def _cut(curve: Curve, facts: Facts) -> None:
    """Drop the points after the checkpoint that a stopped training goes on from."""
    total = float(facts.get("total_steps", 0))
    curve.loss[:] = [point for point in curve.loss if point[0] <= total]
    curve.dsc[:] = [point for point in curve.dsc if point[0] <= total]


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
