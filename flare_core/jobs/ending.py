"""How a process of ours ends: asked to, where nothing is lost, or at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from flare_core.processes import end_sidecars

HANG_UP = getattr(signal, "SIGHUP", None)
"""A terminal was closed; Windows has no such signal."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, *filter(None, (HANG_UP,)))
"""What a system that shuts down sends, Ctrl-C, and a terminal that is closed."""


@contextmanager
def on_stop_signal(ask: Callable[[], object]) -> Iterator[None]:
    """Let the first signal call `ask` instead of ending the process; the second one ends it.

    A closed terminal only asks, as system and shell say so two or three times within moments.
    Outside the main thread, which alone gets signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before.get(SIGNALS[-1]) == signal.SIG_IGN and SIGNALS[-1] != signal.SIGINT:
        del before[SIGNALS[-1]]  # nohup: a terminal that is closed must not stop it

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        if HANG_UP is not None and HANG_UP in before:  # never first as before: the next one is near
            signal.signal(HANG_UP, signal.SIG_IGN)
        for each in before.keys() - {HANG_UP}:
            signal.signal(each, before[each])
        ask()

    for number in before:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once(code: int = 0, *, flush: bool = True) -> None:
    """End this process, whatever its other threads do and without taking it apart.

    Parameters
    ----------
    code : int
        Its exit code.
    flush : bool
        First write out what was printed, which lasts for ever if a reader neither reads nor leaves.
    """
    for stream in (sys.stdout, sys.stderr) if flush else ():
        with suppress(OSError, ValueError, AttributeError):  # nobody reads any more, or ever did
            stream.flush()
    end_sidecars()
    os._exit(code)
