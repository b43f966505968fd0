"""The folder of a self-training run: where everything lies, how far it is, who may write to it.

    RUN/settings.json  student.json  state.json  cache/  scores/MODEL/CASE.json
    RUN/round-01/predictions/CASE.nii.gz, CASE.json (evidence)   candidates.json   decisions.json
                 labels.json   training.json   student-0/ (log.jsonl, checkpoint, weights)
                 package/   verdict.json   promotion.json

Predictions are the teacher's; where none predicted, the student's, made for people after training.
Every file appears whole or not at all, and each stage leaves one behind that says it is done: a run
that was killed goes on from there.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.alive import remove_abandoned
from flare_core.errors import Cancelled, InputError
from flare_core.home import ensure_folder
from flare_core.json_fields import IN_FILES, decode, encode, read_json_file
from flare_core.train.rounds.settings import RoundSettings

STAGES = (
    "predict", "evidence", "select", "labels", "train", "package", "review", "score", "promote",
)  # fmt: skip
"""Of every round, in order."""

FORMAT = 1

KINDS: dict[str, type] = {
    "candidates": list, "decisions": list, "unlabelled": list, "labels": dict, "verdict": dict,
    "promotion": dict,
}  # fmt: skip
"""What the JSON files of a round hold: a list of objects, or one object."""

TEXTS = ("hold_out",)
"""JSON files of a round that hold a list of texts."""

DAMAGED = "Restore the file from a copy, or start a new run."


@dataclass(frozen=True)
class RoundsState:
    """How far a run is."""

    run: str
    """Names this run in the case store."""
    created: str
    """When it was started, ISO 8601, UTC."""
    teacher: str = ""
    """Package folder of the first teacher; empty without one."""
    status: str = "ready"
    """``ready``, ``running``, ``stopped``, ``failed`` or ``done``."""
    round: int = 0
    """Round at work, from 1."""
    stage: str = field(default="", metadata={IN_FILES: "step"})
    """Stage at work, one of `STAGES`; ``step`` in the file."""
    message: str = ""
    """Why it stopped, failed or ended."""
    done: dict[str, dict[str, str]] = field(default_factory=dict)
    """Round -> stage -> when it was done."""
    pid: int = 0
    """Process that runs it, or ran it last."""
    host: str = ""
    """Machine of that process."""
    format: int = FORMAT
    """Of this file."""


@dataclass(frozen=True)
class RoundFolder:
    """Where one round's files are."""

    path: Path
    """``RUN/round-NN``."""
    number: int
    """From 1."""

    @property
    def predictions(self) -> Path:
        """Label maps and evidence."""
        return self.path / "predictions"

    def labels_of(self, case: str) -> Path:
        """Return the predicted label map of a case."""
        return self.predictions / f"{case}.nii.gz"

    def soft_of(self, case: str) -> Path:
        """Return the soft map of a case, where the strategy learns from soft labels."""
        return self.predictions / "soft" / f"{case}.nii.gz"

    def cleaned_of(self, case: str) -> Path:
        """Return the cleaned label map of a case that has a soft map, to compare rounds by."""
        return self.predictions / "cleaned" / f"{case}.nii.gz"

    def evidence_of(self, case: str) -> Path:
        """Return the evidence of a case; it is there once the case is predicted."""
        return self.predictions / f"{case}.json"

    def student(self, fold: int) -> Path:
        """Return the training run of a fold."""
        return self.path / f"student-{fold}"

    @property
    def held_out_cases(self) -> Path:
        """List of the hold-out's cases when the round's labels were chosen."""
        return self.path / "held_out_cases.json"

    @property
    def package(self) -> Path:
        """The student as a model."""
        return self.path / "package"

    def read(self, name: str) -> Any:
        """Return a JSON file of the round; None if it is not there yet."""
        path = self.path / f"{name}.json"
        value = read_of_run(path) if path.is_file() else None
        legal = _lacks(name, value)
        if value is not None and legal:
            came = f"JSON of another kind: {json.dumps(value)[:60]}"
            raise InputError(str(path), came, legal, DAMAGED)
        return value

    def need(self, name: str) -> Any:
        """Return a JSON file of the round that an earlier stage has written.

        Raises
        ------
        InputError
            If it is not there any more, or damaged.
        """
        value = self.read(name)
        if value is None:
            path = self.path / f"{name}.json"
            raise InputError(str(path), "no such file", "what an earlier stage wrote", DAMAGED)
        return value

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the round, whole or not at all."""
        atomic.write_json(self.path / f"{name}.json", value)


class RunFolder:
    """A run on disk.

    Parameters
    ----------
    path : Path
        Its folder; must hold a run.

    Raises
    ------
    InputError
        If there is no run, or its files are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "state.json").is_file():
            raise InputError(
                "folder of the run",
                str(path),
                "a folder that flare rounds start has made",
                "Check the path, or start a run there first.",
            )
        self.settings = decode(RoundSettings, self._json("settings"), str(path / "settings.json"))

    @property
    def state(self) -> RoundsState:
        """How far it is, as the file says now."""
        file = str(self.path / "state.json")
        state = decode(RoundsState, self._json("state"), file)
        if not 0 <= state.round <= self.settings.rounds:
            legal = f"0 to {self.settings.rounds}, the number of rounds"
            raise InputError(f"{file}: round", str(state.round), legal, DAMAGED)
        rounds = {str(number) for number in range(1, self.settings.rounds + 1)}
        known = all(set(stages) <= set(STAGES) for stages in state.done.values())
        if not known or not set(state.done) <= rounds:
            came, legal = json.dumps(state.done)[:60], f"round -> {', '.join(STAGES)} -> when done"
            raise InputError(f"{file}: done", came, legal, DAMAGED)
        return state

    def save(self, state: RoundsState) -> None:
        """Write how far it is."""
        atomic.write_json(self.path / "state.json", encode(state))

    def begin(self, number: int, stage: str) -> None:
        """Note that a stage of a round is at work."""
        self.save(replace(self.state, round=number, stage=stage))

    def end(self, status: str, message: str) -> None:
        """Note that its process is done with it."""
        self.save(replace(self.state, status=status, message=message))

    def finish(self, number: int, stage: str) -> None:
        """Note that a stage of a round is done."""
        done = self.state.done
        done.setdefault(str(number), {})[stage] = now()
        self.save(replace(self.state, done=done))

    def is_done(self, number: int, stage: str) -> bool:
        """Whether a stage of a round is done."""
        return stage in self.state.done.get(str(number), {})

    def round(self, number: int) -> RoundFolder:
        """Return a round's folder, making it."""
        folder = self.seen_round(number)
        ensure_folder(folder.predictions)
        return folder

    def seen_round(self, number: int) -> RoundFolder:
        """Return a round's folder for somebody who only looks; it need not be there."""
        return RoundFolder(self.path / f"round-{number:02d}", number)

    @property
    def cache(self) -> Path:
        """Resampled scans."""
        return self.path / "cache"

    def score_of(self, fingerprint: str, case: str) -> Path:
        """Return the file of a model's scores on a hold-out case."""
        return self.path / "scores" / fingerprint[:16] / f"{case}.json"

    # Stopping is asked for by a file, which works across processes, machines and systems.
    def ask_to_stop(self) -> None:
        """Ask the process that runs this to stop at the next moment where nothing is lost."""
        atomic.write_text(self.path / "stop", now())

    def is_asked_to_stop(self) -> bool:
        """Whether somebody asked to stop."""
        return (self.path / "stop").exists()

    def stop_if_asked(self) -> None:
        """Raise where somebody asked to stop.

        Raises
        ------
        Cancelled
            If they did.
        """
        if self.is_asked_to_stop():
            raise Cancelled("stopped on request; flare rounds resume goes on from here")

    def _json(self, name: str) -> Any:
        return read_of_run(self.path / f"{name}.json")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the run: no second process may write to it. The lock goes with its process.

        Raises
        ------
        InputError
            If another process runs it.
        """
        with _locked(self.path / "lock.sqlite") as mine:
            if not mine:
                state = self.state
                raise InputError(
                    "folder of the run",
                    f"{self.path}: process {state.pid} on {state.host} runs it",
                    "a run that no process works on",
                    "Wait for it, or ask it to stop with flare rounds stop.",
                )
            (self.path / "stop").unlink(missing_ok=True)
            self._sweep()
            pid, host = os.getpid(), socket.gethostname()
            self.save(replace(self.state, status="running", message="", pid=pid, host=host))
            yield

    def _sweep(self) -> None:
        """Remove what a killed owner left half-written; `stop` and the page may be another's."""
        for left in self.path.rglob(".????????.part.*"):
            if not left.name.endswith((".part.stop", ".part.report.html")):
                remove_abandoned(left, files_s=0.0)

    def is_running(self) -> bool:
        """Whether a process owns the run; looking takes nothing from one that is just starting."""
        return _is_locked(self.path / "lock.sqlite")


