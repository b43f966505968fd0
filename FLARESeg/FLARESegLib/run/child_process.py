"""A child process whose pipes never block us: through Qt in Slicer, through threads elsewhere.

Both kinds deliver raw bytes in the main thread; lines and JSON are the business of
`worker_process`. The program started may be a launcher (PythonSlicer is one) that starts the real
program with the same pipes, so `kill` reaches only the launcher and `pid` is only its number.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import IO, Any, Protocol

from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal

CHUNK_BYTES = 65536
POLL_S = 0.01
"""How often the pipes of a `ThreadedChild` are looked at."""
SIGNALS = 128
"""More than the largest number of a signal."""
LAST_WORDS_S = 1.0
"""How long pipes are read after the process has ended; a grandchild may keep them open."""


@dataclass(frozen=True)
class End:
    """How a child process ended."""

    code: int | None
    """Exit code, or minus the number of the signal that ended it; None if it never started."""
    reason: str = ""
    """Why it never started, in the system's words; empty if it did."""


class Child(Protocol):
    """What `worker_process` needs of a child process."""

    on_output: Signal
    """Called with bytes of standard output."""
    on_errors: Signal
    """Called with bytes of standard error."""
    on_end: Signal
    """Called once with an `End`, after all output."""

    def start(self, program: str, arguments: Sequence[str]) -> None:
        """Start it; a failure comes through `on_end`."""

    def write(self, data: bytes) -> None:
        """Send to its standard input; nothing happens if it is gone."""

    def close_input(self) -> None:
        """Tell it that nothing more will come."""

    def kill(self) -> None:
        """End the process that was started, at once."""

    def wait(self, seconds: float) -> bool:
        """Block until it has ended and `on_end` was called; return whether it has."""


class QtChild:
    """A `Child` through ``QProcess``, for Slicer."""

    def __init__(self) -> None:
        import qt

        self.on_output, self.on_errors, self.on_end = Signal(), Signal(), Signal()
        self._process: Any = qt.QProcess()
        self._failed_to_start = int(qt.QProcess.FailedToStart)
        self._crashed = int(qt.QProcess.CrashExit)
        self._over = False
        self._connect("readyReadStandardOutput()", self._read_output)
        self._connect("readyReadStandardError()", self._read_errors)
        self._connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._connect("errorOccurred(QProcess::ProcessError)", self._error)

    def start(self, program: str, arguments: Sequence[str]) -> None:
        """Start it; Qt tells a failure later."""
        self._process.start(program, list(arguments))

    def write(self, data: bytes) -> None:
        """Put data into Qt's buffer; it is sent while events are handled."""
        if not self._over:
            self._process.write(data)

    def close_input(self) -> None:
        """Close the pipe once the buffer is sent."""
        if not self._over:
            self._process.closeWriteChannel()

    def kill(self) -> None:
        """End the process that was started."""
        if not self._over:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Block Qt's thread; only for the end of Slicer."""
        if not self._over:
            self._process.waitForFinished(round(1000 * seconds))
        return self._over

    def _connect(self, signal: str, slot: Callable[..., None]) -> None:
        """Connect, or say so: PythonQt only returns False for a signal it does not know."""
        if not self._process.connect(signal, slot):
            raise RuntimeError(f"this version of Qt has no QProcess::{signal}")

    def _read_output(self) -> None:
        self.on_output.emit(_bytes_of(self._process.readAllStandardOutput()))

    def _read_errors(self) -> None:
        self.on_errors.emit(_bytes_of(self._process.readAllStandardError()))

    def _finished(self, code: int, status: Any) -> None:
        self._read_output()
        self._read_errors()
        code = int(code)
        ended_by_signal = int(status) == self._crashed and 0 < code < SIGNALS  # Windows: larger
        self._end(End(-code if ended_by_signal else code))

    def _error(self, error: Any) -> None:
        """Take note of the one error after which `finished` does not come."""
        if int(error) == self._failed_to_start:
            self._end(End(None, str(self._process.errorString()) or "it cannot be started"))

    def _end(self, end: End) -> None:
        if not self._over:
            self._over = True
            self._process.deleteLater()  # by Qt, in its thread; Python's collector may run in any
            self.on_end.emit(end)


def _bytes_of(array: Any) -> bytes:
    """Return the content of a QByteArray, which PythonQt may have turned into bytes already."""
    return bytes(array if isinstance(array, (bytes, bytearray)) else array.data())


class ThreadedChild:
    """A `Child` through ``subprocess``: threads read the pipes, the event loop delivers."""

    def __init__(self, loop: EventLoop) -> None:
        self.on_output, self.on_errors, self.on_end = Signal(), Signal(), Signal()
        self._loop = loop
        self._process: subprocess.Popen[bytes] | None = None
        self._inbox: SimpleQueue[tuple[Signal, bytes]] = SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._over = False

    def start(self, program: str, arguments: Sequence[str]) -> None:
        """Start it and its readers."""
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # only Windows has consoles to hide
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                [program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, creationflags=flags
            )
        except OSError as error:
            end = End(None, error.strerror or str(error))
            self._loop.call_later(0, lambda: self._end(end))
            return
        self._read(self._process.stdout, self.on_output)
        self._read(self._process.stderr, self.on_errors)
        self._loop.call_later(POLL_S, self._poll)

    def write(self, data: bytes) -> None:
        """Write at once; requests are short, pipes are not."""
        self._with_input(lambda stream: (stream.write(data), stream.flush()))

    def close_input(self) -> None:
        """Close the pipe."""
        self._with_input(lambda stream: stream.close())

    def kill(self) -> None:
        """End the process that was started."""
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait for the process and deliver what it left."""
        if self._process is not None and not self._over:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            self._finish()
        return self._over

    def _with_input(self, act: Callable[[IO[bytes]], object]) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        with suppress(OSError):  # it is gone; its end is told when all it said has been read
            act(self._process.stdin)

    def _read(self, stream: IO[bytes] | None, signal: Signal) -> None:
        assert stream is not None

        def body() -> None:
            while chunk := os.read(stream.fileno(), CHUNK_BYTES):
                self._inbox.put((signal, chunk))

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        self._readers.append(thread)

    def _poll(self) -> None:
        """Deliver what came; look whether the process has ended."""
        if self._over or self._process is None:
            return
        if self._process.poll() is None:
            self._loop.call_later(POLL_S, self._poll)  # first: a listener may fail
            self._deliver()
        else:
            self._finish()

    def _deliver(self) -> None:
        while True:
            try:
                signal, chunk = self._inbox.get_nowait()
            except Empty:
                return
            signal.emit(chunk)

    def _finish(self) -> None:
        """Deliver the last words of an ended process, then its end."""
        assert self._process is not None
        for thread in self._readers:
            thread.join(LAST_WORDS_S)
        try:
            self._deliver()
        finally:
            self.close_input()
            self._close_outputs()
            self._end(End(self._process.returncode))

    def _close_outputs(self) -> None:
        """Close what nobody reads any more."""
        assert self._process is not None
        streams = (self._process.stdout, self._process.stderr)
        for stream, thread in zip(streams, self._readers, strict=True):
            if stream is not None and not thread.is_alive():
                stream.close()

    def _end(self, end: End) -> None:
        if not self._over:
            self._over = True
            self.on_end.emit(end)
