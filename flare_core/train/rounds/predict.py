"""A model labels many scans: each once, by any number of processes, over any number of restarts.

Within one launch a scan belongs to whoever makes its claim file first. A result on disk is never
made again. Claims of an earlier launch do not count, so what a lost process had claimed is picked
up by the next launch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError, NothingFound
from flare_core.home import ensure_folder
from flare_core.imaging.apart import read_labels, read_volume
from flare_core.imaging.checks import check_ct
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume
from flare_core.models.package import Package
from flare_core.segment.cascade import Plan, load_stages
from flare_core.segment.pipeline import Labelled, label_ct
from flare_core.segment.runtime import choose_runtime
from flare_core.train.log import Listener
from flare_core.train.processes import Processes
from flare_core.train.rounds.evidence import Labels, case_evidence, compared
from flare_core.train.rounds.pseudo_labels import soft_maps
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import RoundFolder
from flare_core.train.strategies.candidate import CaseEvidence, write_evidence

MAPS_COMPARED = 3
"""Rounds whose label maps enter the disagreement, as in blackbean's formula."""


@dataclass(frozen=True)
class Job:
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
        self.model = f"{package.card.name}-{package.card.version}"
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

    def label(self, job: Job, stop: Listener) -> tuple[Labelled, CaseEvidence]:
        """Label one scan; return its labels and scores, and the evidence for them.

        Raises
        ------
        InputError
            If the scan cannot be read or is no CT.
        """
        volume, found = self.segment(job.image, stop)
        return found, case_evidence(job.case, self.model, volume, found, self.teacher.known)


def predict_all(
    predictor: Predictor,
    jobs: Sequence[Job],
    folder: RoundFolder,
    earlier: Sequence[RoundFolder],
    *,
    launch: str,
    processes: Processes,
    tell: Listener,
    soft: bool = False,
) -> None:
    """Label every scan that has no result yet and that nobody else has claimed in this launch.

    Parameters
    ----------
    earlier : sequence of RoundFolder
        The rounds before this one, oldest first; their label maps are compared with the new one.
    launch : str
        The same in all ranks of one launch, never the same in two.
    tell : callable
        Told after every scan; raises to stop.
    soft : bool
        Keep the model's doubt as well (`datasets.soft_map`).
    """
    claims = ensure_folder(folder.path / "claims" / launch)
    for number, job in enumerate(jobs, 1):
        if not folder.evidence_of(job.case).exists() and claim(claims / job.case, processes.rank):
            predict_one(predictor, job, folder, earlier, tell, soft=soft)
        tell({"event": "predict", "done": number, "total": len(jobs)})


def predict_one(
    predictor: Predictor,
    job: Job,
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
        left = CaseEvidence(job.case, predictor.model, notes=(" ".join(str(error).split()),))
        write_evidence(folder.evidence_of(job.case), left)
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


def claim(path: Path, rank: int) -> bool:
    """Claim a scan; return whether it was free."""
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    os.write(number, f"rank {rank}, process {os.getpid()}\n".encode())
    os.close(number)
    return True