def create_run(
    path: Path, settings: RoundSettings, teacher: str, configs: Mapping[str, str]
) -> RunFolder:
    """Make the folder of a new run.

    Parameters
    ----------
    configs : mapping
        Field of the settings -> text of the training configuration it names. They are copied, so
        that what a person changes later does not change a run half-way.

    Raises
    ------
    InputError
        If a run is there already, or the folder cannot be written.
    """
    if (path / "state.json").exists():
        raise InputError(
            "folder of the run",
            f"{path} holds a run",
            "a new folder",
            "Go on with flare rounds resume, or choose another folder.",
        )
    ensure_folder(path)
    for name, text in configs.items():
        atomic.write_text(path / f"{name}.json", text)
    mine = {name: str((path / f"{name}.json").resolve()) for name in configs}
    settings = replace(settings, **mine)  # type: ignore[arg-type]
    atomic.write_text(path / "settings.json", settings.to_json())
    state = RoundsState(uuid.uuid4().hex[:12], now(), teacher)
    atomic.write_json(path / "state.json", encode(state))
    return RunFolder(path)


def read_of_run(path: Path) -> Any:
    """Return what a JSON file of a run holds.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return read_json_file(
        path, argument=str(path), legal="a JSON file that flare rounds wrote", action=DAMAGED
    )


def _lacks(name: str, value: object) -> str:
    """Return what a file of a round should hold and does not; empty if it does."""
    if name in TEXTS:
        fits = isinstance(value, list) and all(isinstance(row, str) for row in value)
        return "" if fits else "a list of texts"
    kind = KINDS.get(name, object)
    fits = isinstance(value, kind)
    if kind is list:
        fits = isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return "" if fits else "a list of objects" if kind is list else "an object"


def now() -> str:
    """Return the time, ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


LOOK_S = 1.0
"""A look at the lock takes milliseconds; whoever wants it waits for that."""


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a SQLite file; yield whether it could be had.

    The system lets go of it when the process ends, however it ends.
    """
    connection = sqlite3.connect(path, timeout=LOOK_S, isolation_level=None)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):  # a read-only folder, a full disk, no database
                raise _unlockable(path, str(error)) from error
            yield False
            return
        yield True
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _is_locked(path: Path) -> bool:
    """Whether a process holds the exclusive lock of a SQLite file; a shared one shows it."""
    if not path.is_file():
        return False
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            return True
        raise _unlockable(path, str(error)) from error
    return False


def _unlockable(path: Path, came: str) -> InputError:
    return InputError(
        "folder of the run",
        f"{path.parent}, whose {path.name} cannot be locked: {came}",
        "a folder that may be written to, with free space, on a file system with locks",
        "Correct its permissions, free space or move the run; remove the file if it is damaged.",
    )
