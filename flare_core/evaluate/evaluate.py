"""START HERE for scores: a folder of predictions, a folder of references -> scores of every case.

Steps: pair the files by name, read and check both label maps of a case, score them (`scoring`),
many cases at a time (`spread`); `summary` and `tables` make numbers and files of it.

Invariants. Every reference is a case of the result, in the order of names. A prediction that is
missing, cannot be read, lies on another grid or (where the edition says so) has an illegal label
scores 0 and is named with the reason. No score against a reference that cannot be used would mean
anything: a case whose reference cannot be read is left out and named, and so is one under which its
process ended; a reference that was made for another edition ends it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from flare_core.anatomy.label_schemes import LabelScheme
from flare_core.anatomy.organs import LESION
from flare_core.errors import Cancelled, InputError
from flare_core.evaluate.label_values import value_table
from flare_core.evaluate.pairing import CasePair, pair_cases
from flare_core.evaluate.protocols import Target
from flare_core.evaluate.scoring import (
    Labels,
    ScoringRules,
    TargetScores,
    score_labels,
)
from flare_core.imaging.apart import read_labels
from flare_core.imaging.geometry import COMPARED_TOLERANCE_MM, Geometry
from flare_core.imaging.label_map import part_of_host
from flare_core.imaging.volume import Volume
from flare_core.spread.cases import SpreadCases, input_error
from flare_core.spread.here import in_processes

Status = Literal["scored", "missing", "unreadable", "other grid", "illegal labels", "left out"]
OnCase = Callable[[int, int, str], None]

MOST_WORKERS = 8
"""More would rather wait for the disk, and each needs up to 1 GB."""
S_PER_BYTE = 3e-6
"""Of a compressed reference: reading two maps and scoring 13 organs with all metrics, measured."""
S_PER_WORKER = 1.4
"""Least work for which a process is started; starting it and its reader takes 1 s of a core."""


class OtherEdition(InputError):
    """A reference with labels that the edition does not know: the choice is wrong, not the file."""


@dataclass(frozen=True)
class Files:
    """How the files are to be read."""

    prediction_scheme: LabelScheme | None = None
    """Label values of the predictions, if not the edition's."""
    reference_scheme: LabelScheme | None = None
    """Label values of the references, if not the edition's."""
    same_place: bool = True
    """Whether a prediction must lie at the reference's place (as FLARE demands), or only have its
    size (all that the organisers' scripts check)."""


@dataclass(frozen=True)
class Score:
    """One number."""

    case: str
    """Name of the case."""
    organ: str
    """Key of the structure."""
    metric: str
    """Key in `metrics.METRICS`."""
    value: float
    """NaN if undefined."""


@dataclass(frozen=True)
class CaseResult:
    """What came of one case."""

    case: str
    """Its name."""
    status: Status
    """``scored``, or why the prediction scores 0; ``left out`` if there can be no score."""
    problem: str = ""
    """That reason in full."""
    notes: tuple[str, ...] = ()
    """Remarks about a case that is scored."""
    scores: tuple[TargetScores, ...] = ()
    """One entry for each structure that the reference annotates."""


@dataclass(frozen=True)
class Evaluation:
    """All cases, scored."""

    rules: ScoringRules
    """By what rules."""
    cases: tuple[CaseResult, ...]
    """One for every reference that can be used, by name."""
    extra: tuple[str, ...] = ()
    """Predictions without a reference, not scored."""
    left_out: tuple[CaseResult, ...] = ()
    """Cases whose reference cannot be read, or under which their process ended, with the reason."""

    @property
    def rows(self) -> tuple[Score, ...]:
        """Every number: case by case, structures and metrics in the edition's order."""
        return tuple(
            Score(case.case, one.target, metric, value)
            for case in self.cases
            for one in case.scores
            for metric, value in one.values.items()
        )

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Cases whose prediction scores 0 because it cannot be used."""
        return tuple(case for case in self.cases if case.status != "scored")


def evaluate_folders(
    prediction: str | Path,
    reference: str | Path,
    rules: ScoringRules,
    files: Files = Files(),
    *,
    workers: int = 1,
    spread: SpreadCases | None = None,
    on_case: OnCase | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Evaluation:
    """Score all predictions against all references.

    Parameters
    ----------
    prediction, reference : path
        Two folders of label files, or two files.
    rules : ScoringRules
        Edition, mode, metrics.
    files : Files
        Label values of the files, and whether their place in space is checked.
    workers : int
        Processes; the result does not depend on it. 0: as many as help on this machine.
    spread : SpreadCases, optional
        What does the cases, instead of that many processes.
    on_case : callable, optional
        Called with (cases done, cases in all, name of the case) after every case.
    cancelled : callable, optional
        Asked after every case.

    Raises
    ------
    InputError
        If the paths do not fit together, the references are another edition's, or no case can be
        scored.
    Cancelled
        If `cancelled` says so.
    """
    pairing = pair_cases(prediction, reference)
    count = workers or helpful_workers(pairing.cases)
    spread = spread or in_processes(min(count, len(pairing.cases)))
    task = partial(evaluate_case, rules=rules, files=files)
    found: dict[str, CaseResult] = {}
    errors: dict[str, InputError] = {}
    with closing(spread(task, ((pair.name, pair) for pair in pairing.cases))) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            error = input_error(outcome)
            if isinstance(error, OtherEdition):
                raise error
            if error is None:
                found[outcome.case] = outcome.value
            else:
                errors[outcome.case] = error
            if on_case is not None:
                on_case(done, len(pairing.cases), outcome.case)
            if cancelled is not None and cancelled():
                raise Cancelled("stopped by the caller")
    names = [pair.name for pair in pairing.cases]
    if not found:
        raise errors[next(name for name in names if name in errors)]
    return Evaluation(
        rules,
        tuple(found[name] for name in names if name in found),
        pairing.extra,
        tuple(_left_out(name, errors[name]) for name in names if name in errors),
    )


def _left_out(case: str, error: InputError) -> CaseResult:
    argument, came, legal, _ = error.parts
    return CaseResult(case, "left out", f"{argument}: {came}; legal: {legal}")


def evaluate_case(pair: CasePair, rules: ScoringRules, files: Files) -> CaseResult:
    """Read and score one case.

    Raises
    ------
    InputError
        If the reference cannot be used.
    """
    reference = read_labels(pair.reference)
    true = _reference_values(pair, reference, rules, files)
    targets = annotated_targets(pair, rules)
    volume, status, problem = _prediction(pair, reference.geometry, rules, files)
    notes = _told(pair, targets) + (() if volume is None else _remarks(volume, rules, files))
    predicted = None if volume is None else in_edition(volume, files.prediction_scheme, rules)
    scores = score_labels(predicted, true, reference.geometry, rules, targets)
    return CaseResult(pair.name, status, problem, notes + _undefined(scores, rules), scores)


def _told(pair: CasePair, targets: Sequence[Target]) -> tuple[str, ...]:
    """Say what is odd about what the reference annotates."""
    nothing = "its reference annotates none of the edition's structures: nothing is scored"
    return (*([pair.note] if pair.note else []), *([] if targets else [nothing]))


def helpful_workers(cases: Sequence[CasePair], processors: int | None = None) -> int:
    """Return how many processes help: to start one takes longer than a few small cases.

    How long a case takes goes with its surfaces, and so does the size of a compressed label map.
    """
    available = processors or os.cpu_count() or 1
    seconds = sum(_bytes(pair.reference) for pair in cases) * S_PER_BYTE
    return max(1, min(int(seconds / S_PER_WORKER), len(cases) // 2, available, MOST_WORKERS))


def _bytes(path: Path) -> int:
    """Return a file's size; 0 where it cannot be asked for, as reading it will tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def annotated_targets(pair: CasePair, rules: ScoringRules) -> tuple[Target, ...]:
    """Return the structures that the case's reference annotates."""
    if pair.annotated is None:
        return rules.edition.targets
    return tuple(t for t in rules.edition.targets if set(t.organs) <= set(pair.annotated))


