"""How a command tells where it is and what came of it: the one way behind every ``--progress``.

A `Reporter` speaks to people (``bar``, or ``none``: the end alone) or to programs (``json``). To
people progress is drawn by a display: a bar in a terminal, a few plain lines in a log file.
Displays get a `Progress` (stage, overall fraction, seconds left) and never decide anything.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from flare_core.jobs.failure import json_line
from flare_core.jobs.streams import protected_stdout
from flare_core.segment.progress import Progress
from flare_core.spread.cases import Pace, Pacer
from flare_core.wording import many

PROGRESS = ("bar", "json", "none")
"""For people, for programs, for people who want to see only the end."""

SMALLEST_PAUSE_S = 0.1
"""A bar is redrawn, and a JSON line sent, at most ten times a second: more only costs time."""


OLD_LINE_S = 60.0
"""After such a time a log file gets a further line of the same stage."""


OnProgress = Callable[[Progress], None]
OnCount = Callable[[int, int], None]
"""Told how many are done, and of how many."""
Event = Mapping[str, Any]
"""What a program is told: plain values, one of them under ``event``."""


def within(start: float, stop: float, report: OnProgress) -> OnProgress:
    """Return a receiver that maps an inner run's fractions 0..1 to `start`..`stop`.

    It never goes back: a stage that has to look again does not take away what people have seen.

    Examples
    --------
    >>> within(0.5, 1.0, lambda told: print(told.stage, told.fraction))(Progress("inner", 0.5))
    inner 0.75
    """
    furthest = start

    def inner(progress: Progress) -> None:
        nonlocal furthest
        furthest = max(furthest, start + (stop - start) * min(1.0, progress.fraction))
        report(Progress(progress.stage, furthest, progress.seconds_left, progress.message))

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
    """Lets progress through if the stage is new, the run is done, or some time has passed."""

    def __init__(
        self, pause_s: float = SMALLEST_PAUSE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._last_s = float("-inf")
        self._stage: str | None = None

    def lets_through(self, progress: Progress) -> bool:
        """Return whether this should be shown."""
        now = self._clock()
        if (
            progress.stage == self._stage
            and progress.fraction < 1
            and now - self._last_s < self._pause_s
        ):
            return False
        self._last_s, self._stage = now, progress.stage
        return True


class Display(Protocol):
    """Draws the progress of one case after another."""

    def start(self, title: str) -> None:
        """Begin a case."""

    def show(self, progress: Progress) -> None:
        """Draw how far it is."""

    def clear(self) -> None:
        """Take away what is drawn, so that text can follow."""


class Nothing:
    """Draws nothing."""

    def start(self, title: str) -> None:
        """Begin a case, silently."""

    def show(self, progress: Progress) -> None:
        """Ignore it."""

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

    def show(self, progress: Progress) -> None:
        """Redraw the line."""
        if self._throttle.lets_through(progress):
            columns = self._columns or shutil.get_terminal_size().columns
            self._stream.write("\r" + bar_text(self._title, progress, columns - 1) + "\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        """Blank the line."""
        self._stream.write("\r\x1b[K")
        self._stream.flush()


class Lines:
    """One plain line whenever the stage changes, and every minute; for log files and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._title = ""
        self._stage: str | None = None
        self._clock = clock
        self._last_s = 0.0

    def start(self, title: str) -> None:
        """Begin a case."""
        self._title, self._stage = title, None

    def show(self, progress: Progress) -> None:
        """Write a line if the stage is a new one, or the last line is old."""
        now = self._clock()
        if progress.stage != self._stage or now - self._last_s >= OLD_LINE_S:
            self._stage, self._last_s = progress.stage, now
            told = f"{_percent(progress)} {progress.stage}{_left(progress)}"
            self._stream.write(f"{self._title}: {told}\n")
            self._stream.flush()

    def clear(self) -> None:
        """Lines stay."""


