"""The cases of a case store as cases to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flare_core.cases.rows import check_among
from flare_core.cases.store import KINDS, CaseRecord, CaseStore
from flare_core.datasets.case import Case

LEARNT_FROM = ("corrected", "accepted")
"""Statuses whose labels are learnt from: a person's, and those of a model that were accepted."""


def cases_of_store(
    store: CaseStore,
    *,
    kinds: Sequence[str] = KINDS,
    statuses: Sequence[str] = LEARNT_FROM,
    held_out: bool | None = False,
    organ: str | None = None,
) -> tuple[Case, ...]:
    """Return the cases of a store with the label version that each is learnt from.

    Parameters
    ----------
    store : CaseStore
        Where they are.
    kinds : sequence of str
        Kinds of labels wanted; cases without labels are asked for by status alone.
    statuses : sequence of str
        Statuses wanted; ``unlabelled`` cases come without labels.
    held_out : bool or None
        False: never one of the frozen hold-out (for training); True: the hold-out only (for
        scoring); None: both.
    organ : str, optional
        Only cases whose labels annotate this organ.

    Raises
    ------
    InputError
        If a kind, status or organ is unknown.
    """
    check_among("kinds", kinds, KINDS)
    records = store.cases(status=tuple(statuses), organ=organ, held_out=held_out)
    before, partly = store.labels_before(), store.labelled_in_part()
    return tuple(_case(r, before, partly) for r in records if not r.kind or r.kind in kinds)


def _case(
    record: CaseRecord,
    before: Mapping[str, tuple[Path, tuple[str, ...]]],
    partly: Mapping[str, tuple[str, ...]],
) -> Case:
    """Return a record as a case; corrected labels know what they were made of."""
    began_with, looked_at = before.get(record.name, (None, ()))
    return Case(
        record.name,
        record.image,
        record.labels,
        record.organs,
        record.patient,
        record.source,
        record.weight,
        kind=record.kind or "expert",
        before=began_with,
        absent=record.absent,
        partly=partly.get(record.name, ()),
        reviewed=looked_at,
    )
