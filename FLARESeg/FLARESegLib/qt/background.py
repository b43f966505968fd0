"""Work in a thread, its result in the main thread.

The work may only use arrays and files: neither Qt nor MRML may be touched outside the main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from flare_core.errors import FlareError
from FLARESegLib.qt.event_loop import EventLoop

Result = TypeVar("Result")

POLL_S = 0.02
"""How often the main thread looks whether the work is done."""


def in_background(
    loop: EventLoop, work: Callable[[], Result], on_end: Callable[[Future[Result]], None]
) -> None:
    """Do `work` in a thread; call `on_end` with its future, done, in the main thread."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)

    def look() -> None:
        if future.done():
            on_end(future)
        else:
            loop.call_later(POLL_S, look)

    loop.call_later(POLL_S, look)


def hand_on(
    future: Future[Result],
    then: Callable[[Result], None],
    fail: Callable[[FlareError | OSError], None],
) -> None:
    """Call `then` with what a future that is done holds, or `fail` with why it holds nothing."""
    try:
        result = future.result()
    except (FlareError, OSError) as error:
        fail(error)
    else:
        then(result)
