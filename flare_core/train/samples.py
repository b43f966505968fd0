"""The scans of a training run, at one voxel size."""

from __future__ import annotations

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
        If no labelled case is left to train on.
    """
    cases = [case for folder in config.data for case in _cases_of(folder)]
    labelled = [case for case in cases if case.labels is not None]
    held_out = [case for case in labelled if case.patient in config.held_out_patients]
    training = [case for case in labelled if case.patient not in config.held_out_patients]
    if not training:
        raise InputError(
            "data",
            f"{len(cases)} cases, none of them labelled and not held out",
            "at least one labelled case to train on",
            "Add labelled cases, or hold fewer patients out.",
        )
    training += [replace(c, weight=config.phantom_weight) for c in phantom_cases(config, cache)]
    return (
        [load_sample(case, spacing_mm, cache) for case in training],
        [load_sample(case, spacing_mm, cache) for case in held_out],
    )


def phantom_cases(config: TrainConfig, cache: Path) -> list[Case]:
    """Return the run's synthetic scans, making those that are not in the cache yet."""
    if not config.phantoms:
        return []
    from flare_core.datasets.phantom_cohort import make_cohort

    return make_cohort(cache / "phantoms", config.phantoms, seed=config.seed)


def _cases_of(source: str) -> tuple[Case, ...]:
    return load_cases(source) if source.endswith(".json") else cases_of_folder(source)
