"""The cases of a recipe's run: imported, held out, counted, and dealt out to its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flare_core.anatomy.organs import LESION
from flare_core.cases.store import BY_PEOPLE, CaseStore, open_store
from flare_core.datasets.case import Case, save_cases
from flare_core.datasets.exchange.importing import ImportSettings, import_dataset, incoming_cases
from flare_core.datasets.flare.cases import FlareCase
from flare_core.datasets.split import patient_folds
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError
from flare_core.train.recipes.recipe import Recipe
from flare_core.wording import many

FOR_SCORING = ("tuning", "validation")
"""Parts of FLARE's folders that nobody trains on."""

SHARE = 5
"""Without such a part, one labelled patient of so many is held out."""

LEAST_LABELLED = 2
"""Cases with labels that any recipe needs."""


def import_data(folder: Path, store: Path, seed: int) -> None:
    """Make a store of a FLARE folder, and freeze its hold-out.

    Labelled tuning and validation cases are the hold-out; without any, a part of the labelled
    patients. Doing it again adds what is missing.
    """
    settings = ImportSettings(link=True, author="flare recipes")
    with open_store(store, create=True) as opened:
        import_dataset(opened, folder, settings)
        if not opened.hold_out():
            incoming, _ = incoming_cases(folder, settings)
            chosen = [
                each.case.patient
                for each in incoming
                if isinstance(each.case, FlareCase) and each.case.subset in FOR_SCORING
            ]
            _freeze(opened, chosen, seed)


def _freeze(store: CaseStore, scoring: Sequence[str], seed: int) -> None:
    labelled = cases_of_store(store, kinds=BY_PEOPLE, held_out=None)
    there = {case.patient for case in labelled}
    chosen = sorted(there & set(scoring))
    if not chosen and len(there) > LEAST_LABELLED:
        chosen = list(patient_folds(labelled, min(SHARE, len(there)), seed=seed)[0])
    if chosen:
        # bare scans of the tuning part are nobody's to learn from either
        known = {record.patient for record in store.cases()}
        store.freeze_hold_out(sorted({*chosen, *(known & set(scoring))}), author="flare recipes")


def require_cases(store: Path, recipe: Recipe) -> None:
    """Refuse a store that a recipe could not be run on, before hours of training.

    Raises
    ------
    InputError
        If it has too few labelled cases, none with lesions for a recipe that learns them, or too
        few patients for its folds.
    """
    with open_store(store) as opened:
        labelled = cases_of_store(opened, kinds=BY_PEOPLE)
        held_out = cases_of_store(opened, kinds=BY_PEOPLE, held_out=True)
    for name, config in recipe.trainings.items():
        mine = [case for case in labelled if set(case.annotated) & set(config.organs)]
        if len(mine) < LEAST_LABELLED:
            raise InputError(
                f"recipe {recipe.key}: {name}", f"{many(len(mine), 'labelled case')} of its organs",
                f"{LEAST_LABELLED} or more that are not held out",
                "Label more scans, or import them.",
            )  # fmt: skip
    if recipe.wants_lesions and not any(LESION.key in case.annotated for case in labelled):
        raise InputError(
            f"recipe {recipe.key}", f"{many(len(labelled), 'labelled case')}, none with lesions",
            "cases that annotate lesions (label 14): the recipe learns them",
            "Import such cases, or choose a recipe of organs alone: flare recipes list.",
        )  # fmt: skip
    folds = recipe.self_training.folds if recipe.self_training else 1
    patients = {case.patient for case in _teaching(labelled, recipe)}
    if folds > len(patients):
        raise InputError(
            f"recipe {recipe.key}: folds", many(len(patients), "labelled patient"),
            f"{folds} or more: each of {folds} teachers leaves some out",
            "Label scans of more patients, or choose a recipe without folds.",
        )  # fmt: skip
    if recipe.self_training and not held_out:
        raise InputError(
            "hold-out of the case store", "no labelled case in it",
            "patients with labels that were frozen as hold-out: rounds compare models on them",
            f"flare cases hold-out --share 0.2 --store {store}",
        )  # fmt: skip


def write_lists(store: Path, folder: Path, recipe: Recipe, seed: int) -> None:
    """Write who teaches whom: ``teacher-N.json`` for each fold, ``labelled.json``, ``bare.json``.

    Nobody of the hold-out is in any of them.
    """
    with open_store(store) as opened:
        labelled = list(cases_of_store(opened, kinds=BY_PEOPLE))
        names = {case.name for case in labelled}
        bare = [
            Case(each.name, each.image, None, (), each.patient, each.source)
            for each in opened.cases(held_out=False)
            if each.name not in names
        ]
    save_cases(folder / "labelled.json", labelled)
    save_cases(folder / "bare.json", bare)
    folds = recipe.self_training.folds if recipe.self_training else 1
    parts = [()] if folds == 1 else patient_folds(_teaching(labelled, recipe), folds, seed=seed)
    for number, left_out in enumerate(parts):
        mine = [case for case in labelled if case.patient not in left_out]
        save_cases(folder / f"teacher-{number}.json", mine)


def _teaching(labelled: Sequence[Case], recipe: Recipe) -> list[Case]:
    return [case for case in labelled if set(case.annotated) & set(recipe.teacher.organs)]
