"""Folds share no patient."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from flare_core.datasets.case import Case
from flare_core.datasets.split import patient_folds
from flare_core.errors import InputError


def cohort() -> list[Case]:
    """30 scans of 12 patients: one has 8 scans, some 3, most 1."""
    scans = [8, 3, 3, 3, 3, 3, 2, 1, 1, 1, 1, 1]
    return [
        Case(f"{p:02d}{scan}", Path("x"), patient=f"patient{p:02d}")
        for p, count in enumerate(scans)
        for scan in range(count)
    ]


@pytest.mark.parametrize("folds", [2, 3, 5, 12])
def test_each_patient_is_in_one_fold(folds: int) -> None:
    parts = patient_folds(cohort(), folds)
    assert len(parts) == folds and all(parts)
    dealt = [patient for part in parts for patient in part]
    assert sorted(dealt) == sorted({case.patient for case in cohort()})


@pytest.mark.parametrize("folds", [2, 3])
def test_folds_have_about_as_many_scans(folds: int) -> None:
    sizes = [
        sum(case.patient in part for case in cohort()) for part in patient_folds(cohort(), folds)
    ]
    assert sum(sizes) == 30 and max(sizes) - min(sizes) <= 1


def test_only_the_seed_matters() -> None:
    forward = patient_folds(cohort(), 3, seed=1)
    assert patient_folds(cohort()[::-1], 3, seed=1) == forward
    others = [patient_folds(cohort(), 3, seed=s) for s in range(5)]
    assert any(a != b for a, b in pairwise(others))


@pytest.mark.parametrize("folds", [-1, 0, 1, 13])
def test_impossible_folds_are_refused(folds: int) -> None:
    with pytest.raises(InputError, match="2 to 12"):
        patient_folds(cohort(), folds)
