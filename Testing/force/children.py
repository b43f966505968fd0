"""Give many inputs to one child process with limits; a child that dies costs one input.

The child is forked from a process that has imported everything and computed nothing, so a new one
costs milliseconds. Each input has its limits: 10 s of processor, 2 GB and eight times its size.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flare_core.errors import MOST_LETTERS, FlareError, InputError
from force.budget import Budget
from force.counts import GOOD, Counts, one

CPU_S = 10
"""Processor time for one input: wall time would measure the neighbours."""

WALL_S = 60.0
"""A process that sleeps for so long hangs too."""

MEMORY = 2 * 10**9
"""Bytes beside eight times the input."""

ROOM = 10**9
"""Address space beyond that: libraries reserve more than they use."""

LONGEST_PART = MOST_LETTERS
"""Letters of one part of an error, as `flare_core.errors` promises."""


@dataclass(frozen=True)
class Reader:
    """Something that reads what others wrote."""

    area: str
    """Whose it is: imaging, dicom, models, train/evaluate, cli/worker, store."""
    build: Callable[[Path, random.Random], Path]
    """Writes a spoilt input into an empty folder and returns its path."""
    read: Callable[[Path], Any]
    """Reads it; raises `AssertionError` if what came cannot be."""
    plain: Callable[[Path], Path] | None = None
    """Writes the same unspoilt: it must be right, or the harness proves nothing. None: hostile."""
    apart: Callable[[Path], Any] | None = None
    """The same in the product's second process, which may die of it: asked after a crash."""
    warm: Callable[[], object] = lambda: None
    """Makes once, before the children are forked, what takes seconds."""


class Harm(BaseException):
    """Something ran, or was written where it must not be; nothing of ours may catch it."""


@dataclass(frozen=True)
class Child:
    """A process that waits for seeds, and our end of its pipe."""

    process: Any
    """A `multiprocessing` process, forked."""
    pipe: Connection
    """Takes seeds, gives (kind, why)."""

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def fuzz(name: str, reader: Reader, budget: Budget, folder: Path) -> Counts:
    """Give a reader one spoilt input after another."""
    reader.warm()
    counts, child = Counts(), _born(name, reader, folder)
    for seed in budget.seeds():
        kind, why = _asked(child, seed)
        if kind == "harness":
            child.end()
            raise RuntimeError(f"{name}, seed {seed}: the input could not be made\n{why}")
        if kind == "crashed":
            child.end()
            kind, why = _in_the_products_process(name, reader, folder, seed, why)
            child = _born(name, reader, folder)
        counts += one(kind, f"python -m force --only {name} --seed {seed} --count 1", why)
    child.end()
    return counts


def _in_the_products_process(
    name: str, reader: Reader, folder: Path, seed: int, why: str
) -> tuple[str, str]:
    """Say what a person sees of a crash: nothing, where the product reads in a second process."""
    if reader.apart is None:
        return "crashed", why
    child = _born(name, replace(reader, read=reader.apart), folder)
    kind, again = _asked(child, seed)
    child.end()
    return kind, again if kind in GOOD else f"{why}; in a second process: {again}"


def plain_verdict(reader: Reader, folder: Path) -> tuple[str, str]:
    """Read the unspoilt input of a reader; for a test of the harness itself."""
    if reader.plain is None:
        return "right", ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return judged(lambda: reader.read(reader.plain(folder)))  # type: ignore[misc]


def _asked(child: Child, seed: int) -> tuple[str, str]:
    """Have one input tried; say how the child ended if it did."""
    try:
        child.pipe.send(seed)
        if child.pipe.poll(WALL_S):
            return child.pipe.recv()
    except (EOFError, OSError):
        child.process.join(5)
        code = child.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return "crashed", "more than 10 s of processor" if name == "SIGXCPU" else f"died: {name}"
    return "crashed", f"no answer in {WALL_S:g} s"


def _born(name: str, reader: Reader, folder: Path) -> Child:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(name, reader, folder, theirs), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


def _serve(name: str, reader: Reader, folder: Path, pipe: Connection) -> None:
    """Try inputs until the parent is gone; what libraries print is nobody's answer."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(1000)
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            os._exit(0)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            path = reader.build(folder, random.Random(f"{name}-{seed}"))
        except Exception:  # noqa: BLE001 - told to the parent, which ends
            pipe.send(("harness", traceback.format_exc()))
            continue
        pipe.send(limited(lambda path=path: reader.read(path), size_of(path)))


def limited(work: Callable[[], Any], size: int) -> tuple[str, str]:
    """Do something within the limits for an input of so many bytes; return (kind, why)."""
    allowed = MEMORY + 8 * size
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    _limit(resource.RLIMIT_AS, _memory("VmSize") + allowed + ROOM)
    start = time.process_time()
    _limit(resource.RLIMIT_CPU, math.ceil(start) + CPU_S + 1)
    try:
        kind, why = judged(work)
    finally:
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)
    took, spent = _memory("VmHWM") - before, time.process_time() - start
    if took > allowed:
        return "crashed", f"took {took / 1e9:.1f} GB for {size} bytes; {kind} {why}"
    if spent > CPU_S:
        return "crashed", f"took {spent:.0f} s of processor; {kind} {why}"
    return kind, why


def judged(work: Callable[[], Any]) -> tuple[str, str]:
    """Do something; say whether it is right, refused clearly, or neither."""
    try:
        work()
    except InputError as error:
        return complaint(error.parts)
    except FlareError as error:
        return "clear", str(error)
    except Harm as harm:
        return "lost", str(harm)
    except BaseException as error:  # noqa: BLE001 - any other is the fault looked for
        return "unclear", _place(error)
    return "right", ""


def complaint(parts: tuple[str, ...]) -> tuple[str, str]:
    """Say whether four parts tell a person what to do."""
    text = " | ".join(map(str, parts))
    if len(parts) != 4 or not all(isinstance(p, str) and p.strip() for p in parts):
        return "unclear", f"a part is empty: {text[:300]}"
    if max(map(len, parts)) > LONGEST_PART:
        return "unclear", f"{len(text)} letters: {text[:200]}"
    if "\0" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
        return "unclear", f"cannot be shown: {ascii(text[:300])}"
    return "clear", text


def _place(error: BaseException) -> str:
    """Return type, message and the last line of ours that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "flare_core" in f.filename] or list(frames)
    place = f"{own[-1].filename.rpartition('flare_core/')[2]}:{own[-1].lineno}" if own else ""
    return ascii(f"{type(error).__name__}: {error}"[:200]).strip("'\"") + f" at {place}"


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files of a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0


def _limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def _memory(field: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
