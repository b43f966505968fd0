"""The run's log: one JSON object per line, appended, readable while the run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOG = "log.jsonl"
"""Its name in the folder of a training."""

Facts = dict[str, Any]
Report = Callable[[Facts], None]


class RunLog:
    """Writes facts to a file and tells whoever watches.

    Parameters
    ----------
    path : Path
        JSON lines; a line that a killed run left half written is closed, not continued.
    report : callable
        Told each dict of facts too.
    """

    def __init__(self, path: Path, report: Report) -> None:
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


def read_log(path: Path) -> list[Facts]:
    """Return the facts of a log, oldest first; a line that a kill cut short is left out."""
    rows = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return [row for row in rows if isinstance(row, dict)]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _json_number(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
