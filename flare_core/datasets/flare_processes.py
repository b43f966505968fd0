"""One function over many cases in several processes, in bounded memory.

New processes are started afresh (spawned): forked ones inherit locks that threads hold, and would
behave differently on Linux than elsewhere.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from flare_core.errors import InputError

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
        If a process was ended from outside, mostly for want of memory.
    """
    if workers <= 1 or len(cases) <= 1:
        yield from ((number, attempt(task, case)) for number, case in enumerate(cases))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_ctrl_c) as pool:
        try:
            yield from _stream(pool, task, cases, workers * WAITING)
        except BrokenProcessPool as error:
            raise InputError(
                "workers",
                f"{workers} processes, one of which was ended from outside",
                "as many as the memory holds: each needs room for its largest scan and labels",
                "Ask for fewer workers; --workers 1 needs least.",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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


def _stream(
    pool: ProcessPoolExecutor, task: Callable[[Item], Any], cases: Sequence[Item], most: int
) -> Iterator[tuple[int, Outcome]]:
    """Keep at most `most` tasks under way."""
    running: dict[Future[Outcome], int] = {}
    waiting = iter(enumerate(cases))
    while True:
        for number, case in waiting:
            running[pool.submit(attempt, task, case)] = number
            if len(running) >= most:
                break
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _ignore_ctrl_c() -> None:
    """Leave Ctrl-C to the main process, which then ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
