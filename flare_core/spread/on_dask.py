"""Cases on the workers of a Dask cluster; outcomes come as they are ready.

Steps: `Shared.check` asks the workers whether they see the folders -> `spread` submits a few cases
ahead of the workers and yields an `Outcome` for each.
Invariant: each case has exactly one outcome, whatever happens to the workers; at no time more cases
are known to the scheduler than a few for each thread.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flare_core.errors import FlareError, InputError
from flare_core.spread.cases import ATTEMPTS, Case, Outcome, WorkerLost
from flare_core.spread.shared import OPTION, Shared, Unseen
from flare_core.wording import by_count, many

if TYPE_CHECKING:
    from distributed import Client, Future

COUNT_EVERY_S = 5.0
"""How often the workers are counted: they come and go."""

AWAY_S = 30.0
"""Workers that ended and are not back after such a time are told; it takes seconds to be back."""

POLL_S = (0.001, 0.05)
"""How often we look for outcomes: soon after the last one, and ever more seldom."""


class ClusterLost(FlareError):
    """The scheduler does not answer any more."""


@dataclass(frozen=True)
class Terms:
    """How cases are spread."""

    shared: Shared
    """What every worker has to see; one that comes later is asked before its first case."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What a case takes of its worker's resources, as in {"GPU": 1}; see `check_resources`."""
    ahead: int = 2
    """So many cases for each of the workers' threads are submitted at a time."""
    patience_s: float = 600.0
    """So long the cluster may be without any worker; those that ended start again."""
    tell: Callable[[str], None] = lambda _: None
    """Told a sentence when workers are gone for good, or back."""