class Reporter:
    """Tells how a command goes, in words or in JSON lines.

    Parameters
    ----------
    progress : str
        One of `PROGRESS`.
    out : file
        Gets the results; by default standard output.
    err : file
        Gets progress and complaints, in words; by default standard error.
    """

    def __init__(
        self, progress: str, *, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.progress = progress
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._display = display_for(self._err) if progress == "bar" else Nothing()
        self._throttle = Throttle()

    @property
    def for_programs(self) -> bool:
        """Whether a program reads this, and nobody reads words."""
        return self.progress == "json"

    def begin(self, title: str, event: Event | None = None) -> None:
        """Begin what is told next."""
        self._throttle = Throttle()
        self._display.start(title)
        if event is not None:
            self.send(event)

    def show(self, progress: Progress, event: Event | None = None) -> None:
        """Draw how far it is; a program gets `event`, or the fields, but not too often."""
        if not self.for_programs:
            self._display.show(progress)
        elif self._throttle.lets_through(progress):
            self.send(event or {"event": "progress", **progress_fields(progress)})

    def counter(self, stage: str) -> OnCount:
        """Return a function that is told how many cases are done, and shows it."""
        pacer = Pacer()

        def count(done: int, of: int) -> None:
            self.show(counted(f"{stage} {many(of, 'case')}", pacer(done, of)))

        return count

    def tell(self, text: str, event: Event | None = None) -> None:
        """Tell a result: a text for people, an event for programs."""
        self._say(text, self._out, event)

    def warn(self, text: str, event: Event | None = None) -> None:
        """Tell what somebody should look at."""
        self._say(text, self._err, event)

    def log(self, text: str, event: Event) -> None:
        """Tell a line of progress that stays; to those who only want the end it is none."""
        self._say("" if self.progress == "none" else text, self._err, event)

    def clear(self) -> None:
        """Take away what is drawn, so that others can write."""
        self._display.clear()

    def send(self, event: Event) -> None:
        """Write one JSON line, if a program reads this."""
        if self.for_programs:
            self._out.write(json_line(dict(event)))
            self._out.flush()

    def _say(self, text: str, stream: TextIO, event: Event | None) -> None:
        if self.for_programs:
            if event is not None:
                self.send(event)
        elif text:
            self._display.clear()
            print(text, file=stream, flush=True)


@contextmanager
def reporting(progress: str, title: str = "") -> Iterator[Reporter]:
    """Yield the reporter for ``--progress bar|json|none``; `title` is what it is about.

    For programs nothing but JSON lines gets to standard output, whatever a library prints.
    """
    if progress == "json":
        with protected_stdout() as stream:
            yield Reporter(progress, out=stream)
        return
    reporter = Reporter(progress)
    if title:
        reporter.begin(title)
    try:
        yield reporter
    finally:
        reporter.clear()


def counted(stage: str, pace: Pace, message: str = "") -> Progress:
    """Return how far many cases are at their pace."""
    fraction = pace.done / max(1, pace.of)
    return Progress(stage, fraction, pace.seconds_left, message, pace.per_minute)


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Return progress as plain values: fraction 0..1 of the whole, seconds or None."""
    left = None if progress.seconds_left is None else round(progress.seconds_left, 1)
    fields = {
        "stage": progress.stage,
        "fraction": round(progress.fraction, 4),
        "seconds_left": left,
    }
    if progress.per_minute is not None:
        fields["per_minute"] = round(progress.per_minute, 2)
    return {**fields, "message": progress.message} if progress.message else fields


def bar_text(title: str, progress: Progress, columns: int) -> str:
    """Return the one line of the bar, never longer than `columns` characters.

    Examples
    --------
    >>> bar_text("case7", Progress("organs", 0.5, 4.0), 60)
    'case7 [##########----------]  50 % organs, 4 s left'
    """
    filled = round(20 * min(1.0, max(0.0, progress.fraction)))
    bar = "[" + "#" * filled + "-" * (20 - filled) + "]"
    text = f"{title} {bar} {_percent(progress)} {progress.stage}{_left(progress)}"
    return text[: max(0, columns)]


def display_for(stream: TextIO | None) -> Display:
    """Return the bar if `stream` is a terminal, plain lines if it is a file or a pipe."""
    if stream is None:  # a program without a console
        return Nothing()
    return Bar(stream) if stream.isatty() else Lines(stream)


def _percent(progress: Progress) -> str:
    return f"{100 * min(1.0, max(0.0, progress.fraction)):3.0f} %"


def _left(progress: Progress) -> str:
    per_minute = progress.per_minute
    pace = "" if per_minute is None else f", {per_minute:.1f} a minute"
    return pace + (
        "" if progress.seconds_left is None else f", {time_text(progress.seconds_left)} left"
    )
