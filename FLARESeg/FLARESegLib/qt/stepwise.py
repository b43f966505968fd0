"""Work that comes in short steps, a few of them at a time, so that Qt's thread stays free."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from flare_core.errors import FlareError
from FLARESegLib.qt.event_loop import STEP_S, EventLoop

Steps = Generator[float, None, Any]


def walk(
    loop: EventLoop,
    steps: Steps,
    then: Callable[[Future[Any]], None],
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Take all steps; call `then` with a future that holds what they return, or why they failed.

    Parameters
    ----------
    loop : EventLoop
        Calls later.
    steps : generator
        The work; yields between steps.
    then : callable
        Called at the end, in the same thread.
    wanted : callable
        Asked before each bundle of steps; False ends the work without a word.
    """
    if not wanted():
        steps.close()
        return
    future: Future[Any] = Future()
    end = time.perf_counter() + STEP_S
    try:
        while time.perf_counter() < end:
            next(steps)
    except StopIteration as finish:
        future.set_result(finish.value)
    except FlareError as error:
        future.set_exception(error)
    except Exception as error:  # a mistake of ours: told, too, or the panel would wait for ever
        future.set_exception(FlareError(f"Something failed: {type(error).__name__}: {error}"))
        then(future)
        raise
    if future.done():
        then(future)
    else:
        loop.call_later(0, lambda: walk(loop, steps, then, wanted))
