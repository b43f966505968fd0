"""Progress of a blocking run, in a terminal or Slicer's Python console."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from FLARESegLib.run.facts import RunProgress

EVERY_S = 2.0
"""Least time between two lines of the same stage."""


class ConsoleProgress:
    """Prints a line when the stage changes, and now and then in between.

    Lines, not a moving bar: Slicer's console cannot go back to the start of a line.

    Parameters
    ----------
    stream : text stream, optional
        Standard output by default.
    prefix : str
        Start of every line.
    """

    def __init__(self, stream: TextIO | None = None, prefix: str = "") -> None:
        self._stream = stream
        self._prefix = prefix
        self._stage = ""
        self._last = 0.0

    def show(self, progress: RunProgress) -> None:
        """Print where the run is, if that is news."""
        now = time.monotonic()
        if progress.stage == self._stage and now - self._last < EVERY_S:
            return
        self._stage, self._last = progress.stage, now
        print(self._prefix + line_of(progress), file=self._stream or sys.stdout, flush=True)


def line_of(progress: RunProgress) -> str:
    """Return a progress as one line.

    Examples
    --------
    >>> from FLARESegLib.run.facts import RunProgress
    >>> line_of(RunProgress("organs", 0.42, 3.2))
    ' 42 %  organs, about 3 s left'
    """
    left = progress.seconds_left
    time_left = "" if left is None else f", about {max(1, round(left))} s left"
    return f"{100 * progress.fraction:3.0f} %  {progress.message or progress.stage}{time_left}"
