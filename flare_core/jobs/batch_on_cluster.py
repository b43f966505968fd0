"""The cases of `flare segment` on the workers of a cluster; all else is as in `batch`.

Invariant: the files are those of one process. A worker does a case as `run_case` does it anywhere,
and all files of a case appear together, so that a case whose worker ended has none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.jobs.batch import BatchCase, BatchPlan, Doing, run_plan
from flare_core.jobs.cluster import Place
from flare_core.jobs.engine import Engine
from flare_core.jobs.on_cluster import GPU, threads_each, told_of_cluster
from flare_core.jobs.one_case import Caller, Job, run_case
from flare_core.jobs.outputs import OUTPUTS, OutputPaths
from flare_core.jobs.progress import Reporter
from flare_core.jobs.reports import CaseReport, ResultSummary, Tally, told_of
from flare_core.segment.progress import Progress
from flare_core.segment.settings import Settings
from flare_core.spread.cases import Outcome, SpreadCases, paced
from flare_core.spread.on_dask import unwanted

Tell = Callable[[Iterator[Outcome]], Iterator[Outcome]]
"""Passes outcomes on and tells how fast they come."""


def run_plan_on(
    where: tuple[Place, str],
    plan: BatchPlan,
    engine: Engine,
    reporter: Reporter,
    debug: bool = False,
) -> Tally:
    """Do every job on a worker; a failed one is told and the rest is done.

    Parameters
    ----------
    where : (Place, str)
        Where the workers are, and how a person said it.

    Raises
    ------
    InputError
        If there are no workers, or one cannot do what it should.
    ClusterLost
        If the scheduler is gone; what is done stays done.
    """
    place, said = where
    plan, report = _from_anywhere(plan, place), CaseReport(reporter)
    results = plan.jobs[0].paths.labels.parent
    resources = GPU if plan.settings.device == "cuda" else {}
    with told_of_cluster(place, said, reporter, results, _inputs(plan), resources) as spread:
        doing = _doing(spread, partial(case_there, plan.settings, engine), _tell_pace(plan, report))
        tally = run_plan(plan, engine, report, debug, doing)
    groups = ([*job.paths.files(OUTPUTS).values()] for job in plan.jobs)
    atomic.restore_all(groups)  # of workers that ended while they wrote
    return tally


def case_there(settings: Settings, engine: Engine, job: Job) -> ResultSummary:
    """Do one case, in a worker; its model stays in the process for the next one."""
    return told_of(run_case(job, settings, engine, Caller(cancelled=unwanted())))


def _doing(spread: SpreadCases, do: Callable[[Job], ResultSummary], tell: Tell) -> Doing:
    """Return what does cases on the cluster."""

    def doing(works: Iterator[BatchCase]) -> Iterator[tuple[BatchCase, Callable[[], Any]]]:
        under_way: dict[str, BatchCase] = {}

        def cases() -> Iterator[tuple[str, Job]]:
            for work in works:
                under_way[work.case] = work
                yield work.case, work.job

        with closing(spread(do, cases())) as outcomes:
            for outcome in tell(outcomes):
                yield under_way.pop(outcome.case), partial(_given, outcome)

    return doing


def _given(outcome: Outcome) -> Any:
    """Return or raise what came of a case."""
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _tell_pace(plan: BatchPlan, report: CaseReport) -> Tell:
    """Return what tells the report after each case how fast it goes."""
    files = ([*job.paths.files(job.outputs).values()][-1] for job in plan.jobs)
    done = (not plan.overwrite and file.exists() for file in files)
    of = len(plan.jobs) - sum(done)

    def tell(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome, pace in paced(outcomes, of):
            yield outcome
            report.pace(Progress(pace.text, pace.done / max(1, of), pace.seconds_left))

    return tell


def _from_anywhere(plan: BatchPlan, place: Place) -> BatchPlan:
    """Name all files as a process in another folder has to."""
    jobs = tuple(
        replace(job, input=job.input.absolute(), paths=_absolute(job.paths)) for job in plan.jobs
    )
    settings = plan.settings
    if os.path.isdir(settings.model):
        settings = replace(settings, model=os.path.abspath(settings.model))
    if settings.home:
        settings = replace(settings, home=os.path.abspath(settings.home))
    settings = replace(settings, threads=settings.threads or threads_each(place))
    return replace(plan, jobs=jobs, settings=settings)


def _absolute(paths: OutputPaths) -> OutputPaths:
    each = {field.name: getattr(paths, field.name).absolute() for field in fields(paths)}
    return OutputPaths(**each)


def _inputs(plan: BatchPlan) -> list[Path]:
    """Return what a worker has to see besides the folder for the results."""
    own = [plan.settings.model, plan.settings.home]
    named = (Path(text) for text in own if text and os.path.isabs(text))
    return [*named, *(job.input for job in plan.jobs)]