def check_resources(client: Client, resources: Mapping[str, float]) -> None:
    """Refuse resources that no worker offers: a case that wants them would wait for ever.

    Raises
    ------
    InputError
        If none of the workers that are there has enough of them.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    for name, amount in resources.items():
        if not any(worker["resources"].get(name, 0) >= amount for worker in workers):
            raise InputError(
                OPTION,
                many(len(workers), "worker")
                + f", none of which offers the resource {name}={amount:g}",
                f"workers that were started with --resources {name}={amount:g}",
                "Start such workers, or choose --device auto or --device cpu.",
            )


def spread(
    client: Client, function: Callable[[Any], Any], cases: Iterable[Case], terms: Terms
) -> Generator[Outcome, None, None]:
    """Call the function with every case on some worker; yield outcomes in order of completion.

    A case whose worker ends is tried again after all others, with no second one beside it: so it
    is known whose fault it was. If it was begun `ATTEMPTS` times in vain, it is `WorkerLost`. If
    the caller stops, cases under way are told (see `unwanted`).

    Parameters
    ----------
    client : distributed.Client
        Of a scheduler that lets a case fail with its first worker (allowed-failures 0); others try
        it on as many more workers as they are set to before we hear of it.
    function : callable
        Found by its module and name on the workers; or of such functions, by `functools.partial`.
    cases : iterable of (str, object)
        Names, and what the function gets. Read only as fast as cases are done.

    Raises
    ------
    Unseen
        If a worker does not see what it has to.
    ClusterLost
        If the scheduler is gone.
    """
    run = _Run(client, function, terms)
    try:
        lost = yield from run.through((_Try(case) for case in cases), alone=False)
        while lost:
            lost = yield from run.through(lost, alone=True)
    finally:
        run.stop()


def unwanted() -> Callable[[], bool]:
    """Return a function that says whether nobody waits any more for the case of this thread.

    It can be asked in any thread. Outside a worker it is never so.
    """
    if "distributed" not in sys.modules:  # it may not even be installed
        return lambda: False
    from distributed import get_worker

    try:
        worker = get_worker()
        key = worker.get_current_task()
    except ValueError:
        return lambda: False

    def is_unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return is_unwanted


@dataclass  # mutable: counts
class _Try:
    """A case and how it fared."""

    case: Case
    """The case."""
    begun: int = 0
    """How often a worker ended while it did the case."""
    number: int = 0
    """Which submission it was, of all; workers do what was submitted first."""


class _Run:
    """The cases under way, by the key of their future."""

    def __init__(self, client: Client, function: Callable[[Any], Any], terms: Terms) -> None:
        self._client = client
        self._function = function
        self._terms = terms
        self._flying: dict[str, tuple[_Try, Future]] = {}
        self._alone: dict[str, str] = {}  # key -> the worker that has nothing else
        self._room = 1
        self._submitted = 0
        self._counted_s = float("-inf")
        self._peopled_s = time.monotonic()
        self._crew = _Crew(terms.tell)
        self._pause_s = POLL_S[0]

    def through(
        self, cases: Iterable[_Try], *, alone: bool
    ) -> Generator[Outcome, None, list[_Try]]:
        """Do the cases; return those whose worker ended, if they may be tried again."""
        from distributed import as_completed

        queue, lost = iter(cases), list[tuple[_Try, Any]]()
        self._counted_s = float("-inf")
        first = self._fill(queue, alone)
        flying = as_completed(first, loop=self._client.loop, raise_errors=False)
        while not flying.is_empty():
            for future in flying.next_batch(block=False) or self._wait():
                if future.status in ("lost", "pending"):
                    flying.add(future)  # its result went with a worker; it is done again
                    continue
                self._pause_s = POLL_S[0]
                tried, _ = self._flying.pop(future.key)
                self._alone.pop(future.key, None)
                worker, outcome = self._outcome(tried.case[0], future)
                flying.update(self._fill(queue, alone))
                if outcome is None:
                    lost.append((tried, worker))
                    self._terms.tell(f"{tried.case[0]}: its worker ended; it is tried again later.")
                else:
                    yield outcome
        _count_begun(lost, alone)
        yield from (_lost(each) for each, _ in lost if each.begun >= ATTEMPTS)
        return [each for each, _ in lost if each.begun < ATTEMPTS]

    def stop(self) -> None:
        """Forget what is under way; workers notice."""
        futures = [future for _, future in self._flying.values()]
        self._flying.clear()
        if futures:
            with suppress(OSError, TimeoutError):  # the scheduler may be gone as well
                self._client.cancel(futures, force=True)

    def _wait(self) -> list[Future]:
        """Wait a moment; return nothing.

        Raises
        ------
        ClusterLost
            If there has been no worker for too long.
        """
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, POLL_S[1])
        self._count()
        alone_s = time.monotonic() - self._peopled_s
        if alone_s > self._terms.patience_s:
            raise ClusterLost(f"the cluster has had no worker for {alone_s:.0f} s")
        return []

    def _fill(self, queue: Iterator[_Try], alone: bool) -> list[Future]:
        """Submit as many cases as there is room for."""
        places = self._free_workers() if alone else self._places()
        new = []
        for worker in places:
            tried = next(queue, None)
            if tried is None:
                break
            new.append(self._submit(tried, worker))
        return new

    def _submit(self, tried: _Try, worker: str | None) -> Future:
        self._submitted += 1
        tried.number = self._submitted
        future = self._client.submit(
            _done_there,
            self._function,
            self._terms.shared,
            tried.case[1],
            key=f"case-{uuid.uuid4().hex}",
            pure=False,
            resources=dict(self._terms.resources) or None,
            workers=worker and [worker],
            allow_other_workers=bool(worker),  # it may be gone by now
        )
        self._flying[future.key] = tried, future
        if worker:
            self._alone[future.key] = worker
        return future

    def _places(self) -> list[str | None]:
        """Return as many nothings as there is room for: a few for each thread there is."""
        self._count()
        return [None] * (self._room - len(self._flying))

    def _count(self) -> None:
        """Count threads from time to time; without any, all workers may be starting again."""
        now = time.monotonic()
        if now - self._counted_s < COUNT_EVERY_S:
            return
        self._counted_s = now
        threads = self._client.nthreads()
        self._crew.count(len(threads), now)
        if total := sum(threads.values()):
            self._room, self._peopled_s = self._terms.ahead * total, now

    def _free_workers(self) -> list[str]:
        """Return the workers that have none of our cases; if we have none at all, wait for one."""
        while True:
            busy = set(self._alone.values())
            free = [each for each in self._client.nthreads() if each not in busy]
            if free or self._flying:
                return free
            self._wait()

    def _outcome(self, case: str, future: Future) -> tuple[Any, Outcome | None]:
        """Return what came of a case; if its worker ended, that worker and None."""
        from distributed import KilledWorker

        if future.status == "finished":
            try:
                return None, Outcome(case, future.result())
            except KilledWorker as error:  # the result was lost, and so was the next worker
                return error.last_worker, None
        if future.status != "error":
            raise ClusterLost(f"the cluster's scheduler is gone ({future.status})")
        failure = future.exception()
        if isinstance(failure, Unseen):
            raise failure
        if isinstance(failure, KilledWorker):
            return failure.last_worker, None
        if not isinstance(failure, Exception):  # KeyboardInterrupt, SystemExit over there
            failure = RuntimeError(f"{type(failure).__name__} in the worker")
        return None, Outcome(case, error=failure.with_traceback(future.traceback()))


def _count_begun(lost: Sequence[tuple[_Try, Any]], alone: bool) -> None:
    """Count for each case that its worker had begun it; others that waited there had no chance."""
    waited: dict[str, int] = {}
    for tried, worker in sorted(lost, key=lambda pair: pair[0].number):
        before = waited.get(worker.address, 0)
        waited[worker.address] = before + 1
        if alone or before < worker.nthreads:
            tried.begun += 1


def _lost(tried: _Try) -> Outcome:
    times = f"its worker process was ended {many(tried.begun, 'time')}"
    return Outcome(tried.case[0], error=WorkerLost(f"{times}, mostly for want of memory"))


class _Crew:
    """How many workers there are, and who is told when some are gone."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._most = 0
        self._told = 0
        self._whole_s = 0.0

    def count(self, there: int, now_s: float) -> None:
        """Tell if workers have been away for a while, and when all are back."""
        if there >= self._most:
            if self._told < self._most:
                self._tell(
                    by_count(
                        there, "The worker is there again.", "All {count} workers are there again."
                    )
                )
            self._most = self._told = there
            self._whole_s = now_s
        elif now_s - self._whole_s > AWAY_S and there != self._told:
            self._told = there
            left = many(self._most, "worker is left", "workers are left")
            self._tell(f"{there} of {left}; the cases go on with them.")


def _done_there(function: Callable[[Any], Any], seen: Shared, item: Any) -> Any:
    """Do a case, in the worker."""
    seen.insist()
    return function(item)
