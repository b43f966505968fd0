"""The scans of a training run, at one voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flare_core.datasets.cache import Sample, load_sample
from flare_core.datasets.case import Case, cases_of_folder, load_cases
from flare_core.errors import InputError
from flare_core.train.config import TrainConfig


def gather_samples(
    config: TrainConfig, spacing_mm: tuple[float, float, float], cache: Path
) -> tuple[list[Sample], list[Sample]]:
    """Return (training, held-out) samples.

    Raises
    ------
    InputError
        If a held-out patient is in none of the data (a misspelt one would be trained on), or no
        labelled case is left to train on.
    """
    cases = [case for source in config.data for case in _cases_of(source)]
    _require_known(config.held_out_patients, cases)
    labelled = [case for case in cases if case.labels is not None]
    held_out = [case for case in labelled if case.patient in config.held_out_patients]
    training = [case for case in labelled if case.patient not in config.held_out_patients]
    training += phantom_cases(config, cache)
    if not training:
        raise InputError(
            "data",
            f"{len(cases)} cases, none of them labelled and not held out",
            "at least one labelled case to train on",
            "Add labelled cases or phantoms, or hold fewer patients out.",
        )
    return (
        [load_sample(case, spacing_mm, cache) for case in training],
        [load_sample(case, spacing_mm, cache) for case in held_out],
    )


def phantom_cases(config: TrainConfig, cache: Path) -> list[Case]:
    """Return the run's synthetic scans, making those that are not in the cache yet."""
    if not config.phantoms:
        return []
    from flare_core.datasets.phantom_cohort import make_cohort

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
