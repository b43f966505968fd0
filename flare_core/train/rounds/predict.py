"""A model labels many scans: each once, wherever, over any number of restarts.

A result on disk is never made again, so what a lost process has not finished is made by the next
launch. Ranks of ``torchrun`` share what is left; workers of a cluster (`Elsewhere`) do all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from flare_core.anatomy.organs import organ
from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.home import ensure_folder
from flare_core.imaging.apart import read_labels, read_volume
from flare_core.imaging.checks import check_ct
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume
from flare_core.models.package import Package, load_package
from flare_core.segment.cascade import Plan, load_stages
from flare_core.segment.pipeline import Labelled, label_ct
from flare_core.segment.runtime import choose_runtime
from flare_core.spread.cases import SpreadCases, WorkerLost
from flare_core.spread.here import in_turn
from flare_core.spread.on_dask import unwanted
from flare_core.train.log import Listener
from flare_core.train.processes import Processes
from flare_core.train.rounds.evidence import Labels, case_evidence, compared
from flare_core.train.rounds.pseudo_labels import soft_maps
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import RoundFolder, RunFolder
from flare_core.train.strategies.candidate import CaseEvidence, write_evidence

MAPS_COMPARED = 3
"""Rounds whose label maps enter the disagreement, as in blackbean's formula."""


@dataclass(frozen=True)
class PredictionJob:
    """A scan to label."""

    case: str
    """Name of the case."""
    image: Path
    """The CT."""


class Predictor:
    """A model that labels scans for self-training.

    Parameters
    ----------
    package : Package
    settings : RoundSettings
        Gives device, precision and threads.

    Raises
    ------
    InputError
        If the device is not to be had or the model cannot be run.
    """

    def __init__(self, package: Package, settings: RoundSettings) -> None:
        runtime = choose_runtime(settings.device, settings.precision, settings.threads)
        torch.set_num_threads(runtime.threads)
        self.model, self.notes = name_of(package), runtime.notes
        self.teacher = load_stages(package, runtime)
        if self.teacher.organs is None:
            raise InputError(
                f"teacher {package.card.name}",
                f"the stages {', '.join(stage.name for stage in package.card.stages)}",
                "a model with a stage called organs",
                "Choose another teacher.",
            )

    def segment(self, image: Path, stop: Listener) -> tuple[Volume, Labelled]:
        """Read and label one scan; return it with its labels and scores.

        A scan without abdominal organs has empty labels and a note.

        Raises
        ------
        InputError
            If the scan cannot be read or is no CT.
        """
        volume = read_volume(image)
        check_ct(volume)
        plan = Plan(self.teacher.known, keep_scores=True)
        try:
            return volume, label_ct(volume, self.teacher, plan, lambda *_: stop({}))
        except NothingFound as error:
            empty = Volume(np.zeros(volume.geometry.shape, np.uint8), volume.geometry)
            return volume, Labelled(empty, empty, notes=(str(error),))

    def label(self, job: PredictionJob, stop: Listener) -> tuple[Labelled, CaseEvidence]:
        """Label one scan; return its labels and scores, and the evidence for them.

        Raises
        ------
        InputError
            If the scan cannot be read or is no CT.
        """
        volume, found = self.segment(job.image, stop)
        return found, case_evidence(job.case, self.model, volume, found, self.teacher.known)


@dataclass(frozen=True)
class Elsewhere:
    """Who labels and scores scans instead of the processes of the run."""

    spread: SpreadCases
    """Does the cases."""
    threads: int = 0
    """CPU threads of each worker; 0 as the settings of the run say."""


@dataclass(frozen=True)
class PredictionTask:
    """All that a worker needs to label scans, or to score a model."""

    run: Path
    """Folder of the run."""
    model: Path
    """Folder of the model."""
    settings: RoundSettings
    """Give device, precision and threads."""
    round: int = 0
    """Whose labels they become."""
    soft: bool = False
    """Whether the model's doubt is kept as well."""


_WARM: list[tuple[tuple[Path, RoundSettings], Predictor]] = []
"""The model of the last case that this process did as a worker."""


def task_of(run: RunFolder, model: Package, elsewhere: Elsewhere) -> PredictionTask:
    """Return what workers elsewhere are given to do."""
    threads = run.settings.threads or elsewhere.threads
    settings = replace(run.settings, threads=threads)
    return PredictionTask(run.path.absolute(), model.folder.absolute(), settings)


