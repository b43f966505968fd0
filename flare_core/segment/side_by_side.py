"""Several tiles at once on a CPU, each with its share of the threads, their results in order.

Threads inside a tile meet at a barrier after every step. Where another program takes a core away,
all of them wait for the one that lost it; so a busy computer made a run six times as long. Tiles
side by side wait for nobody, and alone on the machine they use it better, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def shares(count: int, threads: int, at_once: int) -> list[int]:
    """Return how many threads each of `count` tiles gets: more where the last ones leave some over.

    The numbers depend on nothing else: a convolution's rounding may depend on its threads.

    Examples
    --------
    >>> shares(5, threads=4, at_once=2)
    [2, 2, 2, 2, 4]
    >>> shares(3, threads=2, at_once=2), shares(1, threads=2, at_once=2)
    ([1, 1, 2], [2])
    """
    whole = count - count % at_once
    each, left = max(1, threads // at_once), count - whole
    return [each] * whole + [max(1, threads // max(1, left))] * left


def in_order(
    work: Callable[[Item], Result], items: Sequence[Item], *, threads: int, at_once: int
) -> Generator[Result, None, None]:
    """Yield what `work` makes of every item, in their order, `at_once` of them being worked on.

    An item is begun when the one `at_once` places before it is taken, so that few results wait.

    Parameters
    ----------
    threads : int
        All there are; torch in the calling thread gets one of them meanwhile, and all afterwards.
    """
    if at_once <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    queue = iter(zip(items, shares(len(items), threads, at_once), strict=True))
    waiting: deque[Future[Result]] = deque()
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(at_once, "tile")
    try:
        torch.set_num_threads(1)
        for _ in range(at_once):
            _begin(pool, work, queue, waiting)
        while waiting:
            result = waiting.popleft().result()
            _begin(pool, work, queue, waiting)
            yield result
            del result  # it may be large, and the next is waited for
    finally:  # also where nobody takes the rest
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


def _begin(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    queue: Iterator[tuple[Item, int]],
    waiting: deque[Future[Result]],
) -> None:
    """Have the next item worked on, if there is one."""
    for item, threads in queue:
        waiting.append(pool.submit(_work, work, item, threads))
        return


def _work(work: Callable[[Item], Result], item: Item, threads: int) -> Result:
    torch.set_num_threads(threads)  # of this thread alone
    return work(item)
