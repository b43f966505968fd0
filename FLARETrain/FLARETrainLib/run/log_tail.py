"""What was added to a file of JSON lines since the last look; never more than a bounded part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 2**20
"""Read in one look; the next look goes on from there."""

Facts = dict[str, Any]


class LogTail:
    """Follows a file that another process appends to.

    A line that is not whole yet is left for the next look; one that is no JSON is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = 0
        self._rest = b""

    def read(self) -> list[Facts]:
        """Return the objects that are new; none if there is no file."""
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, 2) < self._place:  # another file has taken its place
                    self._place, self._rest = 0, b""
                stream.seek(self._place)
                data = stream.read(MOST_BYTES)
        except OSError:
            return []
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [facts for facts in map(_object, lines) if facts is not None]


def _object(line: bytes) -> Facts | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
