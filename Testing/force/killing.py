"""Kill -9 at any moment: at a random time, or at a random step that leaves something on the disk.

A process that has imported everything and computed nothing is forked for each attempt, so a kill
costs what the command itself costs. After the kill the next run must end well, lose nothing and
leave nothing behind that an undisturbed run would not leave.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.processes import Sidecar
from force.budget import Budget
from force.counts import Counts, one

DEADLY = {
    "rename", "replace", "fsync", "mkdir", "unlink", "chmod", "write", "truncate", "close", "rmdir",
    "link", "symlink", "sendfile", "copyfileobj", "execute", "executemany", "flock", "lockf",
    "scandir", "open", "utime",
}  # fmt: skip
"""C functions at whose call a process is killed: all that leave something on the disk."""

PATIENCE_S = 240.0
"""An undisturbed run takes seconds; the machine may be busy."""


@dataclass(frozen=True)
class Scene:
    """A command that is killed."""

    area: str
    """Whose it is."""
    prepare: Callable[[Path], None]
    """Makes what the command needs."""
    work: Callable[[Path], None]
    """The command; killed."""
    again: Callable[[Path, random.Random], None]
    """The next run; must end well."""
    check: Callable[[Path, bool], str]
    """Says what is lost, right after the kill (False) and after the next run (True)."""
    may: str = "(?!)"
    """Regular expression of names that a run may leave or not, as its numbers come out."""


@dataclass(frozen=True)
class Ended:
    """How a forked process ended."""

    code: int | None
    """Exit code; negative: the signal; None: it hung."""
    steps: int
    """Deadly steps it took."""
    seconds: float
    """How long."""
    said: str
    """Its traceback."""


class Killer:
    """A profiler that kills its process at the n-th deadly step."""

    def __init__(self, last: int) -> None:
        self.steps, self.last = 0, last

    def __call__(self, frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and getattr(function, "__name__", "") in DEADLY:
            self.steps += 1
            if self.steps > self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def apart(work: Callable[[], Any], *, after_s: float = PATIENCE_S, last_step: int = 0) -> Ended:
    """Do something in a forked process with a folder for temporary files of its own.

    `last_step` above 0 kills it at the step after that; below 0 only counts; 0 does neither.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, last_step, theirs))
    process.start()
    theirs.close()
    start = time.monotonic()
    process.join(after_s)
    alive = process.is_alive()
    if alive:
        process.kill()
    process.join()
    _end_group(process.pid or 0)
    steps, said = (0, "")
    if ours.poll():
        with contextlib.suppress(EOFError):
            steps, said = ours.recv()
    ours.close()
    hung = alive and after_s >= PATIENCE_S
    return Ended(None if hung else process.exitcode, steps, time.monotonic() - start, said)


def _child(work: Callable[[], Any], last_step: int, pipe: Any) -> None:
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    killer = Killer(last_step if last_step > 0 else 10**12)
    if last_step:
        threading.setprofile(killer)
        sys.setprofile(killer)
    said = ""
    try:
        code = work()
    except BaseException:  # noqa: BLE001 - told to the parent
        code, said = 1, traceback.format_exc()
    sys.setprofile(None)
    pipe.send((killer.steps, said))
    os._exit(code if isinstance(code, int) else 0)


def _end_group(leader: int) -> None:
    """End what a killed process had started: its own processes, by their session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def temporary(folder: Path) -> None:
    """Let this process keep its temporary files below the scene's folder."""
    place = folder / "tmp"
    place.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    os.environ["HOME"] = str(folder / "person")


def read_here() -> None:
    """Read scans in this process: to start a second one would be most of a writer's short life."""

    def none(self: Sidecar) -> None:
        raise OSError("no second process")

    Sidecar.warm = none  # type: ignore[method-assign]


def kill(name: str, scene: Scene, budget: Budget, folder: Path) -> Counts:
    """Kill a command again and again, each time in a fresh copy of its folder."""
    world, clean = folder / "world", folder / "clean"
    clean.mkdir()  # everything happens at one path: settings may hold it
    _must(apart(lambda: (temporary(clean), scene.prepare(clean))), f"{name}: prepare")
    shutil.copytree(clean, world, symlinks=True)
    whole = apart(lambda: (temporary(clean), scene.work(clean)), last_step=-1)
    _must(whole, f"{name}: the undisturbed run")
    _must(apart(lambda: (temporary(clean), scene.again(clean, random.Random(0)))), f"{name}: again")
    usual = _listing(clean)
    counts = Counts()
    for seed in budget.seeds():
        shutil.rmtree(clean, ignore_errors=True)
        shutil.copytree(world, clean, symlinks=True)
        chance = random.Random(f"{name}-{seed}")
        kind, why = _one_kill(scene, clean, whole, usual, chance)
        counts += one(kind, f"python -m force --only {name} --seed {seed} --count 1", why)
    return counts


def _one_kill(
    scene: Scene, place: Path, whole: Ended, usual: set[str], chance: random.Random
) -> tuple[str, str]:
    """Kill once, run again; return how that ended."""

    def work() -> None:
        temporary(place)
        scene.work(place)

    how = chance.random()
    if how < 0.7:  # half of these at the end, where what was made gets its name
        first = 1 if how < 0.35 else whole.steps - min(60, whole.steps // 2)
        moment = chance.randint(first, max(1, whole.steps))
        killed = apart(work, last_step=moment)
        when = f"at step {moment} of {whole.steps}"
    else:
        moment_s = chance.uniform(0, whole.seconds)
        killed = apart(work, after_s=moment_s)
        when = f"after {moment_s:.2f} s"
    if killed.code is None:
        return "crashed", f"{when}: it hung"
    if lost := _checked(scene, place, False):
        return "lost", f"killed {when}: {lost}"
    next_run = apart(lambda: (temporary(place), scene.again(place, chance)))
    if next_run.code != 0:
        return "crashed", f"killed {when}; the next run: {next_run.code} {_last(next_run.said)}"
    if lost := _checked(scene, place, True):
        return "lost", f"killed {when}: {lost}"
    new = _listing(place) - usual
    if rest := sorted(name for name in new if not re.fullmatch(scene.may, name)):
        return "left", f"killed {when}: {rest[:4]}"
    return "right", ""


def _checked(scene: Scene, place: Path, after: bool) -> str:
    """Look in a process of its own, as looking may import or lock things."""
    said = place.parent / "said"
    said.unlink(missing_ok=True)
    ended = apart(lambda: said.write_text(scene.check(place, after), "utf-8") and 0)
    if ended.code != 0:
        return f"the check failed: {_last(ended.said)}"
    return said.read_text("utf-8")


def _last(said: str) -> str:
    return " / ".join(line.strip() for line in said.strip().splitlines()[-5:])[:300]


def _must(ended: Ended, what: str) -> None:
    if ended.code != 0:
        raise RuntimeError(f"{what} ended with {ended.code}\n{ended.said}")


def _listing(folder: Path) -> set[str]:
    """Return the names below a folder, numbers and hashes taken out."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {re.sub(r"[0-9a-f]{8,}|\d+", "#", name) for name in names if "__pycache__" not in name}
