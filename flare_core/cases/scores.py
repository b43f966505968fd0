"""Scores of cases: rows of the catalogue, and a small file beside each case that outlives it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flare_core.cases import files
from flare_core.cases.names import SHORT_TEXT, is_text
from flare_core.cases.written import read_file
from flare_core.errors import InputError

Scores = Mapping[str, float]

LARGEST = 1e300
"""Scores are smaller; infinity and whole numbers of hundreds of digits are none."""


def put_scores(db: sqlite3.Connection, case_id: int, scores: Scores, *, newer: bool = True) -> None:
    """Put scores into the catalogue; those there are kept if the others are not newer."""
    manner = "REPLACE" if newer else "IGNORE"
    rows = [(case_id, name, float(value)) for name, value in scores.items()]
    db.executemany(f"INSERT OR {manner} INTO scores VALUES (?, ?, ?)", rows)


def read_scores(path: Path) -> dict[str, float]:
    """Return the scores in a file; none if it is missing or damaged, as they can be made again."""
    found: Mapping[str, object] = {}
    with suppress(InputError):
        found = read_file(path) or {}
    return {name: float(value) for name, value in found.items() if is_score(name, value)}  # type: ignore[arg-type]


def is_score(name: object, value: object) -> bool:
    """Whether something is the name of a score and a value that it can have."""
    number = type(value) in (int, float) and abs(value) < LARGEST  # type: ignore[arg-type]
    return number and is_text(name, SHORT_TEXT)


def file_of(folder: Path, case: str) -> Path:
    """Return where the scores of a case lie."""
    return folder / files.CASES / case / files.SCORES
