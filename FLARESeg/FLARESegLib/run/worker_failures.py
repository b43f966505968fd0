"""What to tell a person when the worker process has ended by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from FLARESegLib.run.child_process import End

LAST_LINES = 5
"""How many lines of the log a message quotes."""

OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "outofmemory",
    "memoryerror",
    "bad_alloc",
    "cannot allocate memory",
    "not enough memory",
    "paging file is too small",
)
"""What libraries and systems write when memory is short, in small letters."""

OUT_OF_MEMORY_CODES = (-9, 137, 0xC0000017, 0xC000012D, -1073741801, -1073741523)
"""Exit codes that usually mean it: killed by Linux (directly or through a launcher), and Windows'
STATUS_NO_MEMORY and STATUS_COMMITMENT_LIMIT, unsigned and signed."""

MISSING_WORDS = ("ModuleNotFoundError", "ImportError", "DLL load failed")

AGAIN = "Press Apply again; a new one is started."


def ended_answer(end: End, log: Iterable[str]) -> dict[str, Any]:
    """Return the last answer to a request whose worker has ended."""
    lines = [line for line in log if line.strip()]
    if end.reason:
        return _answer(
            f"The worker program could not be started: {end.reason}.",
            "Install the extension FLARESeg again; a virus scanner may have removed a file.",
            lines,
        )
    if is_out_of_memory(end, lines):
        return _answer(
            "The worker ended, most likely because the computer's memory was full.",
            "Close other programs, choose Fast, or crop the volume, then press Apply again.",
            lines,
            kind="out_of_memory",
        )
    if any(word in line for line in lines[-LAST_LINES:] for word in MISSING_WORDS):
        return _answer(
            "The worker could not load a Python package that it needs.",
            "Restart Slicer; if it happens again, install the Python packages of FLARESeg again.",
            lines,
        )
    code = f"with code {end.code}" if (end.code or 0) >= 0 else f"by signal {-(end.code or 0)}"
    return _answer(f"The worker program has ended unexpectedly, {code}.", AGAIN, lines)


def slow_answer(seconds: float, log: Iterable[str]) -> dict[str, Any]:
    """Return the answer when the worker never said that it is ready."""
    return _answer(
        f"The worker program did not get ready in {seconds:g} seconds.",
        "A virus scanner or a network drive may slow it down; press Apply again.",
        list(log),
    )


def outdated_answer(ready: dict[str, Any]) -> dict[str, Any]:
    """Return the answer when module and flare_core do not belong together."""
    return _answer(
        f"The installed flare_core {ready.get('version')} does not fit this module.",
        "Install the extension FLARESeg again, so that both have the same version.",
        [],
    )


def is_out_of_memory(end: End, lines: Iterable[str]) -> bool:
    """Guess whether a process ended because memory was short.

    Examples
    --------
    >>> is_out_of_memory(End(-9), [])
    True
    >>> is_out_of_memory(End(1), ["RuntimeError: CUDA out of memory"])
    True
    >>> is_out_of_memory(End(1), ["KeyError: 3"])
    False
    """
    said = any(word in line.lower() for line in lines for word in OUT_OF_MEMORY_WORDS)
    return said or end.code in OUT_OF_MEMORY_CODES


def _answer(
    came: str, action: str, lines: list[str], *, kind: str = "worker_died"
) -> dict[str, Any]:
    """Return an error with the fields that the worker's own errors have."""
    last = lines[-LAST_LINES:]
    log = "".join(f"\n    {line}" for line in last)
    message = f"{came}\n  {action}" + (f"\n  The last lines of its log:{log}" if last else "")
    return {
        "event": "error",
        "kind": kind,
        "argument": "",
        "came": came,
        "legal": "",
        "action": action,
        "message": message,
    }
