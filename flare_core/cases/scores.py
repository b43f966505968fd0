"""Scores of cases: rows of the catalogue, and a small file beside each case that outlives it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.cases import files
from flare_core.cases.names import SHORT_TEXT, check_text, is_text
from flare_core.cases.rows import find_case, scores_of
from flare_core.cases.written import read_file
from flare_core.errors import InputError

if TYPE_CHECKING:
    from flare_core.cases.write import Writing

Scores = Mapping[str, float]

LARGEST = 1e300
"""Scores are smaller; infinity and whole numbers of hundreds of digits are none."""


def change_scores(write: Writing, table: Mapping[str, Scores]) -> None:
    """Keep scores of cases (name -> scores), in the catalogue and beside the case.

    Raises
    ------
    InputError
        If a case is unknown or a score is no finite number.
    """
    for scores in table.values():
        _check_finite(scores)
    rows = {name: find_case(write.db, name) for name in table}
    write.files.announce(*(row["name"] for row in rows.values()))
    for name, scores in table.items():
        put_scores(write.db, rows[name]["id"], scores)
        write_file(write, rows[name])


def put_scores(db: sqlite3.Connection, case_id: int, scores: Scores, *, newer: bool = True) -> None:
    """Put scores into the catalogue; those there are kept if the others are not newer."""
    manner = "REPLACE" if newer else "IGNORE"
    rows = [(case_id, name, float(value)) for name, value in scores.items()]
    db.executemany(f"INSERT OR {manner} INTO scores VALUES (?, ?, ?)", rows)


def write_file(write: Writing, case: sqlite3.Row) -> bool:
    """Let the file beside a case say what the catalogue says; return whether it did not before."""
    scores, path = scores_of(write.db, case["id"]), file_of(write.files.folder, case["name"])
    if scores == read_scores(path):
        return False
    write.files.make_folder(path.parent)
    write.files.replace(path, json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    return True


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


def _check_finite(scores: Scores) -> None:
    for name in scores:
        check_text("name of a score", name)
    bad = [name for name, value in scores.items() if not abs(value) < LARGEST]
    if bad:
        raise InputError(
            f"score {bad[0]}", str(scores[bad[0]]), "a finite number", "Leave it out instead."
        )
