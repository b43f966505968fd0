"""The one warm worker of this process and all that is around it, shared by every logic.

A logic from the Python console and the panel's own use the same worker, so that the model is
loaded once.
"""

from __future__ import annotations

import atexit
import shutil
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from FLARESegLib.core_path import flare_arguments
from FLARESegLib.qt.event_loop import EventLoop, default_loop, in_slicer
from FLARESegLib.run import temporary_folder
from FLARESegLib.run.child_process import Child, QtChild, ThreadedChild
from FLARESegLib.run.failures import RunFailed
from FLARESegLib.run.worker_process import Command, WorkerProcess

if TYPE_CHECKING:
    from FLARESegLib.run.run import Run


@dataclass(frozen=True)
class Workplace:
    """Where runs happen."""

    loop: EventLoop
    """Calls later."""
    worker: WorkerProcess
    """Segments."""
    temporary: Path
    """In which folder temporary folders are made."""
    runs: list[Run] = field(default_factory=list)
    """The runs that have begun here; those that are over may be among them."""

    def begin(self, run: Run) -> None:
        """Start a run, and see to its end when this process ends."""
        self.runs[:] = [each for each in self.runs if not each.over] + [run]
        run.start()

    def close(self) -> None:
        """End the worker and every run. Blocks briefly; afterwards nothing is left behind."""
        self.worker.close()
        for run in self.runs:
            run.stop_now()
        self.runs.clear()


@cache
def shared_workplace() -> Workplace:
    """Return the workplace of this process; nothing is started before the first request."""
    loop = default_loop()

    worker = WorkerProcess(worker_command, lambda: new_child(loop), loop)
    place = Workplace(loop, worker, temporary_folder.parent_folder())
    if in_slicer():
        import slicer

        slicer.app.connect("aboutToQuit()", place.close)
    else:
        atexit.register(place.close)
    return place


def new_child(loop: EventLoop) -> Child:
    """Return a process that is not started yet, of the kind that suits where we are."""
    return QtChild() if in_slicer() else ThreadedChild(loop)


def worker_command() -> Command:
    """Return the program and arguments of ``flare segment --worker``."""
    return python_program(), flare_arguments(["segment", "--worker"])


def python_program() -> str:
    """Return the Python that runs workers: Slicer's own, or the one that we are in.

    Raises
    ------
    RunFailed
        If Slicer has none, which a damaged installation does not.
    """
    if not in_slicer():
        return sys.executable
    found = shutil.which("PythonSlicer")
    if found is None:
        raise RunFailed(
            "worker_died", "PythonSlicer is missing; install Slicer again from slicer.org."
        )
    return found
