"""What can be asked of a case store; `cases.CaseStore` adds what changes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from flare_core.atomic import sha256_of
from flare_core.cases import rows, schema
from flare_core.cases.names import key_of, pseudonym
from flare_core.cases.records import CaseRecord, Event, LabelVersion

Self = TypeVar("Self", bound="CaseReader")


class CaseReader:
    """An open case store; a context manager, for one thread."""

    def __init__(self, folder: Path, db: sqlite3.Connection, *, read_only: bool) -> None:
        self.folder = folder
        self.read_only = read_only
        self._db = db

    def __enter__(self: Self) -> Self:
        """Use it in a with block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Say where it is."""
        manner = ", for reading" if self.read_only else ""
        return f"{type(self).__name__}({str(self.folder)!r}{manner})"

    def close(self) -> None:
        """Let go of the catalogue."""
        self._db.close()

    def case(self, name: str) -> CaseRecord:
        """Return a case.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        with schema.explaining_errors(self.folder):
            return rows.record_of(rows.find_case(self._db, name), self.folder)

    def has_file(self, scan: Path) -> bool:
        """Whether a case has this very file, byte by byte, as its scan."""
        query = "SELECT 1 FROM cases WHERE sha256 = ?"
        with schema.explaining_errors(self.folder):
            return self._db.execute(query, (sha256_of(scan),)).fetchone() is not None

    def patient_of(self, number: str) -> str:
        """Return what the patient with a DICOM patient ID is called here; "" for no ID.

        That is a pseudonym, unless a scan was added under the ID itself.
        """
        if not number.strip():
            return ""
        query = "SELECT patient FROM cases WHERE patient_key = ?"
        with schema.explaining_errors(self.folder):
            row = self._db.execute(query, (key_of(number),)).fetchone()
        return pseudonym(number.strip()) if row is None else str(row["patient"])

    def cases(
        self,
        *,
        status: str | Sequence[str] | None = None,
        organ: str | None = None,
        kind: str | Sequence[str] | None = None,
        text: str | None = None,
        held_out: bool | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[CaseRecord, ...]:
        """Return cases by name, all of them or those that fit every filter.

        Parameters
        ----------
        status, kind : str or sequence of str, optional
            One or several of STATUSES and KINDS; a case's kind is that of its chosen version.
        organ : str, optional
            An organ that the chosen version annotates.
        text : str, optional
            A part of the name, the patient or the source; capitals do not count.
        held_out : bool, optional
            Whether the patient belongs to the frozen hold-out.

        Raises
        ------
        InputError
            If a status, kind or organ is unknown.
        """
        wanted = rows.conditions_of(status, organ, kind, text, held_out)
        span = (-1 if limit is None else limit, offset)
        with schema.explaining_errors(self.folder):
            found = rows.select_cases(self._db, *wanted, span)
        return tuple(rows.record_of(row, self.folder) for row in found)

    def versions(self, case: str) -> tuple[LabelVersion, ...]:
        """Return the label versions of a case, the oldest first."""
        with schema.explaining_errors(self.folder):
            row = rows.find_case(self._db, case)
            query = "SELECT * FROM versions WHERE case_id = ? ORDER BY number"
            found = self._db.execute(query, (row["id"],)).fetchall()
        return tuple(rows.version_record(each, row["name"], self.folder) for each in found)

    def version(self, case: str, number: int) -> LabelVersion:
        """Return one label version.

        Raises
        ------
        InputError
            If there is no such case or version.
        """
        with schema.explaining_errors(self.folder):
            row = rows.find_case(self._db, case)
            found = rows.version_row(self._db, row, number)
        return rows.version_record(found, row["name"], self.folder)

    def labels_before(self) -> dict[str, tuple[Path, tuple[str, ...]]]:
        """Return what was corrected of the cases whose chosen labels a person corrected.

        Labels that a model completed since count as well.

        Returns
        -------
        dict
            Case -> the label map that the person began with, and the organs that they looked at.
        """
        with schema.explaining_errors(self.folder):
            found = rows.files_before(self._db)
        return {name: (self.folder / file, organs) for name, (file, organs) in found.items()}

    def labelled_in_part(self) -> dict[str, tuple[str, ...]]:
        """Return, for cases whose chosen labels say so, the organs that are labelled in part."""
        query = (
            "SELECT c.name, v.facts FROM cases c JOIN versions v"
            ' ON v.case_id = c.id AND v.number = c.chosen WHERE instr(v.facts, \'"partly": ["\')'
        )
        with schema.explaining_errors(self.folder):
            found = self._db.execute(query).fetchall()
            return {name: rows.facts_of(facts, name).partly for name, facts in found}

    def scores(self, case: str) -> dict[str, float]:
        """Return the scores of a case by name."""
        with schema.explaining_errors(self.folder):
            return rows.scores_of(self._db, rows.find_case(self._db, case)["id"])

    def score_table(self) -> dict[str, dict[str, float]]:
        """Return the scores of all cases that have some: case -> name -> value."""
        query = "SELECT c.name, s.name, s.value FROM scores s JOIN cases c ON c.id = s.case_id"
        table: dict[str, dict[str, float]] = {}
        with schema.explaining_errors(self.folder):
            for case, name, value in self._db.execute(query):
                table.setdefault(case, {})[name] = value
        return table

    def history(self, case: str | None = None) -> tuple[Event, ...]:
        """Return what happened to a case, or to all, the oldest first."""
        with schema.explaining_errors(self.folder):
            return rows.events_of(self._db, case)

    def hold_out(self) -> tuple[str, ...]:
        """Return the patients of the frozen hold-out; empty before it is chosen."""
        with schema.explaining_errors(self.folder):
            found = self._db.execute("SELECT patient FROM hold_out ORDER BY patient_key")
            return tuple(row[0] for row in found)
