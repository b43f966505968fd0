"""Whether a worker sees the files that this process sees, under the same names.

Where results are written, a file with random text is put there and read by every worker; files that
are only read must have the size that they have here.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

OPTION = "--cluster"

MOST_LOOKED_AT = 100
"""So many of the inputs every worker is asked for."""

OF_A_FOLDER = 10
"""And so many files of each folder among them."""

_SEEN: set[str] = set()
"""What this process has seen; looked at once, not for every case."""


class Unseen(InputError):
    """A worker does not see what this process sees; no case can be done there."""


@dataclass(frozen=True)
class Shared:
    """What has to be the same for every worker: a file that was just written, and inputs."""

    text: str
    """Random."""
    file: Path | None = None
    """Holds the text and lies in the folder for the results; None if workers write nothing."""
    inputs: tuple[tuple[Path, int], ...] = ()
    """Files and folders that are only read, and how many bytes a file has; -1 for a folder."""

    def look(self) -> str:
        """Return what this process does not see; empty if it sees everything."""
        if self.text in _SEEN:
            return ""
        for path, size in self.inputs:
            if size_of(path) != size:
                return str(path)
        if self.file is not None and not self._can_write():
            return str(self.file.parent)
        _SEEN.add(self.text)
        return ""

    def _can_write(self) -> bool:
        assert self.file is not None
        try:
            same = self.file.read_text("ascii") == self.text
        except (OSError, ValueError):
            return False
        return same and os.access(self.file.parent, os.W_OK)

    def insist(self) -> None:
        """Raise `Unseen` in a worker that does not see everything."""
        if lacks := self.look():
            raise Unseen(
                OPTION,
                f"the worker on {socket.gethostname()} does not see {lacks} as it is here",
                "workers for which inputs and results have the same paths as here",
                "Put them on a file system that all computers share, and name them by its path.",
            )

    def check(self, client: Client) -> None:
        """Ask all workers that are there now.

        Raises
        ------
        InputError
            If one cannot run what we run.
        Unseen
            If one does not see everything.
        """
        try:
            client.run(self.insist)
        except ImportError as error:
            raise InputError(
                OPTION,
                f"a worker without this program: {error}",
                "workers in whose Python FLARESeg is installed, in the version of this one",
                "Install it there: pip install 'flareseg[cluster,torch]'",
            ) from error


def size_of(path: Path) -> int:
    """Return a file's bytes; -1 for a folder, -2 if it is not there."""
    try:
        return -1 if path.is_dir() else path.stat().st_size
    except OSError:
        return -2


def _some_files(folder: Path) -> list[Path]:
    """Return the first few files of a folder; none of a file."""
    if not folder.is_dir():
        return []
    return list(islice((path for path in sorted(folder.iterdir()) if path.is_file()), OF_A_FOLDER))


@contextmanager
def shared(results: Path | None = None, inputs: Iterable[Path] = ()) -> Iterator[Shared]:
    """Yield what workers have to see; the file in the folder for the results goes at the end.

    Parameters
    ----------
    results : Path, optional
        Folder that workers write to.
    inputs : iterable of Path
        What they read; the first `MOST_LOOKED_AT` are looked at, with a few files of each folder.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    text = uuid.uuid4().hex
    first = dict.fromkeys(path.absolute() for path in islice(inputs, MOST_LOOKED_AT))
    seen = tuple((each, size_of(each)) for path in first for each in (path, *_some_files(path)))
    if results is None:
        yield Shared(text, None, seen)
        return
    file = results.absolute() / f".cluster_{text}"
    try:
        file.write_text(text, "ascii")
    except OSError as error:
        raise InputError(
            "output", f"{results}: {error.strerror}", "a folder to write to", "Choose another."
        ) from error
    try:
        yield Shared(text, file, seen)
    finally:
        with suppress(OSError):
            file.unlink()