def warm_predictor(task: PredictionTask) -> Predictor:
    """Return the predictor of a task; it stays in this process for the next case."""
    wanted = task.model, task.settings
    for known, predictor in _WARM:
        if known == wanted:
            return predictor
    _WARM.clear()  # one model at a time
    _WARM.append((wanted, Predictor(load_package(task.model), task.settings)))
    return _WARM[0][1]


def listener_there(task: PredictionTask) -> Listener:
    """Return what ends a case, in a worker, that nobody wants any more."""
    run, is_unwanted = RunFolder(task.run), unwanted()

    def listen(_: object) -> None:
        run.stop_if_asked()
        if is_unwanted():
            raise Cancelled("nobody waits for this case any more")

    return listen


def label_there(task: PredictionTask, job: PredictionJob) -> None:
    """Label one scan, in a worker."""
    run = RunFolder(task.run)
    earlier = [run.seen_round(number) for number in range(1, task.round)]
    predict_one(
        warm_predictor(task),
        job,
        run.seen_round(task.round),
        earlier,
        listener_there(task),
        soft=task.soft,
    )


def predict_all(
    do: Callable[[PredictionJob], None],
    jobs: Sequence[PredictionJob],
    folder: RoundFolder,
    *,
    model: str,
    processes: Processes,
    tell: Listener,
    spread: SpreadCases = in_turn,
) -> None:
    """Label every scan that has no result yet, of which this process takes its part.

    A scan whose worker ended gets evidence that says so.

    Parameters
    ----------
    do : callable
        Labels one scan, as `predict_one`.
    model : str
        Its name, see `name_of`.
    tell : callable
        Told after every scan; raises to stop.
    spread : SpreadCases
        What does the scans.
    """
    left = processes.agree([job for job in jobs if not folder.evidence_of(job.case).exists()])
    mine = [left[number] for number in processes.part_of(len(left))]
    before = len(jobs) - len(left)
    tell({"event": "predict", "done": before, "total": len(jobs)})
    with closing(spread(do, ((job.case, job) for job in mine))) as outcomes:
        for done, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome.error, WorkerLost):
                leave_out(folder, outcome.case, model, outcome.error)
            elif outcome.error is not None:
                raise outcome.error
            all_done = before + min(len(left), done * processes.count)  # the others are as quick
            tell({"event": "predict", "done": all_done, "total": len(jobs)})


def leave_out(folder: RoundFolder, case: str, model: str, why: Exception) -> None:
    """Write the evidence of a scan that has no labels: why."""
    left = CaseEvidence(case, model, notes=(" ".join(str(why).split()),))
    write_evidence(folder.evidence_of(case), left)


def name_of(model: Package) -> str:
    """Return a model's name and version, as evidence has them."""
    return f"{model.card.name}-{model.card.version}"


def predict_one(
    predictor: Predictor,
    job: PredictionJob,
    folder: RoundFolder,
    earlier: Sequence[RoundFolder],
    tell: Listener,
    *,
    soft: bool = False,
) -> None:
    """Label one scan; a scan that cannot be read gets evidence that says why."""
    try:
        found, evidence = predictor.label(job, tell)
    except InputError as error:
        leave_out(folder, job.case, predictor.model, error)
        return
    maps = [*earlier_maps(job.case, earlier), found.labels.array]  # all of them cleaned
    ids = {key: organ(key).id for key in evidence.organs}
    if all(each.shape == maps[-1].shape for each in maps):
        evidence = compared(evidence, maps[-MAPS_COMPARED:], ids)
    labels = found.labels
    if soft and found.folds:
        labels, doubt = soft_maps(found)
        for path in (folder.cleaned_of(job.case), folder.soft_of(job.case)):
            ensure_folder(path.parent)
        write_labels(folder.cleaned_of(job.case), found.labels, like=job.image)
        write_volume(folder.soft_of(job.case), doubt)
    write_labels(folder.labels_of(job.case), labels, like=job.image)
    write_evidence(folder.evidence_of(job.case), evidence)


def earlier_maps(case: str, earlier: Sequence[RoundFolder]) -> list[Labels]:
    """Return a case's cleaned label maps of the rounds before, oldest first, as far as needed.

    Where soft labels are learnt from, the labels beside them are not cleaned and lie elsewhere: a
    difference between the two kinds is none between the rounds.
    """
    paths = [
        folder.cleaned_of(case) if folder.soft_of(case).exists() else folder.labels_of(case)
        for folder in earlier
    ]
    there = [path for path in paths if path.is_file()]
    return [np.asarray(read_labels(path).array) for path in there[-(MAPS_COMPARED - 1) :]]
