"""What a person decides about cases: accepted, rejected, seen, kept aside. Any thread may do it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from flare_core.cases.store import BY_PEOPLE, CaseRecord, open_store
from flare_core.errors import InputError

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
        If a hold-out was chosen before, one of the patients has no scan that a person has
        labelled, or the store is open for reading.
    """
    with open_store(folder) as store:
        patients = tuple(dict.fromkeys(store.case(name).patient for name in names))
        bare = unlabelled(patients, store.cases())
        if bare:
            raise InputError(
                "patients to keep aside",
                f"{', '.join(bare)}, of whom no scan was labelled by a person",
                "patients with labels that a person made or corrected",
                "Correct one of their scans in FLARESeg first, or choose others: it is for good.",
            )
        return store.freeze_hold_out(patients, author=author)


def unlabelled(patients: Sequence[str], records: Iterable[CaseRecord]) -> tuple[str, ...]:
    """Return the patients without any scan on which models could be compared."""
    fit = {r.patient for r in records if r.kind in BY_PEOPLE and r.status != "rejected"}
    return tuple(patient for patient in patients if patient not in fit)


def mark_seen(folder: Path, name: str) -> None:
    """Note that somebody has opened a case, so that others come first from now on."""
    with open_store(folder) as store:
        if not store.read_only:
            store.set_scores(name, {SEEN: 1.0})
