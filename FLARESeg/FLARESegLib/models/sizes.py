"""How large files are that somebody publishes, asked of their servers, but not for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from FLARESegLib.qt.event_loop import EventLoop

if TYPE_CHECKING:
    from flare_core.models.remote_file import RemoteFile

    SizeOf = Callable[[RemoteFile], int | None]

PATIENCE_S = 8.0
"""After this long, a size that no server has told is unknown."""
LOOK_S = 0.05
"""How often the main thread looks whether the answers are there."""


def ask_sizes(
    loop: EventLoop,
    files: Sequence[RemoteFile],
    size_of: SizeOf,
    on_sizes: Callable[[list[int | None]], None],
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Ask for all sizes at once, in threads; call `on_sizes` in the main thread.

    The threads are abandoned when patience is at an end: they never keep Slicer from ending.

    Parameters
    ----------
    size_of : callable
        Asks for one size in bytes, or returns None; may block.
    on_sizes : callable
        Called later, once, with sizes in the order of `files`.
    """
    sizes: list[int | None] = [None] * len(files)

    def ask(number: int) -> None:
        sizes[number] = size_of(files[number])

    threads = [
        threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(files))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience_s

    def look() -> None:
        if time.monotonic() < end and any(thread.is_alive() for thread in threads):
            loop.call_later(LOOK_S, look)
        else:
            on_sizes(list(sizes))

    loop.call_later(0, look)
