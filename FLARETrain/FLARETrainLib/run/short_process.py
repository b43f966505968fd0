"""One ``flare`` command as a child process: its answer comes later, nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from FLARESegLib.run.child_process import Child, End

MOST_BYTES = 32 * 2**20
"""More than any of these commands says; the rest is dropped, so that memory stays bounded."""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int | None
    """Exit code; None if it never ran or crashed."""
    output: str
    """Standard output."""
    errors: str
    """Standard error, or why it could not be started."""

    @property
    def good(self) -> bool:
        """Whether it did what was asked."""
        return self.code == 0


class ShortProcess:
    """Runs one command and tells its answer.

    Parameters
    ----------
    child : Child
        A process that was not started yet.
    on_answer : callable
        Called once, in the main thread.
    """

    def __init__(self, child: Child, on_answer: Callable[[Answer], None]) -> None:
        self._child = child
        self._on_answer = on_answer
        self._output, self._errors = bytearray(), bytearray()
        child.on_output.connect(lambda data: _add(self._output, data))
        child.on_errors.connect(lambda data: _add(self._errors, data))
        child.on_end.connect(self._end)

    def start(self, command: Sequence[str]) -> None:
        """Start the command; a failure is told like any other answer."""
        self._child.start(command[0], list(command[1:]))
        self._child.close_input()

    def stop(self) -> None:
        """End it, and tell nobody."""
        self._on_answer = lambda answer: None
        self._child.kill()

    def _end(self, end: End) -> None:
        texts = [bytes(part).decode("utf-8", "replace") for part in (self._output, self._errors)]
        errors = texts[1].strip() or end.reason
        self._on_answer(Answer(end.code, texts[0], errors))


def _add(buffer: bytearray, data: bytes) -> None:
    buffer.extend(data[: max(0, MOST_BYTES - len(buffer))])
