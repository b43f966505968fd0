"""The process that starts a command, samples the machine while it runs, and ends its whole tree.

`flare_core.evaluate.efficiency.measure.measure` starts it and talks to it through two pipes:

- in: one JSON line, the request; then silence. Any further byte, or the end of the pipe, means
  stop. So the command also ends when the measuring program is killed.
- out: one JSON line, what was seen, after everything has ended.

It is a process of its own because then every process below it belongs to the command, even one
whose parent has died (on Linux it is their sub-reaper), and because Python's work elsewhere cannot
delay a sample. It imports the standard library only.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flare_core.evaluate.efficiency import probe

INTERVAL_S = 0.1
"""FLARE's sampling interval."""
GRACE_S = 3.0
"""Time between the request to end (SIGTERM) and the end (SIGKILL)."""
PATIENCE_S = 5.0
"""How long a killed process may take to go; one that waits for a dead disk never does."""
ROUND_S = 0.05
"""How often ending a tree looks whether it is gone."""

Row = tuple[float, float, float | None, float | None, float | None]
"""Time s, GPU MiB, CPU percent, RAM MiB, RAM of the tree MiB; None: not known on this system."""
Event = tuple[str, float]
"""What happened ("ended", "stop", "timeout", "due") and when, on the clock `time.monotonic`."""
Events = queue.SimpleQueue
"""Its put may be called in a signal handler."""


class Counters:
    """Everything that is sampled."""

    def __init__(self, gpu: int) -> None:
        self.gpu = probe.open_gpu(gpu)
        self._machine = probe.open_machine()
        self.tree = probe.open_tree()

    def row(self, time_s: float) -> Row:
        """Read every counter once."""
        machine, tree = self._machine, self.tree
        return (
            round(time_s, 4),
            round(self.gpu.used_mib(), 1),
            round(machine.cpu_percent(), 2) if machine else None,
            round(machine.ram_mib(), 1) if machine else None,
            round(tree.ram_mib(), 1) if tree else None,
        )


def main() -> None:
    """Serve the one request on standard input."""
    events: Events[Event] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: events.put(("stop", time.monotonic())))
    probe.adopt_orphans()
    request = json.loads(_first_line())
    _in_thread(lambda: _wait_for_order(events))
    answer = watch(request, events)
    with suppress(BrokenPipeError):  # whoever asked has been stopped
        os.write(1, json.dumps(answer).encode("ascii") + b"\n")


def watch(request: dict[str, Any], events: Events[Event]) -> dict[str, Any]:
    """Run the command of `request` until it ends or an event stops it; return what was seen.

    Parameters
    ----------
    request : dict
        ``command`` (list of str), ``log`` (path for its output), ``timeout_s`` (float or None),
        ``gpu`` (int).
    events : queue
        A "stop" may arrive from outside.
    """
    counters = Counters(request["gpu"])
    start = time.monotonic()
    try:
        process = _start(request["command"], request["log"])
    except OSError as error:
        return {"error": error.strerror or str(error)}
    _in_thread(lambda: _wait_for_end(process, events))
    timeout_s = request["timeout_s"]
    deadline = float("inf") if timeout_s is None else start + timeout_s
    own_start_s = time.process_time()  # what Python took to start was before the command
    rows, (why, when) = _sample(counters, events, start, deadline)
    own_cpu_s = time.process_time() - own_start_s
    found = end_tree(process, counters.tree)
    exit_code = _exit_code(process)
    return {
        "rows": rows,
        "why": why,
        "exit_code": exit_code,
        "left_over": found if why == "ended" else 0,
        "gpu": counters.gpu.name,
        "note": counters.gpu.note,
        "wall_s": when - start,
        "cpu_time_s": _cpu_time_of_children(),
        "own_cpu_s": own_cpu_s,
    }


def end_tree(process: subprocess.Popen[bytes], tree: probe.ProcessTree | None) -> int:
    """End every process of the command; return how many were running.

    Parameters
    ----------
    process : Popen
        The command's first process, leader of its own session.
    tree : ProcessTree or None
        All of them; None where they cannot be listed: then the session's group is ended.
    """
    if tree is None:
        return _end_group(process)
    running = tree.running()
    _signal(running, signal.SIGTERM)
    _wait_until(lambda: not tree.running(), GRACE_S)
    patience = time.monotonic() + PATIENCE_S
    while (stubborn := tree.running()) and time.monotonic() < patience:
        _signal(stubborn, signal.SIGKILL)  # again: a process may have started another meanwhile
        time.sleep(ROUND_S)
    return len(running)


def _sample(
    counters: Counters, events: Events[Event], start: float, deadline: float
) -> tuple[list[Row], Event]:
    """Sample 0.1, 0.2, ... s after `start` until something happens; return rows and what it was.

    The times are fixed points, so the cost of a sample does not stretch the interval. A point
    that was missed because the machine was busy is left out.
    """
    rows: list[Row] = []
    point = 1
    while True:
        event = _next_event(events, start + point * INTERVAL_S, deadline)
        if event[0] == "due" or not rows:
            rows.append(counters.row(time.monotonic() - start))
        if event[0] != "due":
            return rows, event
        point = max(point, int((time.monotonic() - start) / INTERVAL_S)) + 1


def _next_event(events: Events[Event], due: float, deadline: float) -> Event:
    """Wait until something happens, a sample is due, or the deadline passes."""
    until = min(due, deadline)
    try:
        return events.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        return ("timeout" if until == deadline else "due", time.monotonic())


def _start(command: list[str], log: str) -> subprocess.Popen[bytes]:
    """Start the command; its output and its errors go into one file."""
    with open(log, "wb") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for_end(process: subprocess.Popen[bytes], events: Events[Event]) -> None:
    process.wait()
    events.put(("ended", time.monotonic()))


def _wait_for_order(events: Events[Event]) -> None:
    """Take a byte, or the end of the pipe, as the order to stop."""
    os.read(0, 1)
    events.put(("stop", time.monotonic()))


def _first_line() -> bytes:
    """Read a line byte by byte, so that nothing after it is taken out of the pipe."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return bytes(line)


def _in_thread(task: Callable[[], None]) -> None:
    threading.Thread(target=task, daemon=True).start()


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code; None if the process cannot be ended."""
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None


def _end_group(process: subprocess.Popen[bytes]) -> int:
    """End the command's process group (or tree, on Windows) where processes cannot be listed."""
    if process.poll() is not None and sys.platform == "win32":
        return 0
    if sys.platform == "win32":
        ending = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(ending, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return 1
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        _wait_until(lambda: process.poll() is not None, GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
        return 1
    return 0


def _signal(processes: set[int], number: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _wait_until(done: Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not done() and time.monotonic() < end:
        time.sleep(ROUND_S)


def _cpu_time_of_children() -> float | None:
    """Return the processor time of everything that ran below this process, s; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # orphans count once they are buried
            pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
