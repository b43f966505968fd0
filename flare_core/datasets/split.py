"""Parts of a data set that share no patient."""

from __future__ import annotations

import random
from collections.abc import Sequence

from flare_core.datasets.case import Case
from flare_core.errors import InputError


def patient_folds(
    cases: Sequence[Case], folds: int, *, seed: int = 0
) -> tuple[tuple[str, ...], ...]:
    """Deal the patients into `folds` groups with about equally many scans.

    Patients with most scans are dealt first, each to the group that has fewest; ties are drawn
    with `seed`, so the result depends on nothing else.

    Returns
    -------
    tuple of tuple of str
        The patients of each group, sorted.

    Raises
    ------
    InputError
        If there are fewer patients than groups.

    Examples
    --------
    >>> from pathlib import Path
    >>> scans = [Case(n, Path(n), patient=n[0]) for n in ("a1", "a2", "b1", "c1")]
    >>> patient_folds(scans, 2)
    (('a',), ('b', 'c'))
    """
    scans: dict[str, int] = {}
    for case in cases:
        scans[case.patient] = scans.get(case.patient, 0) + 1
    if not 2 <= folds <= len(scans):
        raise InputError(
            "folds",
            str(folds),
            f"2 to {len(scans)}, the number of patients",
            "Ask for fewer folds, or add patients; scans of one patient are never parted.",
        )
    patients = sorted(scans)
    random.Random(seed).shuffle(patients)
    groups: list[list[str]] = [[] for _ in range(folds)]
    for patient in sorted(patients, key=lambda p: -scans[p]):
        min(groups, key=lambda g: sum(scans[p] for p in g)).append(patient)
    return tuple(tuple(sorted(group)) for group in groups)
