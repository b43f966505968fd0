"""Whether a process of this machine still runs, by its number, without disturbing it."""

from __future__ import annotations

import os
import sys

STILL_ACTIVE = 259
QUERY = 0x1000
"""Windows: PROCESS_QUERY_LIMITED_INFORMATION, and the exit code of a process that has none yet."""


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
