"""The scans of a training run, at one voxel size."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

from flare_core.datasets.cache import Sample, load_sample
from flare_core.datasets.case import Case, cases_of_folder, load_cases
from flare_core.errors import InputError
from flare_core.train.config import TrainConfig
from flare_core.train.processes import ALONE, Processes
from flare_core.train.strategies import strategy_of
from flare_core.wording import many


def gather_samples(
    config: TrainConfig,
    spacing_mm: tuple[float, float, float],
    cache: Path,
    *,
    whole: tuple[int, int, int] | None = None,
    processes: Processes = ALONE,
) -> tuple[list[Sample], list[Sample]]:
    """Return (training, held-out) samples; each process prepares a part of what is not cached yet.

    Training samples without labels, where the strategy learns from them, annotate nothing. With
    `whole` every scan has so many voxels (z, y, x), and `spacing_mm` does not count.

    Raises
    ------
    InputError
        If a held-out patient is in none of the data (a misspelt one would be trained on), or no
        labelled case is left to train on.
    """
    training, held_out = gather_cases(config, cache)
    load = partial(
        load_sample, spacing_mm=spacing_mm, folder=cache, whole=whole, assume_hu=config.assume_hu
    )
    if processes.count > 1:
        cases = [*training, *held_out]
        for i in processes.part_of(len(cases)):
            load(cases[i])
        processes.wait()
    return (
        [load(case) for case in training],
        [load(case) for case in held_out],
    )


def gather_cases(config: TrainConfig, cache: Path) -> tuple[list[Case], list[Case]]:
    """Return (training, held-out) cases, weighted, the unlabelled last among the training ones.

    Raises
    ------
    InputError
        As `gather_samples`.
    """
    cases = [case for source in config.data for case in _cases_of(source)]
    _require_known(config.held_out_patients, cases)
    more = [case for source in config.unlabelled for case in _cases_of(source)]
    theirs = [case for case in (*cases, *more) if case.patient in config.held_out_patients]
    apart = {case.image.resolve() for case in theirs}  # also where another list names no patient
    bare = [case for case in cases if not _teaches(case, config)]
    cases = [case for case in cases if _teaches(case, config)]
    held_out = [case for case in cases if case.patient in config.held_out_patients]
    training = [case for case in cases if case.image.resolve() not in apart]
    training = [_weighted(case, config) for case in training] + phantom_cases(config, cache)
    if not training:
        raise InputError(
            "data",
            f"{many(len(cases) + len(bare), 'case')}, none of them labelled and not held out",
            "at least one case that is labelled with one of the organs, to train on",
            "Add labelled cases or phantoms, or hold fewer patients out.",
        )
    if strategy_of(config).uses_unlabelled:
        training += _without_labels([*bare, *more], training, apart)
    return training, held_out


def _teaches(case: Case, config: TrainConfig) -> bool:
    """Whether a case has labels of an organ that the network learns."""
    return case.labels is not None and not set(case.annotated).isdisjoint(config.organs)


def _weighted(case: Case, config: TrainConfig) -> Case:
    """Return the case with the weight that its labels deserve."""
    if case.kind != "corrected":
        return case
    return replace(case, weight=case.weight * config.corrected_weight)


def _without_labels(
    cases: Sequence[Case], labelled: Sequence[Case], apart: Set[Path]
) -> list[Case]:
    """Return each scan once, without its labels; none that is trained on with them or held out.

    A list of scans without a table knows no patients: there a held-out scan is known by its file,
    which is in `apart`.
    """
    seen = {case.image.resolve() for case in labelled} | apart
    found = []
    for case in cases:
        image = case.image.resolve()
        if image not in seen:
            seen.add(image)
            bare = replace(case, labels=None, before=None, soft=None, annotated=())
            found.append(bare)
    return found


def phantom_cases(config: TrainConfig, cache: Path) -> list[Case]:
    """Return the run's synthetic scans, making those that are not in the cache yet."""
    if not config.phantoms:
        return []
    from flare_core.datasets.phantom.make import make_cohort

    made = make_cohort(cache / "phantoms", config.phantoms, seed=config.seed)
    return [replace(case, weight=config.phantom_weight) for case in made]


def _cases_of(source: str) -> tuple[Case, ...]:
    if not source.endswith(".json"):
        return cases_of_folder(source)
    if not Path(source).is_file():
        raise InputError("data", f"{source}: no such file", "a JSON list of cases", "Correct it.")
    return load_cases(source)


def _require_known(patients: Sequence[str], cases: Sequence[Case]) -> None:
    unknown = sorted(set(patients) - {case.patient for case in cases})
    if unknown:
        raise InputError(
            "held_out_patients",
            ", ".join(unknown),
            "patients of the data",
            "Correct the names: a misspelt patient would be trained on.",
        )
