"""FLARETrain's logic: the training set and the self-training runs on it; no widget, no dialog.

From Slicer's Python console::

    from FLARETrain import FLARETrainLogic
    logic = FLARETrainLogic()
    run = logic.startRun(name="mine", store="/data/cases", teacher="default", minutes=60)
    logic.state(run).status                     # running, done, ...

A run is a process of its own (`processes`): it goes on when Slicer is closed, and any Slicer, or
``flare rounds status``, can look at it later.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from FLARESegLib.qt.event_loop import EventLoop, default_loop, in_slicer
from FLARESegLib.run.child_process import Child, QtChild, ThreadedChild

from flare_core.errors import FlareError
from flare_core.home import Home, open_home
from flare_core.models.in_use import model_in_use, read_in_use, roll_back
from flare_core.train.rounds.status import RunState
from FLARETrainLib.run.processes import (
    Answer,
    Command,
    ShortProcess,
    flare_command,
    last_words,
    start_detached,
)
from FLARETrainLib.run.request import REQUEST, RunRequest, write_request
from FLARETrainLib.run.state import STATE, known_runs, read_state

Told = Callable[[Answer], None]


class FLARETrainLogic:
    """Starts, stops and follows self-training runs.

    Parameters
    ----------
    home : Home, optional
        Where models and runs are; by default ``~/.flareseg``.
    loop : EventLoop, optional
        Calls later; by default Slicer's.
    command : callable, optional
        Turns words of ``flare`` into program and arguments.
    """

    def __init__(
        self,
        home: Home | None = None,
        loop: EventLoop | None = None,
        command: Command = flare_command,
    ) -> None:
        self.home = home or open_home()
        self.loop = loop or default_loop()
        self._command = command
        self._children: list[ShortProcess] = []
        self._launched: dict[Path, subprocess.Popen[bytes]] = {}

    # --- runs

    def startRun(
        self, *, name: str, store: str | Path, teacher: str = "default", minutes: float = 60.0
    ) -> Path:
        """Start a run with the usual choices; see `start` for all of them."""
        return self.start(RunRequest(name, Path(store), teacher, minutes=minutes))

    def start(self, request: RunRequest) -> Path:
        """Start a self-training run as a process of its own; return its folder.

        Raises
        ------
        InputError
            If the request cannot be run (what only the process finds out is in its state).
        RunFailed
            If this Slicer has no Python to run it.
        """
        folder = write_request(request, self.home)
        words = ["rounds", "start", str(folder), "--settings", str(folder / REQUEST)]
        self._launch(folder, words)
        return folder

    def resume(self, folder: Path) -> None:
        """Go on with a run that was stopped or interrupted, or never began.

        Raises
        ------
        RunFailed
            If this Slicer has no Python to run it.
        """
        if (folder / STATE).is_file():
            self._launch(folder, ["rounds", "resume", str(folder)])
        else:
            words = ["rounds", "start", str(folder), "--settings", str(folder / REQUEST)]
            self._launch(folder, words)

    def stop(self, folder: Path, on_answer: Told) -> None:
        """Ask a run to stop where nothing is lost; its process ends a little later."""
        self.ask(["rounds", "stop", str(folder)], on_answer)

    def state(self, folder: Path) -> RunState:
        """Return how far a run is."""
        self.reap()
        return read_state(folder)

    def runs(self, store: Path | None = None) -> tuple[Path, ...]:
        """Return the runs of this home, the newest first; those on one training set, if given."""
        found = known_runs(self.home.runs)
        if store is None:
            return found
        wanted = store.expanduser().resolve()
        return tuple(run for run in found if Path(read_state(run).store) == wanted)

    def last_words(self, folder: Path) -> str:
        """Return the end of what a run's process complained about."""
        return last_words(folder)

    # --- the next cases, promotion

    def next_cases(self, folder: Path, on_rows: Callable[[list[dict[str, Any]]], None]) -> None:
        """Find out in which order a person should look at cases; none before there is evidence."""
        words = ["rounds", "next", str(folder), "--json", "--count", "0"]
        self.ask(words, lambda answer: on_rows(rows_of(answer)))

    def promote(self, folder: Path, number: int, on_answer: Told, *, anyway: bool = False) -> None:
        """Put a round's model into use; FLARESeg offers it from then on."""
        words = ["rounds", "promote", str(folder), "--round", str(number)]
        self.ask([*words, "--anyway"] if anyway else words, on_answer)

    def in_use(self, name: str) -> str:
        """Return which version a model's name means now; empty without any."""
        try:
            return model_in_use(self.home, name) or ""
        except FlareError:
            return ""

    def can_roll_back(self, name: str) -> bool:
        """Whether there is a model to go back to."""
        try:
            return len(read_in_use(self.home, name).stack) > 1
        except FlareError:
            return False

    def roll_back(self, name: str) -> str:
        """Use what was used before the last promotion; return that.

        Raises
        ------
        InputError
            If there was nothing before.
        """
        return roll_back(self.home, name, reason="rolled back in Slicer")

    # --- processes

    def ask(self, words: Sequence[str], on_answer: Told) -> None:
        """Run a ``flare`` command without waiting for it."""

        def end(answer: Answer) -> None:
            self._children.remove(process)
            on_answer(answer)

        child: Child = QtChild() if in_slicer() else ThreadedChild(self.loop)
        process = ShortProcess(child, end)
        self._children.append(process)
        try:
            process.start(self._command(words))
        except FlareError as error:
            self._children.remove(process)
            told = Answer(None, "", str(error))
            self.loop.call_later(0, lambda: on_answer(told))

    def shutdown(self) -> None:
        """End the short commands; runs go on."""
        for process in self._children:
            process.stop()
        self._children.clear()
        self.reap()

    def _launch(self, folder: Path, words: list[str]) -> None:
        command = self._command([*words, "--progress", "json"])
        self._launched[folder] = start_detached(folder, command)

    def reap(self) -> None:
        """Let the system forget runs whose process has ended; it would count as alive."""
        ended = [folder for folder, process in self._launched.items() if process.poll() is not None]
        for folder in ended:
            del self._launched[folder]


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the rows that a command printed as JSON; none if it failed.

    Examples
    --------
    >>> rows_of(Answer(0, '[{"case": "una"}]', "")), rows_of(Answer(2, "", "no run"))
    ([{'case': 'una'}], [])
    """
    if not answer.good:
        return []
    try:
        rows = json.loads(answer.output)
    except ValueError:
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
