"""Standard streams that carry JSON: UTF-8, one object a line, nothing else in between."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

CHUNK_BYTES = 65536


@contextmanager
def protected_stdout() -> Iterator[TextIO]:
    """Yield standard output for JSON lines; whatever else is printed goes to standard error.

    The file descriptor itself is turned round, because C++ libraries print past Python.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (io.UnsupportedOperation, AttributeError):  # a notebook or a test: no descriptor there
        stream = sys.stdout
        with redirect_stdout(sys.stderr):
            yield stream
        return
    saved = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with (
            redirect_stdout(sys.stderr),
            open(saved, "w", encoding="utf-8", newline="\n", closefd=False) as stream,
        ):
            yield stream
    finally:
        os.dup2(saved, number)
        os.close(saved)


def lines_of(descriptor: int) -> Iterator[str]:
    """Yield the lines of a pipe until its other end closes.

    Read without Python's stream objects: a thread that waits inside one of them holds a lock that
    the interpreter needs to end.
    """
    rest = b""
    while chunk := os.read(descriptor, CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def forgiving_streams() -> None:
    """Let a file name that the terminal cannot show be written as escapes, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
