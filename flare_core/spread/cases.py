"""Cases that are spread, what comes of each, and how fast it goes.

Invariant of every `SpreadCases`: each case has exactly one outcome, in order of completion,
whatever happens to the processes that do them; cases are read only as fast as they are done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flare_core.errors import FlareError, InputError
from flare_core.wording import many

Case = tuple[str, Any]
"""A case's name, and what the function is given."""

ATTEMPTS = 2
"""So often a case is begun whose process ends under it."""

PACE_OF = 60
"""So many of the last cases say how fast it goes."""


class WorkerLost(FlareError):
    """A case's worker process ended under it, each time that it was tried."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case: a value, or an error."""

    case: str
    """Its name."""
    value: Any = None
    """What the function returned."""
    error: Exception | None = None
    """What it raised, with the traceback from there; `WorkerLost` if its workers ended."""


SpreadCases = Callable[[Callable[[Any], Any], Iterable[Case]], Generator[Outcome, None, None]]
"""Calls a function with every case, somewhere. The function is found by its module and name in
other processes, or made of such functions by `functools.partial`. Whoever stops taking outcomes
closes the iterator, which ends what is under way."""


@dataclass(frozen=True)
class Pace:
    """How far it is, and how fast it goes."""

    done: int
    """Outcomes so far."""
    of: int
    """How many there will be."""
    per_minute: float
    """Cases a minute, of the last ones."""

    @property
    def seconds_left(self) -> float | None:
        """Time for the rest, at this pace; None if nothing was done yet.

        Examples
        --------
        >>> Pace(4, 10, 3.0).seconds_left
        120.0
        """
        return 60 * (self.of - self.done) / self.per_minute if self.per_minute else None

    @property
    def text(self) -> str:
        """The sentence for people.

        Examples
        --------
        >>> Pace(4, 10, 3.0).text
        '4 of 10 cases, 3.0 a minute'
        """
        return f"{self.done} of {many(self.of, 'case')}, {self.per_minute:.1f} a minute"


class Pacer:
    """Tells the pace of cases as they are done; the clock runs from its making.

    Parameters
    ----------
    done : int
        How many were done before.
    """

    def __init__(self, done: int = 0) -> None:
        self._marks = deque([(time.monotonic(), done)], maxlen=PACE_OF + 1)

    def __call__(self, done: int, of: int) -> Pace:
        """Return the pace now that so many are done."""
        self._marks.append((time.monotonic(), done))
        (since_s, before), (now_s, _) = self._marks[0], self._marks[-1]
        return Pace(done, of, 60 * (done - before) / max(1e-6, now_s - since_s))


def paced(outcomes: Iterable[Outcome], of: int) -> Iterator[tuple[Outcome, Pace]]:
    """Yield each outcome with how fast they come."""
    pacer = Pacer()
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome, pacer(done, of)


def input_error(outcome: Outcome) -> InputError | None:
    """Return what is wrong with a case's files or this computer; None if nothing is.

    Raises
    ------
    Exception
        The outcome's error, if it is of another kind: a fault of the program is not hidden.
    """
    error = outcome.error
    if error is None or isinstance(error, InputError):
        return error
    if isinstance(error, WorkerLost):
        return InputError(
            "workers",
            f"the case {outcome.case}: {error}",
            "undamaged files, and as many workers as the memory holds",
            "Look at the files of this case, or ask for fewer workers.",
        )
    if isinstance(error, OSError):
        came = f"a file that cannot be read: {error.strerror or error}"
        return InputError(str(error.filename), came, "a readable file", "Copy it.")
    if isinstance(error, MemoryError):
        came = "too large for the memory that is free"
        return InputError("scan", came, "a scan that fits", "Use fewer workers.")
    raise error
