"""A model on the frozen hold-out: DSC and NSD of every organ, each case scored once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from flare_core import atomic
from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.case import Case
from flare_core.evaluate.metrics.dsc import overlap
from flare_core.evaluate.metrics.nsd import nsd
from flare_core.evaluate.metrics.pair import OrganPair
from flare_core.home import ensure_folder
from flare_core.imaging.apart import read_labels
from flare_core.imaging.volume import Volume
from flare_core.json_fields import decode
from flare_core.models.package import Package
from flare_core.spread.cases import Outcome, input_error
from flare_core.spread.here import in_turn
from flare_core.train.log import Listener
from flare_core.train.processes import Processes
from flare_core.train.rounds.comparison import CaseScores
from flare_core.train.rounds.predict import (
    Elsewhere,
    PredictionTask,
    Predictor,
    listener_there,
    task_of,
    warm_predictor,
)
from flare_core.train.rounds.state import RunFolder, read_of_run
from flare_core.train.validation import least_ml

TOLERANCE_MM = 2.0
"""Of NSD, for every organ: what matters here is old against new."""


def score_model(
    run: RunFolder,
    package: Package,
    cases: Sequence[Case],
    *,
    processes: Processes,
    tell: Listener,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Score a model on every case that has no score yet, of which this process takes its part.

    A score against labels that have been corrected since is none: the other model would be measured
    against the new ones.

    Raises
    ------
    InputError
        If a case cannot be scored; the others are.
    """
    paths = {case.name: run.score_of(package.fingerprint, case.name) for case in cases}
    left = processes.agree([case for case in cases if not _is_scored(paths[case.name], case)])
    mine = [left[number] for number in processes.part_of(len(left))]
    before = len(cases) - len(left)
    tell({"event": "score", "done": before, "total": len(cases)})
    errors = []
    with closing(_scores(run, package, mine, tell, elsewhere)) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            if error := input_error(outcome):
                errors.append(error)
            else:
                ensure_folder(paths[outcome.case].parent)
                atomic.write_json(paths[outcome.case], asdict(outcome.value))
            all_done = before + min(len(left), done * processes.count)
            tell({"event": "score", "done": all_done, "total": len(cases)})
    if errors:
        raise errors[0]


def _is_scored(path: Path, case: Case) -> bool:
    """Whether a file holds the scores of a case against the labels it has now."""
    if not path.exists():
        return False
    reference = decode(CaseScores, read_of_run(path), str(path)).reference
    return reference in ("", _reference(case))


def _reference(case: Case) -> str:
    """Return what tells a case's labels from those it had before: the store keeps every version."""
    return case.labels.name if case.labels else ""


def _scores(
    run: RunFolder,
    package: Package,
    cases: Sequence[Case],
    tell: Listener,
    elsewhere: Elsewhere | None,
) -> Generator[Outcome, None, None]:
    """Yield the cases' scores, worked out here or by workers."""
    named = [(case.name, case) for case in cases]
    if not named:
        return
    if elsewhere is None:
        predictor = Predictor(package, run.settings)
        yield from in_turn(lambda case: score_case(predictor, case, tell), named)
    else:
        yield from elsewhere.spread(partial(score_there, task_of(run, package, elsewhere)), named)


def score_there(task: PredictionTask, case: Case) -> CaseScores:
    """Return the scores of one case, in a worker."""
    return score_case(warm_predictor(task), case, listener_there(task))


def read_scores(run: RunFolder, package: Package, cases: Sequence[Case]) -> list[CaseScores]:
    """Return the scores that `score_model` has written.

    Raises
    ------
    InputError
        If a file cannot be read, or holds something else.
    """
    paths = [run.score_of(package.fingerprint, case.name) for case in cases]
    return [decode(CaseScores, read_of_run(path), str(path)) for path in paths]


def score_case(predictor: Predictor, case: Case, tell: Listener) -> CaseScores:
    """Return the scores of one case.

    An organ that neither the model nor the person found scores 1, one that only one of them found
    scores 0, as in FLARE.
    """
    _, found = predictor.segment(case.image, tell)
    assert case.labels is not None
    # Where nobody marked lesions they are part of their organ: a lesion found is no hole in it.
    predicted = found.labels if LESION.key in case.annotated else found.whole
    return CaseScores(
        case.name,
        case.patient,
        score_labels(predicted, read_labels(case.labels), case.annotated),
        _reference(case),
    )


def score_labels(
    predicted: Volume, reference: Volume, organs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return organ key -> DSC and NSD of a label map."""
    rows = {}
    for key in organs:
        truth = reference.array == organ(key).id
        ml = float(np.count_nonzero(truth)) * reference.geometry.voxel_ml
        if 0 < ml < least_ml(key):
            continue
        pair = OrganPair(
            prediction=predicted.array == organ(key).id,
            reference=truth,
            spacing_mm=reference.geometry.spacing_mm,
            tolerance_mm=TOLERANCE_MM,
        ).cropped()
        rows[key] = {"dsc": round(overlap(pair), 5), "nsd": round(nsd(pair), 5)}
    return rows
