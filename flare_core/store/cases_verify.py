"""Whether a case store is whole: files against catalogue, catalogue against files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from flare_core.store import cases_files as files
from flare_core.store.cases_records import Problem
from flare_core.store.cases_rows import scores_of
from flare_core.store.cases_scores import file_of, put_scores, read_scores, write_file
from flare_core.store.cases_settle import settle
from flare_core.store.cases_write import Writing, tell_found
from flare_core.store.integrity import sha256_of

RESTORE = "Copy it back from a backup, or add the case again to another store."

Lock = Callable[[], AbstractContextManager[Writing]]
"""What locks the store for writing."""


@dataclass(frozen=True)
class Look:
    """What is looked at."""

    db: sqlite3.Connection
    """The catalogue."""
    folder: Path
    """The store."""
    hashes: bool
    """Whether files are read whole."""


def verify_store(
    look: Look, lock: Lock | None, on_done: Callable[[int, int], None] | None
) -> tuple[Problem, ...]:
    """Return everything that is wrong with a store, and what was put right.

    Parameters
    ----------
    lock : callable, optional
        Locks the store for writing, so that whole files that are not listed are taken in; None if
        the store is open for reading.
    on_done : callable, optional
        Told (cases done, cases in all).
    """
    problems = list(_sound(look.db))
    problems += [*_taken_in(look, lock), *_scores_mended(look, lock)] if lock else []
    rows = look.db.execute("SELECT * FROM cases ORDER BY key").fetchall()
    for done, row in enumerate(rows, 1):
        problems += _case_problems(look, row)
        if on_done:
            on_done(done, len(rows))
    return (*problems, *_orphans(look))


def _sound(db: sqlite3.Connection) -> Iterator[Problem]:
    for (line,) in db.execute("PRAGMA integrity_check").fetchall():
        if line != "ok":
            action = "Run `flare cases verify --rebuild`: the files make a new catalogue."
            yield Problem("", "catalogue", str(line), action)


def _taken_in(look: Look, lock: Lock) -> list[Problem]:
    """Take in cases and versions that are whole and not in the catalogue."""
    problems = []
    if any(_unlisted(look)):
        with lock() as write:
            for name in _case_folders(look.folder):
                for case, what, number in settle(write.db, look.folder, name, keep=True):
                    tell_found(write, case, what, number)
                    told = f"version {number}" if number else "the case"
                    problems.append(Problem(case, "repaired", f"{told} was not in the catalogue"))
    return problems


def _scores_mended(look: Look, lock: Lock) -> list[Problem]:
    """Let catalogue and files have the same scores: older programs kept them in one of the two."""
    rows = look.db.execute("SELECT * FROM cases ORDER BY key").fetchall()
    astray = [row for row in rows if _differ(look, row)]
    if astray:
        with lock() as write:
            for row in astray:
                found = read_scores(file_of(look.folder, row["name"]))
                put_scores(write.db, row["id"], found, newer=False)
                write_file(write, row)
    what = "its scores were not the same in the catalogue and beside it"
    return [Problem(row["name"], "repaired", what) for row in astray]


def _differ(look: Look, row: sqlite3.Row) -> bool:
    return scores_of(look.db, row["id"]) != read_scores(file_of(look.folder, row["name"]))


def _case_folders(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / files.CASES).iterdir() if p.is_dir())


def _unlisted(look: Look) -> Iterator[Path]:
    """Yield files below ``cases/`` that the catalogue does not know."""
    known = {look.folder / r["file"] for r in look.db.execute("SELECT file FROM versions")}
    cases = look.db.execute("SELECT name, image, linked FROM cases").fetchall()
    known |= {look.folder / row["image"] for row in cases if not row["linked"]}
    known |= {look.folder / files.CASES / row["name"] / files.CASE_FACTS for row in cases}
    known |= {file_of(look.folder, row["name"]) for row in cases}
    query = "SELECT c.name, v.number FROM versions v JOIN cases c ON c.id = v.case_id"
    numbers = {(row["name"], row["number"]) for row in look.db.execute(query)}
    for path in sorted((look.folder / files.CASES).rglob("*")):
        if path in known or path.is_dir():
            continue
        if path.parent.name == files.LABELS and path.suffix == ".json":
            stem = path.name.partition("-")[0].removeprefix("v")
            if stem.isdigit() and (path.parent.parent.name, int(stem)) in numbers:
                continue
        yield path


def _orphans(look: Look) -> list[Problem]:
    action = "Look at it, and remove it or add it with `flare cases add`."
    return [
        Problem(
            path.relative_to(look.folder / files.CASES).parts[0],
            "orphan",
            f"{path.relative_to(look.folder).as_posix()} belongs to nothing in the catalogue",
            action,
        )
        for path in _unlisted(look)
    ]


def _case_problems(look: Look, row: sqlite3.Row) -> list[Problem]:
    """Compare the files of one case with the catalogue."""
    image = Path(row["image"]) if row["linked"] else look.folder / row["image"]
    problems = _file_problems(look, row["name"], image, row)
    facts = look.folder / files.CASES / row["name"] / files.CASE_FACTS
    problems += _facts_problem(row["name"], facts)
    query = "SELECT * FROM versions WHERE case_id = ? ORDER BY number"
    seen: set[str] = set()
    for version in look.db.execute(query, (row["id"],)).fetchall():
        labels = look.folder / version["file"]
        beside = labels.parent.glob(f"v{version['number']:04d}-*.json")
        problems += _facts_problem(row["name"], next(beside, labels.with_suffix(".json")))
        if version["file"] not in seen:  # a restored version has the file of an old one
            problems += _file_problems(look, row["name"], labels, version)
        seen.add(version["file"])
    return problems


def _facts_problem(case: str, path: Path) -> list[Problem]:
    if path.is_file():
        return []
    action = "The catalogue still has what it said; copy the file back so that it can be rebuilt."
    return [Problem(case, "facts", f"{path.name} is missing", action)]


def _file_problems(look: Look, case: str, path: Path, row: sqlite3.Row) -> list[Problem]:
    """Compare one file with its row: there, of the same size, of the same hash."""
    try:
        size = path.stat().st_size
        same = size == row["size"] and (not look.hashes or sha256_of(path) == row["sha256"])
    except OSError as error:
        why = error.strerror or str(error)
        return [Problem(case, "missing", f"{path} cannot be read: {why}", RESTORE)]
    if same:
        return []
    return [Problem(case, "changed", f"{path} is not the file that was added", RESTORE)]
