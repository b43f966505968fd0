"""Whether a case store is whole: files against catalogue, catalogue against files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flare_core.atomic import sha256_of
from flare_core.cases import files
from flare_core.cases.change import write_scores
from flare_core.cases.names import key_of
from flare_core.cases.records import Problem
from flare_core.cases.rows import find_case, is_facts, record_of, scores_of
from flare_core.cases.scores import file_of, put_scores, read_scores
from flare_core.cases.settle import settle
from flare_core.cases.write import Writing, tell_found
from flare_core.cases.written import case_file, hold_out_file, mark_file, number_of, version_file
from flare_core.errors import InputError

RESTORE = "Copy it back from a backup, or add the case again to another store."

COPY_BACK = "Copy it back from a backup; what it said is lost to a rebuild otherwise."
WRITE_ANEW = 'Copy the file back, or write {"patients": ["...", ...]} into it.'
REBUILD = "Run `flare cases verify --rebuild`: the files make a new catalogue."
LOOK = "Look at it, and remove it or add it with `flare cases add`."

Lock = Callable[[], AbstractContextManager[Writing]]
"""What locks the store for writing."""


@dataclass(frozen=True)
class StoreCheck:
    """What is looked at."""

    db: sqlite3.Connection
    """The catalogue."""
    folder: Path
    """The store."""
    hashes: bool
    """Whether files are read whole."""


def verify_store(
    look: StoreCheck, lock: Lock | None, on_done: Callable[[int, int], None] | None
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
    problems += [*_mark_problems(look.folder), *_hold_out_problems(look)]
    rows = look.db.execute("SELECT * FROM cases ORDER BY key").fetchall()
    for done, row in enumerate(rows, 1):
        problems += _case_problems(look, row)
        if on_done:
            on_done(done, len(rows))
    return (*problems, *_orphans(look, lock))


def _sound(db: sqlite3.Connection) -> Iterator[Problem]:
    for (line,) in db.execute("PRAGMA integrity_check").fetchall():
        if line != "ok":
            yield Problem("", "catalogue", str(line), REBUILD)


def _mark_problems(folder: Path) -> list[Problem]:
    return _read_problems("", folder / files.MARK, lambda: mark_file(folder))


def _hold_out_problems(look: StoreCheck) -> list[Problem]:
    """Compare the frozen hold-out's file with the catalogue."""
    path = look.folder / files.HOLD_OUT
    frozen = [row[0] for row in look.db.execute("SELECT patient FROM hold_out")]
    if not frozen and not os.path.lexists(path):
        return []
    problems = _read_problems("", path, lambda: hold_out_file(look.folder))
    if not problems and {*map(key_of, hold_out_file(look.folder) or [])} != {*map(key_of, frozen)}:
        problems = [Problem("", "facts", f"{path.name} and the catalogue name other patients")]
    told = f"The catalogue says: {', '.join(frozen)[:500] or 'none'}. "
    return [replace(each, action=told + WRITE_ANEW) for each in problems]


def _read_problems(case: str, path: Path, read: Callable[[], object]) -> list[Problem]:
    """Return the problem of a file that is missing or damaged."""
    try:
        if read() is not None:
            return []
        what = f"{path.name} is missing"
    except InputError as error:
        what = f"{path.name} is damaged: {_why(error)}"
    return [Problem(case, "facts", what, COPY_BACK)]


def _why(error: InputError) -> str:
    argument, came, legal, _ = error.parts
    return f"{Path(argument).name}: {came}; legal: {legal}"


def _taken_in(look: StoreCheck, lock: Lock) -> list[Problem]:
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


def _scores_mended(look: StoreCheck, lock: Lock) -> list[Problem]:
    """Let catalogue and files have the same scores: older programs kept them in one of the two."""
    rows = look.db.execute("SELECT * FROM cases ORDER BY key").fetchall()
    if not any(_differ(look, row) for row in rows):
        return []
    with lock() as write:  # what was under way is done now
        astray = [row for row in rows if _differ(look, row)]
        for row in astray:
            found = read_scores(file_of(look.folder, row["name"]))
            put_scores(write.db, row["id"], found, newer=False)
            write_scores(write, row)
    what = "its scores were not the same in the catalogue and beside it"
    return [Problem(row["name"], "repaired", what) for row in astray]


def _differ(look: StoreCheck, row: sqlite3.Row) -> bool:
    return scores_of(look.db, row["id"]) != read_scores(file_of(look.folder, row["name"]))


def _case_folders(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / files.CASES).iterdir() if p.is_dir())


