"""What a person decides about cases: accepted, rejected, seen, kept aside. Any thread may do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flare_core.cases.store import open_store

SEEN = "seen"
"""Score by which the list of what to look at next knows that somebody has opened a case."""


def decide(folder: Path, names: Sequence[str], status: str, *, author: str, reason: str) -> int:
    """Give cases a status, ``accepted`` or ``rejected``; return how many.

    All or none: whether the status fits is looked at before the first one is changed.

    Raises
    ------
    InputError
        If one has no labels, or the store is open for reading.
    """
    with open_store(folder) as store:
        store.refuse_if_read_only()
        records = [store.case(name) for name in names]
        # Cases without labels are refused by the store; they come first, so nothing is half done.
        for record in sorted(records, key=lambda each: each.latest is not None):
            store.set_status(record.name, status, author=author, reason=reason)
    return len(records)


def keep_aside(folder: Path, names: Sequence[str], *, author: str) -> tuple[str, ...]:
    """Freeze the patients of these cases as the hold-out, once and for all; return the patients.

    Raises
    ------
    InputError
        If a hold-out was chosen before, or the store is open for reading.
    """
    with open_store(folder) as store:
        patients = dict.fromkeys(store.case(name).patient for name in names)
        return store.freeze_hold_out(tuple(patients), author=author)


def mark_seen(folder: Path, name: str) -> None:
    """Note that somebody has opened a case, so that others come first from now on."""
    with open_store(folder) as store:
        if not store.read_only:
            store.set_scores(name, {SEEN: 1.0})
