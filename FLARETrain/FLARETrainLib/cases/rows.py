"""The cases of a training set as rows of a table: read in a thread, filtered, sorted, in pages.

Ten thousand cases are read in well under a second; only the rows of one page become widgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flare_core.cases.schema import CATALOGUE
from flare_core.cases.store import CaseRecord, open_store

PAGE = 50
"""Rows that are shown at once: filling the table takes well below 100 ms."""

HELD_OUT = "held out"
"""A filter beside the statuses."""

COLUMNS = (
    "name", "next", "status", "kind", "organs", "confidence", "doubt", "patient", "held_out",
    "reason",
)  # fmt: skip
"""What a row can be sorted by, in the order of the table's columns."""


@dataclass(frozen=True)
class CaseRow:
    """One case of the table."""

    record: CaseRecord
    """What the case store says."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores by name, such as ``doubt`` and ``confidence``."""
    place: int | None = None
    """Place in the list of what to look at next, from 1; None if it is not in it."""
    reason: str = ""
    """Why it stands there."""


@dataclass(frozen=True)
class Listing:
    """A training set as it is now."""

    rows: tuple[CaseRow, ...] = ()
    """All cases, by name."""
    hold_out: tuple[str, ...] = ()
    """Patients that are never learned from."""
    read_only: bool = False
    """Whether this user may only read it."""
    exists: bool = True
    """Whether there is a case store in the folder at all."""


@dataclass(frozen=True)
class CaseFilter:
    """Which rows a person wants to see, and in which order."""

    text: str = ""
    """Part of the name, the patient or the source; capitals do not count."""
    status: str = ""
    """One of the statuses, `HELD_OUT`, or empty for all."""
    column: str = "next"
    """One of `COLUMNS`."""
    descending: bool = False
    """Whether the largest comes first."""
    page: int = 0
    """From 0."""


def read_listing(folder: Path) -> Listing:
    """Read a case store; any thread may do it.

    Raises
    ------
    InputError
        If the store is damaged or a newer program made it.
    """
    if not (folder / CATALOGUE).exists():
        return Listing(exists=False)
    with open_store(folder) as store:
        scores = store.score_table()
        rows = tuple(CaseRow(each, scores.get(each.name, {})) for each in store.cases())
        return Listing(rows, store.hold_out(), store.read_only)


def with_places(listing: Listing, following: Sequence[Mapping[str, object]]) -> Listing:
    """Return the listing with what is known about the order in which to look at cases.

    Parameters
    ----------
    following : sequence of mapping
        What ``flare rounds next --json`` prints: ``case`` and ``reason``, the first one first.
    """
    found = {str(row["case"]): (n, str(row["reason"])) for n, row in enumerate(following, 1)}
    rows = (
        replace(row, place=found[row.record.name][0], reason=found[row.record.name][1])
        if row.record.name in found
        else replace(row, place=None, reason="")
        for row in listing.rows
    )
    return replace(listing, rows=tuple(rows))


def arranged(rows: Sequence[CaseRow], chosen: CaseFilter) -> tuple[CaseRow, ...]:
    """Return the rows that are wanted, in order; those without a value always come last."""
    kept = [row for row in rows if _fits(row, chosen)]
    known = [row for row in kept if _value(row, chosen.column) is not None]
    rest = [row for row in kept if _value(row, chosen.column) is None]
    known.sort(key=lambda row: _value(row, chosen.column), reverse=chosen.descending)
    return (*known, *rest)


def page_of(rows: Sequence[CaseRow], page: int) -> tuple[tuple[CaseRow, ...], int, int]:
    """Return the rows of a page, its number as it is legal, and how many pages there are.

    Examples
    --------
    >>> page_of((), 3)
    ((), 0, 1)
    """
    pages = max(1, math.ceil(len(rows) / PAGE))
    page = min(max(0, page), pages - 1)
    return tuple(rows[page * PAGE : (page + 1) * PAGE]), page, pages


def counts(rows: Sequence[CaseRow]) -> dict[str, int]:
    """Return how many cases each status has, and how many are held out."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.record.status] = found.get(row.record.status, 0) + 1
        if row.record.held_out:
            found[HELD_OUT] = found.get(HELD_OUT, 0) + 1
    return found


def _fits(row: CaseRow, chosen: CaseFilter) -> bool:
    record, text = row.record, chosen.text.strip().casefold()
    if chosen.status == HELD_OUT:
        fits = record.held_out
    else:
        fits = not chosen.status or record.status == chosen.status
    words = (record.name, record.patient, record.source)
    return fits and (not text or any(text in word.casefold() for word in words))


def _value(row: CaseRow, column: str) -> Any:
    """Return what a row is sorted by, text or a number; None if there is nothing."""
    record = row.record
    if column in ("next", "reason"):
        return row.place
    if column == "organs":
        return len(record.organs)
    if column == "held_out":
        return float(record.held_out)
    if column in ("name", "patient", "status", "kind"):
        return str(getattr(record, column)).casefold() or None
    return row.scores.get(column)