def _unlisted(look: StoreCheck) -> Iterator[Path]:
    """Yield files below ``cases/`` that the catalogue does not know."""
    known = {look.folder / str(r["file"]) for r in look.db.execute("SELECT file FROM versions")}
    cases = look.db.execute("SELECT name, image, linked FROM cases").fetchall()
    known |= {look.folder / str(row["image"]) for row in cases if not row["linked"]}
    known |= {look.folder / files.CASES / row["name"] / files.CASE_FACTS for row in cases}
    known |= {file_of(look.folder, row["name"]) for row in cases}
    query = "SELECT c.name, v.number FROM versions v JOIN cases c ON c.id = v.case_id"
    numbers = {(row["name"], row["number"]) for row in look.db.execute(query)}
    for path in _files_below(look.folder / files.CASES):
        if path in known:
            continue
        facts = path.parent.name == files.LABELS and path.suffix == ".json"
        if not (facts and (path.parent.parent.name, number_of(path)) in numbers):
            yield path


def _files_below(folder: Path) -> list[Path]:
    """Return all files, sorted; a folder that another process just removes holds none."""
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(found)


def _orphans(look: StoreCheck, lock: Lock | None) -> list[Problem]:
    """Return what belongs to nothing: one problem for each case or version that is damaged."""
    left = list(_unlisted(look))
    if left and lock:
        with lock():  # what was under way is done now
            left = list(_unlisted(look))
    elif left:
        busy = {case for cases in files.intents(look.folder).values() for case in cases}
        left = [path for path in left if _case_of(look, path) not in busy]
    known = {row[0] for row in look.db.execute("SELECT name FROM cases")}
    problems: dict[tuple[str, int | None, str], Problem] = {}
    for path in left:
        case = _case_of(look, path)
        number = number_of(path) if path.parent.name == files.LABELS else None
        if case not in known:
            problems.setdefault((case, None, ""), _lost_case(look.folder, case))
        elif number is not None and list(path.parent.glob(f"v{number:04d}-*.json")):
            problems.setdefault((case, number, ""), _lost_version(case, path, number))
        else:
            problems[case, None, path.name] = Problem(case, "orphan", _astray(look, path), LOOK)
    return list(problems.values())


def _case_of(look: StoreCheck, path: Path) -> str:
    return path.relative_to(look.folder / files.CASES).parts[0]


def _astray(look: StoreCheck, path: Path) -> str:
    return f"{path.relative_to(look.folder).as_posix()} belongs to nothing in the catalogue"


def _lost_case(folder: Path, case: str) -> Problem:
    """Say why a folder is none of the catalogue's cases."""
    path = folder / files.CASES / case / files.CASE_FACTS
    problems = _read_problems(case, path, lambda: case_file(folder, case))
    if os.path.lexists(path) and problems:
        return replace(problems[0], what=f"{problems[0].what}; so the case is not listed")
    return Problem(case, "orphan", f"{files.CASES}/{case} is no case of the catalogue", LOOK)


def _lost_version(case: str, path: Path, number: int) -> Problem:
    """Say why a label map with facts beside it is none of the catalogue's versions."""
    facts = next(iter(sorted(path.parent.glob(f"v{number:04d}-*.json"))))
    problems = _read_problems(case, facts, lambda: version_file(facts))
    if problems:
        return replace(problems[0], what=f"{problems[0].what}; so version {number} is not listed")
    return Problem(case, "orphan", f"version {number} is not in the catalogue", LOOK)


def _case_problems(look: StoreCheck, row: sqlite3.Row) -> list[Problem]:
    """Compare the files of one case with the catalogue."""
    try:
        image = Path(row["image"]) if row["linked"] else look.folder / row["image"]
        problems = _file_problems(look, row["name"], image, row)
        facts = look.folder / files.CASES / row["name"] / files.CASE_FACTS
        problems += _read_problems(row["name"], facts, lambda: case_file(look.folder, row["name"]))
        return problems + _row_problems(look, row) + _version_problems(look, row)
    except (TypeError, ValueError, AttributeError) as error:
        return [Problem(str(row["name"]), "catalogue", f"its row cannot be: {error}", REBUILD)]


def _row_problems(look: StoreCheck, row: sqlite3.Row) -> list[Problem]:
    """Return the problem of a row that cannot be shown."""
    try:
        record_of(find_case(look.db, row["name"]), look.folder)
    except InputError as error:
        return [Problem(row["name"], "catalogue", error.parts[1], REBUILD)]
    return []


def _version_problems(look: StoreCheck, row: sqlite3.Row) -> list[Problem]:
    problems: list[Problem] = []
    query = "SELECT * FROM versions WHERE case_id = ? ORDER BY number"
    seen: set[str] = set()
    for version in look.db.execute(query, (row["id"],)).fetchall():
        labels = look.folder / version["file"]
        beside = sorted(labels.parent.glob(f"v{version['number']:04d}-*.json"))
        facts = beside[0] if beside else labels.with_suffix(".json")
        problems += _read_problems(row["name"], facts, partial(version_file, facts))
        if not is_facts(version["facts"]):
            what = f"what it says of version {version['number']} cannot be read"
            problems.append(Problem(row["name"], "catalogue", what, REBUILD))
        if version["file"] not in seen:  # a restored version has the file of an old one
            problems += _file_problems(look, row["name"], labels, version)
        seen.add(version["file"])
    return problems


def _file_problems(look: StoreCheck, case: str, path: Path, row: sqlite3.Row) -> list[Problem]:
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
