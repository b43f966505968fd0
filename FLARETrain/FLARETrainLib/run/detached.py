"""A process that goes on when Slicer is closed; what it says goes into files of the run's folder.

process.jsonl   what it prints: JSON lines of progress
process.log     what goes wrong
process.json    its number, when it was started, with which words
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from FLARESegLib.core_path import flare_arguments
from FLARESegLib.run.workplace import python_program

from flare_core import atomic

OUTPUT, LOG, FACTS = "process.jsonl", "process.log", "process.json"

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
