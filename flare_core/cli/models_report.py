"""What ``flare models`` tells while it installs, imports or removes: for people, for programs.

JSON events of ``--progress json``, one object per line on standard output: ``start`` (pid),
``progress`` (stage, file, done and total in bytes or None, fraction 0..1 of the whole), at the end
``result`` (name, version, folder, notes if any), ``error`` (kind, argument, came, legal, action,
message), or ``cancelled``. A program stops it by closing the pipe that is its standard input; what
was downloaded stays, and the next attempt goes on from there.
"""

from __future__ import annotations

import _thread
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from flare_core.cli.models_text import card_text, mib
from flare_core.jobs.failure import json_line
from flare_core.jobs.progress import Display, Nothing, Step, Throttle, display_for
from flare_core.jobs.streams import lines_of, protected_stdout

if TYPE_CHECKING:
    from flare_core.models.package import Package

DOWNLOADING, CONVERTING, UNPACKING, REMOVING = "downloading", "converting", "unpacking", "removing"
"""Stages."""

DOWNLOAD_SHARE = 0.9
"""Part of the whole that is downloading, where something is downloaded."""


class Report(Protocol):
    """Gets told how far it is."""

    def expect(self, files: int) -> None:
        """So many files will be downloaded, converted or both."""

    def file(self, name: str) -> None:
        """The next file is about to be downloaded, unless it is here already."""

    def bytes(self, done: int, total: int | None) -> None:
        """So much of the file is here."""

    def stage(self, stage: str, name: str) -> None:
        """Something else than downloading begins, with this file or model."""

    def installed(self, package: Package) -> None:
        """It is done."""

    def removed(self, name: str, version: str, folder: Path) -> None:
        """It is gone."""


def notes_of(package: Package) -> list[str]:
    """Return what an import left out: unfinished folds, labels that are no organs of ours."""
    notes = package.card.provenance.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


class ReportForPeople:
    """A bar on standard error while something is downloaded, the card on standard output."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def expect(self, files: int) -> None:
        """Show the bar."""
        self._display.start("download")

    def file(self, name: str) -> None:
        """Say nothing: the bar starts anew by itself."""

    def bytes(self, done: int, total: int | None) -> None:
        """Move the bar."""
        share = done / total if total else 0.0
        self._display.show(Step(f"download, {mib(done)}", min(share, 1.0)))

    def stage(self, stage: str, name: str) -> None:
        """Say nothing: it takes seconds."""

    def installed(self, package: Package) -> None:
        """Print the card."""
        self._display.clear()
        print(f"Installed: {package.card.name}@{package.card.version} in {package.folder}")
        print(card_text(package))
        for note in notes_of(package):
            print(f"Note: {note}", file=sys.stderr)

    def removed(self, name: str, version: str, folder: Path) -> None:
        """Print where it was."""
        print(f"Removed: {folder}")


class ReportForPrograms:
    """One JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._throttle = Throttle()
        self._files, self._file, self._name = 1, -1, ""
        self._converted = 0
        self._send({"event": "start", "pid": os.getpid()})

    def expect(self, files: int) -> None:
        """Share the way out among so many files."""
        self._files = max(1, files)

    def file(self, name: str) -> None:
        """Begin the next file."""
        self._file, self._name = self._file + 1, name
        self._tell(DOWNLOADING, self._file / self._files * DOWNLOAD_SHARE)

    def bytes(self, done: int, total: int | None) -> None:
        """Send how far this file, and with it the whole, is."""
        share = min(1.0, done / total) if total else 0.0
        fraction = (max(0, self._file) + share) / self._files * DOWNLOAD_SHARE
        self._tell(DOWNLOADING, fraction, done, total)

    def stage(self, stage: str, name: str) -> None:
        """Send what begins."""
        self._name = name
        start = DOWNLOAD_SHARE if self._file >= 0 else 0.0
        self._tell(stage, start + (1 - start) * min(1.0, self._converted / self._files))
        self._converted += 1

    def installed(self, package: Package) -> None:
        """Send what is there now, and what a person should know of it."""
        card = package.card
        where = {"name": card.name, "version": card.version, "folder": str(package.folder)}
        notes = notes_of(package)
        self._send({"event": "result", **where} | ({"notes": notes} if notes else {}))

    def removed(self, name: str, version: str, folder: Path) -> None:
        """Send what it was about; whoever asked knows what was done."""
        self._send({"event": "result", "name": name, "version": version, "folder": str(folder)})

    def _tell(
        self, stage: str, fraction: float, done: int | None = None, total: int | None = None
    ) -> None:
        if self._throttle.lets_through(Step(f"{stage} {self._name}", fraction)):
            where = {"stage": stage, "file": self._name, "fraction": round(fraction, 4)}
            self._send({"event": "progress", **where, "done": done, "total": total})

    def _send(self, event: dict[str, object]) -> None:
        self._stream.write(json_line(event))
        self._stream.flush()


@contextmanager
def reporting(progress: str) -> Iterator[Report]:
    """Yield the report for ``--progress bar|json|none``."""
    if progress == "json":
        with protected_stdout() as stream, stopped_by_input():
            yield ReportForPrograms(stream)
        return
    display = Nothing() if progress == "none" else display_for(sys.stderr)
    try:
        yield ReportForPeople(display)
    finally:
        display.clear()


@contextmanager
def stopped_by_input() -> Iterator[None]:
    """Stop this program, as Ctrl-C does, when the other end of its input pipe is closed.

    Only a pipe is watched: a terminal has Ctrl-C, and an empty file says nothing.
    """
    descriptor = _input_pipe()
    if descriptor is None:
        yield
        return
    over, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        for _ in lines_of(descriptor):
            pass
        with lock:
            if not over.is_set():
                _interrupt()

    # A program in the background may have been started with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()
        signal.signal(signal.SIGINT, before)


def _input_pipe() -> int | None:
    """Return the descriptor of standard input if it is a pipe and we may watch it."""
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):  # none, closed, or a test's
        return None
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _interrupt() -> None:
    """Raise KeyboardInterrupt in the main thread, even while it waits for the network."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
