"""A model on the frozen hold-out: DSC and NSD of every organ, each case scored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from flare_core import atomic
from flare_core.anatomy.organs import organ
from flare_core.datasets.case import Case
from flare_core.evaluate.metrics.dsc import overlap
from flare_core.evaluate.metrics.nsd import nsd
from flare_core.evaluate.metrics.pair import OrganPair
from flare_core.home import ensure_folder
from flare_core.imaging.apart import read_labels
from flare_core.imaging.volume import Volume
from flare_core.json_fields import decode
from flare_core.models.package import Package
from flare_core.train.log import Listener
from flare_core.train.processes import Processes
from flare_core.train.rounds.comparison import CaseScores
from flare_core.train.rounds.predict import Predictor, claim
from flare_core.train.rounds.state import RunFolder, read_of_run

LEAST_ML = 1.0
"""A reference smaller than this is a remnant at the scan's edge; the organ is not scored there."""

TOLERANCE_MM = 2.0
"""Of NSD, for every organ: what matters here is old against new."""


def score_model(
    run: RunFolder,
    package: Package,
    cases: Sequence[Case],
    *,
    launch: str,
    processes: Processes,
    tell: Listener,
) -> None:
    """Score a model on every case that has no score yet and that nobody has claimed."""
    prefix = f"{launch}-{package.fingerprint[:16]}"
    claims = ensure_folder(run.path / "scores" / "claims" / prefix)
    predictor: Predictor | None = None
    for done, case in enumerate(cases, 1):
        path = run.score_of(package.fingerprint, case.name)
        if not path.exists() and claim(claims / case.name, processes.rank):
            ensure_folder(path.parent)
            predictor = predictor or Predictor(package, run.settings)
            atomic.write_json(path, asdict(score_case(predictor, case, tell)))
        tell({"event": "score", "done": done, "total": len(cases)})


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
    return CaseScores(
        case.name,
        case.patient,
        score_labels(found.labels, read_labels(case.labels), case.annotated),
    )


def score_labels(
    predicted: Volume, reference: Volume, organs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return organ key -> DSC and NSD of a label map."""
    rows = {}
    for key in organs:
        truth = reference.array == organ(key).id
        ml = float(np.count_nonzero(truth)) * reference.geometry.voxel_ml
        if 0 < ml < LEAST_ML:
            continue
        pair = OrganPair(
            prediction=predicted.array == organ(key).id,
            reference=truth,
            spacing_mm=reference.geometry.spacing_mm,
            tolerance_mm=TOLERANCE_MM,
        ).cropped()
        rows[key] = {"dsc": round(overlap(pair), 5), "nsd": round(nsd(pair), 5)}
    return rows