def _prediction(
    pair: CasePair, geometry: Geometry, rules: ScoringRules, files: Files
) -> tuple[Volume | None, Status, str]:
    """Return the prediction, or None with the reason why it cannot be used."""
    if pair.prediction is None:
        return None, "missing", f"no prediction called {pair.name}"
    try:
        volume = read_labels(pair.prediction)
    except InputError as error:
        return None, "unreadable", f"{pair.prediction.name}: {error.parts[1]}"
    if volume.geometry.shape != geometry.shape:
        sizes = [" x ".join(map(str, each.shape)) for each in (volume.geometry, geometry)]
        return None, "other grid", f"{sizes[0]} voxels (z, y, x), the reference has {sizes[1]}"
    if files.same_place and not volume.geometry.same_grid(geometry, COMPARED_TOLERANCE_MM):
        return None, "other grid", "same size, but another origin, spacing or direction"
    illegal = _illegal(volume, files.prediction_scheme or rules.edition.scheme)
    if illegal and rules.edition.strict_labels:
        return None, "illegal labels", f"label {_listed(illegal)} is not of {rules.edition.key}"
    return volume, "scored", ""


def _reference_values(
    pair: CasePair, reference: Volume, rules: ScoringRules, files: Files
) -> Labels:
    """Return the reference in the edition's values."""
    scheme = files.reference_scheme or rules.edition.scheme
    illegal = _illegal(reference, scheme)
    if illegal:
        raise OtherEdition(
            str(pair.reference),
            f"a reference with label {_listed(illegal)}",
            f"0 to {scheme.highest} ({scheme.title})",
            "Choose the edition that the references were made for, or name their scheme.",
        )
    return in_edition(reference, files.reference_scheme, rules)


def in_edition(volume: Volume, scheme: LabelScheme | None, rules: ScoringRules) -> Labels:
    """Return labels (Z, Y, X) in the edition's values; `scheme` is the file's, None its own.

    Lesions that the edition does not know are part of their organ: FLARE22 drew no holes.
    """
    labels = volume.array.astype(np.uint8, copy=False)
    if scheme is None:
        return labels
    lesion = scheme.number_of(LESION.key)
    known = any(LESION.key in target.organs for target in rules.edition.targets)
    if lesion is not None and not known and bool((labels == lesion).any()):
        labels = part_of_host(labels, lesion)
    return value_table(scheme, rules.edition)[labels]


def _illegal(volume: Volume, scheme: LabelScheme) -> list[int]:
    labels = volume.array.astype(np.uint8, copy=False)
    if labels.max() <= scheme.highest:
        return []
    return [int(value) for value in np.unique(labels[labels > scheme.highest])]


def _remarks(volume: Volume, rules: ScoringRules, files: Files) -> tuple[str, ...]:
    illegal = _illegal(volume, files.prediction_scheme or rules.edition.scheme)
    if not illegal:
        return ()
    return (f"label {_listed(illegal)} is not of {rules.edition.key}: taken as background",)


def _undefined(scores: Sequence[TargetScores], rules: ScoringRules) -> tuple[str, ...]:
    """Say where the official way has no score."""
    keys = [one.target for one in scores if np.isnan(one.values.get("dsc", 0.0))]
    if not keys:
        return ()
    return (
        f"{', '.join(keys)}: the reference labels one slice, which the official way leaves out: "
        f"NaN (mode fixed scores it)",
    )


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
