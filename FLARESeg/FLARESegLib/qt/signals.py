"""A signal without Qt, so that the logic runs under Slicer and under pytest alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls everyone who is connected, in order.

    Examples
    --------
    >>> seen = []
    >>> changed = Signal()
    >>> changed.connect(seen.append)
    >>> changed.emit(3)
    >>> changed.disconnect(seen.append)
    >>> changed.emit(4)
    >>> seen
    [3]
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[..., Any]] = []

    def connect(self, listener: Callable[..., Any]) -> None:
        """Have `listener` called at every `emit`; connecting twice is as once."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., Any]) -> None:
        """Call `listener` no more; nothing happens if it was not connected."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def clear(self) -> None:
        """Call nobody any more."""
        self._listeners.clear()

    def emit(self, *values: Any) -> None:
        """Call the listeners of this moment; one of them may disconnect meanwhile."""
        for listener in tuple(self._listeners):
            listener(*values)
