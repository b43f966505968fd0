"""What a run's folder says at one moment, as plain values. The folder: see `train.rounds.state`.

Read from the files, not by ``flare rounds status``: a new process every two seconds would be felt.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from FLARETrainLib.run.detached import started_process
from FLARETrainLib.run.process_alive import is_alive

STEPS = (
    "predict", "evidence", "select", "labels", "train", "package", "review", "score", "promote",
)  # fmt: skip
"""Of every round, in order; a test compares them with those of `flare_core.train`."""
WEIGHTS = {step: 6.0 if step == "train" else 1.0 for step in STEPS}
"""How much of a round's work a step is."""
MOST_BYTES = 64 * 2**20

LISTING = ("evidence", "review")
"""Steps after which there is a new list of what to look at next."""

LONGEST_START = timedelta(minutes=15)
"""From starting a process to its first sign of life; later its number says nothing."""

ACTIVE = ("starting", "running")
"""Statuses in which a process is at work."""


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    name: str
    """Of the model that comes out."""
    status: str
    """``starting``, ``ready``, ``running``, ``stopped``, ``interrupted``, ``failed``, ``done``."""
    message: str = ""
    """Why it stopped, failed or ended."""
    round: int = 0
    """Round at work, from 1."""
    rounds: int = 1
    """How many there will be."""
    step: str = ""
    """Step at work."""
    done: tuple[tuple[int, str], ...] = ()
    """Round and step of what is done."""
    strategy: str = ""
    """Which one."""
    store: str = ""
    """Folder of the case store."""

    @property
    def active(self) -> bool:
        """Whether a process is at work."""
        return self.status in ACTIVE

    @property
    def listed(self) -> tuple[int, str] | None:
        """Round and step of the newest list of what to look at next; None before there is one."""
        found = [each for each in self.done if each[1] in LISTING]
        return found[-1] if found else None

    def fraction(self, training: float = 0.0) -> float:
        """Return how much is done, 0 to 1; `training` is the share of the training at work."""
        if self.status == "done":
            return 1.0
        total = sum(WEIGHTS[step] for _, step in self.done if step in WEIGHTS)
        if self.step == "train" and (self.round, "train") not in self.done:
            total += WEIGHTS["train"] * min(1.0, max(0.0, training))
        return min(1.0, total / (self.rounds * sum(WEIGHTS.values())))


def read_state(folder: Path) -> RunState:
    """Return the state of a run; one that has not begun yet is ``starting`` or ``failed``."""
    state, settings = read_object(folder / "state.json"), read_object(folder / "settings.json")
    asked = settings or read_object(folder / "request.json")
    facts = {
        "name": str(asked.get("name", folder.name)),
        "rounds": int(asked.get("rounds", 1)),
        "strategy": str((asked.get("strategy") or {}).get("kind", "")),
        "store": str(asked.get("store", "")),
    }
    launched = is_launched(folder)
    if not state:
        return RunState(status="starting" if launched else "failed", **facts)
    status = str(state.get("status", "ready"))
    if status == "running" and not is_owned(folder):
        status = "interrupted"
    if status not in ("running", "done") and launched:
        status = "starting"
    done = state.get("done") or {}
    return RunState(
        status=status,
        message=str(state.get("message", "")),
        round=int(state.get("round", 0)),
        step=str(state.get("step", "")),
        done=tuple((int(number), step) for number, steps in done.items() for step in steps),
        **facts,
    )


def is_launched(folder: Path) -> bool:
    """Return whether a process was started for a run not long ago and has not ended."""
    begun = started_process(folder)
    try:
        started = datetime.fromisoformat(str(begun.get("started", "")))
    except ValueError:
        return False
    young = datetime.now(timezone.utc) - started < LONGEST_START
    return young and is_alive(int(begun.get("pid", 0)))


def is_owned(folder: Path) -> bool:
    """Return whether a process holds the run's lock, on whatever machine.

    Its number would not do: the system gives it to another process one day.
    """
    path = folder / "lock.sqlite"
    if not path.is_file():
        return False
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as db:
            db.execute("SELECT 1 FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:
        return True
    return False


def round_file(folder: Path, number: int, name: str) -> dict[str, Any]:
    """Return a JSON object of a round; empty if it is not there."""
    return read_object(folder / f"round-{number:02d}" / f"{name}.json")


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty if it is not there, too large or damaged."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def known_runs(runs: Path, most: int = 200) -> tuple[Path, ...]:
    """Return the folders of runs, the newest first."""
    try:
        found = [path for path in runs.iterdir() if path.is_dir()]
    except OSError:
        return ()
    named = [
        path
        for path in found
        if (path / "state.json").is_file() or (path / "request.json").is_file()
    ]
    return tuple(sorted(named, key=_changed, reverse=True)[:most])


def _changed(path: Path) -> float:
    """Return when a run was asked for."""
    times = [
        (path / name).stat().st_mtime
        for name in ("request.json", "settings.json")
        if (path / name).is_file()
    ]
    return min(times, default=0.0)
