"""Cases on this computer: one after another in this process, or in several others.

The processes are a `ThreadPoolExecutor` of the standard library whose threads each wait for a
process of their own (`processes.Sidecar`). A `ProcessPoolExecutor` would look for its modules in
the current folder first (before Python 3.11), run the caller's script again in each process, and
lose every case under way when one process ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from flare_core.errors import InputError
from flare_core.processes import Ended, Sidecar
from flare_core.spread.cases import ATTEMPTS, Case, Outcome, SpreadCases, WorkerLost
from flare_core.wording import many

AHEAD = 2
"""Cases handed out per process; finished ones wait in memory, so there are never many."""


def in_turn(
    function: Callable[[Any], Any], cases: Iterable[Case]
) -> Generator[Outcome, None, None]:
    """Call the function with one case after another, in this process: the simplest `SpreadCases`.

    Examples
    --------
    >>> [outcome.value for outcome in in_turn(abs, [("a", -1), ("b", 2)])]
    [1, 2]
    """
    for name, item in cases:
        try:
            yield Outcome(name, function(item))
        except Exception as error:  # noqa: BLE001 - told in the outcome; the others go on
            yield Outcome(name, error=error)


def in_processes(workers: int) -> SpreadCases:
    """Return what spreads cases over so many processes; with one, everything happens in this one.

    A case whose process ends is tried again after all others, alone; then it is `WorkerLost`.
    """
    return in_turn if workers <= 1 else partial(_in_processes, workers)


def _in_processes(
    workers: int, function: Callable[[Any], Any], cases: Iterable[Case]
) -> Generator[Outcome, None, None]:
    crew = _Crew(function)
    pool = ThreadPoolExecutor(workers)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            most = workers * AHEAD if attempt == 1 else 1
            again = list[Case]()
            for case, outcome in _stream(pool, crew.do, cases, most):
                if isinstance(outcome.error, WorkerLost) and attempt < ATTEMPTS:
                    again.append(case)
                    crew.insist(most)
                else:
                    yield outcome
            cases = again
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        crew.end()


class _Crew:
    """A process for each thread, all doing one function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._own = threading.local()
        self._all: list[Sidecar] = []
        self._is_over = False
        self._done = 0
        self._lost: list[str] = []

    def do(self, case: Case) -> Outcome:
        """Do a case in this thread's process."""
        name, item = case
        if self._is_over:
            return Outcome(name)
        if not hasattr(self._own, "sidecar"):
            self._own.sidecar = Sidecar()
            self._all.append(self._own.sidecar)
        try:
            value = self._called(item)
        except Ended as end:
            self._lost.append(end.reason)
            return Outcome(name, error=WorkerLost(f"its process {end.reason}, {ATTEMPTS} times"))
        except Exception as error:  # noqa: BLE001 - told in the outcome; the others go on
            self._done += 1
            return Outcome(name, error=error)
        self._done += 1
        return Outcome(name, value)

    def _called(self, item: Any) -> Any:
        """Return what the function returns in this thread's process."""
        try:
            self._own.sidecar.warm()
        except OSError as error:
            raise InputError(
                "workers",
                f"no further process could be started: {error.strerror or error}",
                "as many workers as this computer has room for",
                "Ask for fewer workers: --workers 1 needs no further process.",
            ) from error
        return self._own.sidecar.call(self._function, item)

    def insist(self, least: int) -> None:
        """Raise if so many processes ended and none did anything: no case is at fault.

        Raises
        ------
        InputError
            If so.
        """
        if not self._done and len(self._lost) >= least:
            raise InputError(
                "workers",
                many(len(self._lost), "process", "processes")
                + f", one after another, each of which {self._lost[-1]}",
                "as many workers as the memory holds",
                "Ask for fewer workers: --workers 1 needs least.",
            )

    def end(self) -> None:
        """End the processes, whatever they are doing."""
        self._is_over = True
        for sidecar in self._all:
            sidecar.close()


def _stream(
    pool: ThreadPoolExecutor, do: Callable[[Case], Outcome], cases: Iterable[Case], most: int
) -> Iterator[tuple[Case, Outcome]]:
    """Keep at most `most` cases under way."""
    running: dict[Future[Outcome], Case] = {}
    waiting = iter(cases)
    while True:
        for case in waiting:
            running[pool.submit(do, case)] = case
            if len(running) >= most:
                break
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()
