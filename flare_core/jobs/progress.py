"""How far a run is: a bar for a terminal, a few plain lines for a log file, or nothing.

A display gets steps (stage, overall fraction, seconds left) and draws them; it never decides
anything. The form for programs (JSON lines) is in `flare_core.jobs.reports`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

SMALLEST_PAUSE_S = 0.1
"""A bar is redrawn, and a JSON line sent, at most ten times a second: more only costs time."""


class StepLike(Protocol):
    """What a display reads; `flare_core.segment.pipeline.Progress` has these names too."""

    @property
    def stage(self) -> str:
        """What is being done."""

    @property
    def fraction(self) -> float:
        """Done part of the run, 0 to 1."""

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left in seconds."""

    @property
    def message(self) -> str:
        """A detail."""


OnStep = Callable[[StepLike], None]


@dataclass(frozen=True)
class Step:
    """One report of where a run is."""

    stage: str
    """What is being done, in words."""
    fraction: float
    """Done part of the whole run, 0 to 1."""
    seconds_left: float | None = None
    """Estimated time left in seconds; None if not known yet."""
    message: str = ""
    """A detail worth a log line; often empty."""


def within(start: float, stop: float, report: OnStep) -> OnStep:
    """Return a receiver that maps an inner run's fractions 0..1 to `start`..`stop`.

    It never goes back: a stage that has to look again does not take away what people have seen.

    Examples
    --------
    >>> within(0.5, 1.0, lambda step: print(step.stage, step.fraction))(Step("inner", 0.5))
    inner 0.75
    """
    furthest = start

    def inner(step: StepLike) -> None:
        nonlocal furthest
        furthest = max(furthest, start + (stop - start) * min(1.0, step.fraction))
        report(Step(step.stage, furthest, step.seconds_left, step.message))

    return inner


def time_text(seconds: float) -> str:
    """Write a duration in seconds the way a person says it.

    Examples
    --------
    >>> time_text(8.4), time_text(125), time_text(7300)
    ('8 s', '2 min 05 s', '2 h 01 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Throttle:
    """Lets a step through if the stage is new, the run is done, or some time has passed."""

    def __init__(
        self, pause_s: float = SMALLEST_PAUSE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._last_s = float("-inf")
        self._stage: str | None = None

    def lets_through(self, step: StepLike) -> bool:
        """Return whether this step should be shown."""
        now = self._clock()
        if step.stage == self._stage and step.fraction < 1 and now - self._last_s < self._pause_s:
            return False
        self._last_s, self._stage = now, step.stage
        return True


class Display(Protocol):
    """Draws the steps of one case after another."""

    def start(self, title: str) -> None:
        """Begin a case."""

    def show(self, step: StepLike) -> None:
        """Draw a step."""

    def clear(self) -> None:
        """Take away what is drawn, so that text can follow."""


class Nothing:
    """Draws nothing."""

    def start(self, title: str) -> None:
        """Begin a case, silently."""

    def show(self, step: StepLike) -> None:
        """Ignore the step."""

    def clear(self) -> None:
        """Nothing is drawn, so nothing is taken away."""


class Bar:
    """One line that is redrawn in place; for a terminal."""

    def __init__(self, stream: TextIO, columns: int | None = None) -> None:
        self._stream = stream
        self._columns = columns
        self._title = ""
        self._throttle = Throttle()

    def start(self, title: str) -> None:
        """Begin a case."""
        self._title = title
        self._throttle = Throttle()

    def show(self, step: StepLike) -> None:
        """Redraw the line."""
        if self._throttle.lets_through(step):
            columns = self._columns or shutil.get_terminal_size().columns
            self._stream.write("\r" + bar_text(self._title, step, columns - 1) + "\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        """Blank the line."""
        self._stream.write("\r\x1b[K")
        self._stream.flush()


class Lines:
    """One plain line whenever the stage changes; for log files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._title = ""
        self._stage: str | None = None

    def start(self, title: str) -> None:
        """Begin a case."""
        self._title, self._stage = title, None

    def show(self, step: StepLike) -> None:
        """Write a line if the stage is a new one."""
        if step.stage != self._stage:
            self._stage = step.stage
            self._stream.write(f"{self._title}: {_percent(step)} {step.stage}{_left(step)}\n")
            self._stream.flush()

    def clear(self) -> None:
        """Lines stay."""


def bar_text(title: str, step: StepLike, columns: int) -> str:
    """Return the one line of the bar, never longer than `columns` characters.

    Examples
    --------
    >>> bar_text("case7", Step("organs", 0.5, 4.0), 60)
    'case7 [##########----------]  50 % organs, 4 s left'
    """
    filled = round(20 * min(1.0, max(0.0, step.fraction)))
    bar = "[" + "#" * filled + "-" * (20 - filled) + "]"
    text = f"{title} {bar} {_percent(step)} {step.stage}{_left(step)}"
    return text[: max(0, columns)]


def display_for(stream: TextIO | None) -> Display:
    """Return the bar if `stream` is a terminal, plain lines if it is a file or a pipe."""
    if stream is None:  # a program without a console
        return Nothing()
    return Bar(stream) if stream.isatty() else Lines(stream)


def _percent(step: StepLike) -> str:
    return f"{100 * min(1.0, max(0.0, step.fraction)):3.0f} %"


def _left(step: StepLike) -> str:
    return "" if step.seconds_left is None else f", {time_text(step.seconds_left)} left"
