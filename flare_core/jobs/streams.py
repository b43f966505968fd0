"""Standard streams: there whatever started us, and for programs JSON lines with nothing in between.

A service, a program without a console or a shell's ``2>&-`` gives none; a disk may be full. What is
said is then lost, but the work is done: a message that cannot be written stops nothing. Only a
reader of standard output that leaves stops the run, since nobody waits for it any more.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

CHUNK_BYTES = 65536

MOST_LINE_BYTES = 2**24
"""A longer line is no request; what is beyond is dropped, so that memory stays bounded."""


class Forgiving(io.FileIO):
    """A file whose bytes are lost, not an error, where they cannot be written."""

    lost: OSError | None = None
    """Why something was lost."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write, or note why not; a reader of standard output that left is still told."""
        try:
            return super().write(data)
        except BrokenPipeError as error:
            if self.fileno() != 2:
                raise
            self.lost = error
        except OSError as error:
            self.lost = error
        return memoryview(data).nbytes


def forgiving_streams() -> None:
    """Make sure that there are standard streams, and that writing to them ends nothing.

    File names that the terminal cannot show are written as escapes.
    """
    _open_descriptors()
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _text(number))
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _forgiving(stream, number))


def lost_output() -> str:
    """Return why something that was printed to standard output is lost; "" if nothing is."""
    lost = getattr(_raw_of(sys.stdout), "lost", None)
    return "" if lost is None else lost.strerror or str(lost) or type(lost).__name__


@contextmanager
def protected_stdout() -> Iterator[TextIO]:
    """Yield standard output for JSON lines; whatever else is printed goes to standard error.

    The file descriptor itself is turned round, because C++ libraries print past Python.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
        errors = sys.stderr.fileno()
    except (io.UnsupportedOperation, AttributeError):  # a notebook or a test: no descriptor there
        stream = sys.stdout
        with redirect_stdout(sys.stderr):
            yield stream
        return
    saved = os.dup(number)
    os.dup2(errors, number)
    try:
        with redirect_stdout(sys.stderr), _text(saved, newline="\n") as stream:
            yield stream
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def protected_stdin() -> Iterator[int]:
    """Yield a descriptor of standard input that no process of ours inherits.

    What a library starts could otherwise read the requests away, or hold the pipe.
    """
    try:
        number = sys.stdin.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):  # none: it ends at once
        number = os.open(os.devnull, os.O_RDONLY)
    saved = os.dup(number)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nowhere, number)
        yield saved
    finally:
        os.dup2(saved, number)
        os.close(nowhere)
        os.close(saved)


def _read(descriptor: int) -> bytes:
    """Read some; nothing where the input was closed meanwhile, as when the process ends."""
    try:
        return os.read(descriptor, CHUNK_BYTES)
    except OSError:
        return b""


def lines_of(descriptor: int) -> Iterator[str]:
    """Yield the lines of a pipe until its other end closes.

    Read without Python's stream objects: a thread that waits inside one of them holds a lock that
    the interpreter needs to end.
    """
    rest = bytearray()
    while chunk := _read(descriptor):
        *whole, last = chunk.split(b"\n")
        for line in whole:
            rest += line
            yield rest[:MOST_LINE_BYTES].decode("utf-8", "replace")
            rest.clear()
        rest += last[: max(0, MOST_LINE_BYTES - len(rest))]
    if rest:
        yield rest.decode("utf-8", "replace")


def _open_descriptors() -> None:
    """Open what is missing of 0, 1 and 2: the next file would get the number, and the messages."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, os.O_RDWR)
            if found != number:
                os.dup2(found, number)
                os.close(found)
            os.set_inheritable(number, True)


def _forgiving(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """Return a stream on the same descriptor that loses what cannot be written."""
    raw = _raw_of(stream)
    if not isinstance(raw, io.FileIO) or isinstance(raw, Forgiving) or raw.fileno() != number:
        stream.reconfigure(errors="backslashreplace")
        return stream
    with suppress(OSError):  # the new one will find out
        stream.flush()
    return _text(number, like=stream)


def _raw_of(stream: object) -> object:
    """Return what is below a text stream's buffer; with PYTHONUNBUFFERED that is the buffer."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _text(
    number: int, *, newline: str | None = None, like: io.TextIOWrapper | None = None
) -> io.TextIOWrapper:
    """Return a forgiving stream on a descriptor; encoding and buffering may be another's."""
    raw = Forgiving(number, "wb", closefd=False)
    unbuffered = like is not None and isinstance(like.buffer, io.FileIO)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[type-var]
        encoding=like.encoding if like else "utf-8",
        errors="backslashreplace",
        newline=newline,
        line_buffering=like.line_buffering if like else number == 2,
        write_through=bool(like and like.write_through),
    )
