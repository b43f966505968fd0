"""Processes of ``flare``: one for a run, which outlives Slicer, and short ones that answer.

What a run's process says goes into files of the run's folder:

process.jsonl   what it prints: JSON lines of progress
process.log     what goes wrong
process.json    its number, when it was started, with which words
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from FLARESegLib.core_path import flare_arguments
from FLARESegLib.run.child_process import Child, End
from FLARESegLib.run.workplace import python_program

from flare_core import atomic

OUTPUT, LOG, FACTS = "process.jsonl", "process.log", "process.json"

LONGEST_START = timedelta(minutes=15)
"""From starting a process to its first sign of life; later its number says nothing."""

STILL_ACTIVE = 259
QUERY = 0x1000
"""Windows: PROCESS_QUERY_LIMITED_INFORMATION, and the exit code of a process that has none yet."""

MOST_BYTES = 32 * 2**20
"""More than any short command says; the rest is dropped, so that memory stays bounded."""

Command = Callable[[Sequence[str]], list[str]]
"""From words of ``flare`` to program and arguments."""


def flare_command(words: Sequence[str]) -> list[str]:
    """Return program and arguments that run ``flare WORDS``.

    Raises
    ------
    RunFailed
        If this Slicer has no PythonSlicer.
    """
    return [python_program(), *flare_arguments(words)]


def start_detached(folder: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process of its own session; keep what is returned to learn how it ends.

    Raises
    ------
    OSError
        If it cannot be started or the files cannot be written.
    """
    with (folder / OUTPUT).open("ab") as output, (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            cwd=folder,
            start_new_session=True,  # a terminal or Slicer that goes away does not take it along
            creationflags=_windows_flags(),
        )
    facts = {
        "pid": process.pid,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": list(arguments),
    }
    atomic.write_json(folder / FACTS, facts)
    return process


def started_process(folder: Path) -> dict[str, Any]:
    """Return what `start_detached` wrote last; empty if it never did."""
    try:
        value = json.loads((folder / FACTS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def last_words(folder: Path, most: int = 4000) -> str:
    """Return the end of what went wrong."""
    try:
        with (folder / LOG).open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - most))
            return stream.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _windows_flags() -> int:
    """Return flags for no console and for Ctrl-C not to reach it; only Windows has them."""
    if sys.platform != "win32":
        return 0
    return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP


def is_launched(folder: Path) -> bool:
    """Return whether a process was started for a run not long ago and has not ended."""
    begun = started_process(folder)
    try:
        started = datetime.fromisoformat(str(begun.get("started", "")))
        young = datetime.now(timezone.utc) - started < LONGEST_START
        return young and is_alive(int(begun.get("pid", 0)))
    except (ValueError, TypeError):  # a damaged file
        return False


def is_alive(pid: int) -> bool:
    """Return whether there is a process of this number that has not ended.

    Examples
    --------
    >>> is_alive(os.getpid()), is_alive(0)
    (True, False)
    """
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether it has ended and nobody has asked how (Linux tells in /proc)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _is_alive_on_windows(pid: int) -> bool:
    """Ask Windows; ``os.kill`` would end the process there."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(QUERY, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    told = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return bool(told) and code.value == STILL_ACTIVE


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
