"""One function over many cases in several processes, in bounded memory.

New processes are started afresh: forked ones inherit locks that threads hold, and would behave
differently on Linux than elsewhere. One that ends in the middle costs the case it worked on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from flare_core.errors import InputError
from flare_core.processes import Ended, Sidecar

Item = TypeVar("Item")

WAITING = 2
"""Tasks handed out per process; finished ones wait in memory, so there are never many."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    value: Any = None
    """What the function returned."""
    error: InputError | None = None
    """Why it returned nothing."""


def map_cases(
    task: Callable[[Item], Any], cases: Sequence[Item], workers: int = 1
) -> Iterator[tuple[int, Outcome]]:
    """Yield (number of the case, outcome) as they come, in any order.

    Parameters
    ----------
    task : callable
        A function of a module, so that other processes find it.
    cases : sequence
        What it is called with, one at a time.
    workers : int
        Processes; with 1 everything happens in this one.

    Raises
    ------
    InputError
        If process after process ended from outside, mostly for want of memory.
    """
    if workers <= 1 or len(cases) <= 1:
        yield from ((number, attempt(task, case)) for number, case in enumerate(cases))
        return
    crew = _Crew(task)
    pool = ThreadPoolExecutor(workers)  # each thread waits for a process of its own
    try:
        for seen, (number, outcome) in enumerate(
            _stream(pool, crew.do, cases, workers * WAITING), start=1
        ):
            yield number, outcome
            if seen == crew.lost == min(len(cases), workers * WAITING):
                assert outcome.error is not None
                raise outcome.error  # it is not a case that is at fault
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        crew.end()


def attempt(task: Callable[[Item], Any], case: Item) -> Outcome:
    """Call a function; what is wrong with a file becomes the outcome, and the others go on."""
    try:
        return Outcome(task(case))
    except InputError as error:
        return Outcome(error=error)
    except OSError as error:
        came = f"a file that cannot be read: {error.strerror or error}"
        return Outcome(error=InputError(str(error.filename), came, "a readable file", "Copy it."))
    except MemoryError:
        came = "too large for the memory that is free"
        return Outcome(error=InputError("scan", came, "a scan that fits", "Use fewer workers."))


class _Crew:
    """A process for each thread, all doing one task."""

    def __init__(self, task: Callable[[Any], Any]) -> None:
        self._task = task
        self._own = threading.local()
        self._all: list[Sidecar] = []
        self._ended = False
        self.lost = 0
        """Cases whose process ended."""

    def do(self, case: Any) -> Outcome:
        """Do a case in this thread's process."""
        if self._ended:
            return Outcome()
        if not hasattr(self._own, "sidecar"):
            self._own.sidecar = Sidecar()
            self._all.append(self._own.sidecar)
        try:
            outcome: Outcome = self._own.sidecar.call(attempt, self._task, case)
        except Ended as end:
            self.lost += 1
            name = getattr(case, "name", case)
            return Outcome(
                error=InputError(
                    "workers",
                    f"the case {name}, whose process {end.reason}",
                    "undamaged files, and as many workers as the memory holds",
                    "Look at the files of this case, or ask for fewer workers: --workers 1 needs "
                    "least.",
                )
            )
        return outcome

    def end(self) -> None:
        """End the processes, whatever they are doing."""
        self._ended = True
        for sidecar in self._all:
            sidecar.close()


def _stream(
    pool: ThreadPoolExecutor, do: Callable[[Item], Outcome], cases: Sequence[Item], most: int
) -> Iterator[tuple[int, Outcome]]:
    """Keep at most `most` tasks under way."""
    running: dict[Future[Outcome], int] = {}
    waiting = iter(enumerate(cases))
    while True:
        for number, case in waiting:
            running[pool.submit(do, case)] = number
            if len(running) >= most:
                break
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()
