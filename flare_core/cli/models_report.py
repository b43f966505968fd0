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
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.cli.models_text import card_text, mib
from flare_core.jobs.progress import Reporter, reporting
from flare_core.jobs.streams import lines_of
from flare_core.segment.progress import Progress

if TYPE_CHECKING:
    from flare_core.models.package import Package

DOWNLOADING, CONVERTING, UNPACKING, REMOVING = "downloading", "converting", "unpacking", "removing"
"""Stages."""

DOWNLOAD_SHARE = 0.9
"""Part of the whole that is downloading, where something is downloaded."""


def notes_of(package: Package) -> list[str]:
    """Return what an import left out: unfinished folds, labels that are no organs of ours."""
    notes = package.card.provenance.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


class ModelReport:
    """Tells how far it is: a bar while something is downloaded, then the card; or JSON lines.

    Parameters
    ----------
    reporter : Reporter
        Speaks to a person or a program.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._files, self._file, self._name = 1, -1, ""
        self._converted = 0
        reporter.send({"event": "start", "pid": os.getpid()})

    def expect(self, files: int) -> None:
        """So many files will be downloaded, converted or both."""
        self._files = max(1, files)
        self._reporter.begin("download")

    def file(self, name: str) -> None:
        """The next file is about to be downloaded, unless it is here already."""
        self._file, self._name = self._file + 1, name
        self._tell(DOWNLOADING, self._file / self._files * DOWNLOAD_SHARE)

    def bytes(self, done: int, total: int | None) -> None:
        """So much of the file is here."""
        share = min(1.0, done / total) if total else 0.0
        if self._reporter.for_programs:
            fraction = (max(0, self._file) + share) / self._files * DOWNLOAD_SHARE
            self._tell(DOWNLOADING, fraction, done, total)
        else:
            self._reporter.show(Progress(f"download, {mib(done)}", share))

    def stage(self, stage: str, name: str) -> None:
        """Something else than downloading begins, with this file or model."""
        self._name = name
        start = DOWNLOAD_SHARE if self._file >= 0 else 0.0
        self._tell(stage, start + (1 - start) * min(1.0, self._converted / self._files))
        self._converted += 1

    def installed(self, package: Package) -> None:
        """Tell what is there now, and what a person should know of it."""
        card, notes = package.card, notes_of(package)
        where = {"name": card.name, "version": card.version, "folder": str(package.folder)}
        event = {"event": "result", **where} | ({"notes": notes} if notes else {})
        title = f"Installed: {card.name}@{card.version} in {package.folder}"
        self._reporter.tell(f"{title}\n{card_text(package)}", event)
        for note in notes:
            self._reporter.warn(f"Note: {note}")

    def removed(self, name: str, version: str, folder: Path) -> None:
        """Tell what it was about and where it was."""
        event = {"event": "result", "name": name, "version": version, "folder": str(folder)}
        self._reporter.tell(f"Removed: {folder}", event)

    def _tell(
        self, stage: str, fraction: float, done: int | None = None, total: int | None = None
    ) -> None:
        """Send where it is; to people only the bytes are worth a bar, the rest takes seconds."""
        if self._reporter.for_programs:
            where = {"stage": stage, "file": self._name, "fraction": round(fraction, 4)}
            event = {"event": "progress", **where, "done": done, "total": total}
            self._reporter.show(Progress(f"{stage} {self._name}", fraction), event)


@contextmanager
def model_reporting(progress: str) -> Iterator[ModelReport]:
    """Yield the report for ``--progress bar|json|none``; a program stops it by its input."""
    stopping = stopped_by_input() if progress == "json" else nullcontext()
    with reporting(progress) as reporter, stopping:
        yield ModelReport(reporter)


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
