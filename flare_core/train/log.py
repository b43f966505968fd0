"""The run's log: one JSON object per line, appended, read while the run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOG = "log.jsonl"
"""Its name in the folder of a training."""

Facts = dict[str, Any]
Listener = Callable[[Facts], None]
"""Told facts about a run's progress; may raise to stop it."""


class RunLog:
    """Writes facts to a file and tells whoever watches.

    Parameters
    ----------
    path : Path
        JSON lines; a line that a killed run left half written is closed, not continued.
    report : callable
        Told each dict of facts too.
    """

    def __init__(self, path: Path, report: Listener) -> None:
        self.path, self.report = path, report
        if path.exists() and path.stat().st_size and not _ends_a_line(path):
            self._append("\n")

    def tell(self, facts: Facts) -> None:
        """Append facts; numbers that are not finite become null, as JSON has no word for them."""
        clean = {key: _json_number(value) for key, value in facts.items()}
        self._append(json.dumps(clean, allow_nan=False) + "\n")
        self.report(clean)

    def _append(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)


class LogTail:
    """Follows a file of JSON lines that another process appends to.

    A line that is not whole yet is left for the next look; one that is no object is left out.

    Parameters
    ----------
    path : Path
        Need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = 0
        self._rest = b""

    def read(self, most_bytes: int = -1) -> list[Facts]:
        """Return the objects that are new, oldest first; none if there is no file.

        Parameters
        ----------
        most_bytes : int
            Read in this look, the next one goes on from there; below 0 all there is.
        """
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, 2) < self._place:  # another file has taken its place
                    self._place, self._rest = 0, b""
                stream.seek(self._place)
                data = stream.read(most_bytes)
        except OSError:
            return []
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [facts for facts in map(_object, lines) if facts is not None]


def _object(line: bytes) -> Facts | None:
    try:
        value = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _json_number(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
