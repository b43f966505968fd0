"""Cases one after another: skip what is done, go on after a failure, add everything up.

Invariant: a case has either all of its outputs or none, and every failed case is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import dirname, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.jobs.engine import Engine
from flare_core.jobs.failure import EXIT_INTERNAL, failure_of, log_traceback
from flare_core.jobs.one_case import Job, Watch, run_case
from flare_core.jobs.outputs import (
    OUR_SCHEME,
    OUTPUTS,
    USUAL,
    check_names,
    is_file_name,
    output_paths,
    table_csv,
)
from flare_core.jobs.reports import Report, Tally
from flare_core.paths import usable_path
from flare_core.segment.settings import Settings

if TYPE_CHECKING:
    from flare_core.imaging.inputs import CaseInput

SUMMARY_FILE = "all_cases.csv"
"""Rows of all cases of a batch; no case's own file can have this name."""


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    jobs: tuple[Job, ...]
    """The cases, in order."""
    settings: Settings
    """How they are segmented."""
    overwrite: bool = False
    """Whether cases that are done are done again."""
    summary: Path | None = None
    """Where the table of all cases goes; None for a single case."""


def find_cases(inputs: Sequence[Path], series: str | None) -> list[CaseInput]:
    """Return the cases of all inputs, each with a name of its own.

    Raises
    ------
    InputError
        If an input holds no case, or names stay equal with their folder's name before them.
    """
    from flare_core.imaging.inputs import existing

    found = [case for path in inputs for case in _cases_in(existing(path), series)]
    return _with_own_names(found)


def _cases_in(path: Path, series: str | None) -> list[CaseInput]:
    """Return the cases of one input, even if one of its DICOM files crashes whoever looks at it."""
    from flare_core.imaging import apart
    from flare_core.imaging.inputs import CaseInput, case_name, find_inputs, suffix_of

    below = [p for p in path.iterdir() if p.is_dir()] if path.is_dir() and not series else []
    if not below:
        return find_inputs(path, series=series)
    try:
        return apart.find_inputs(path)
    except apart.ReaderEnded:  # each on its own, then: the bad one will be named
        files = [p for p in path.iterdir() if suffix_of(p) and p.is_file()]
        places = sorted(p for p in (*below, *files) if not p.name.startswith("."))
        return [CaseInput(case_name(place), place) for place in places]


def _with_own_names(cases: list[CaseInput]) -> list[CaseInput]:
    """Put the folder's name before names that occur twice, as with PATIENT/ct.nii.gz."""
    names = Counter(case.name for case in cases)
    named = [
        replace(case, name=f"{case.path.absolute().parent.name}_{case.name}")
        if names[case.name] > 1
        else case
        for case in cases
    ]
    for name, count in Counter(case.name.casefold() for case in named).items():
        if count > 1:
            paths = ", ".join(str(x.path) for x in named if x.name.casefold() == name)
            raise InputError(
                "input",
                f"{count} cases would have the name {name!r}: {paths}",
                "cases whose names differ, because outputs are named after them",
                "Rename them, or segment them into separate output folders.",
            )
    return named


def plan_jobs(
    cases: Sequence[CaseInput],
    output: Path,
    *,
    outputs: tuple[str, ...] = USUAL,
    scheme: str = OUR_SCHEME,
) -> tuple[Job, ...]:
    """Return one job per case.

    Raises
    ------
    InputError
        If an output would replace an input, or one file is named for several cases.
    """
    if is_file_name(output) and len(cases) > 1:
        raise InputError(
            "output", f"one file name for {len(cases)} cases", "a folder",
            "Name a folder; each case gets its own files there.",
        )  # fmt: skip
    jobs = [
        Job(case.name, case.path, output_paths(output, case.name), case.series, outputs, scheme)
        for case in cases
    ]
    usable_path(output, "output")
    for job in jobs:
        check_names(job.paths.files(job.outputs).values())
    _spare_inputs(jobs)
    return tuple(jobs)


def _spare_inputs(jobs: Sequence[Job]) -> None:
    """Refuse to write over a scan, or into a DICOM folder."""
    inputs = {realpath(job.input) for job in jobs}
    for job in jobs:
        for path in job.paths.files(job.outputs).values():
            if {realpath(path), dirname(realpath(path))} & inputs:
                raise InputError(
                    "output",
                    f"{path} would replace an input or be written among a series' files",
                    "a folder that holds none of the inputs",
                    "Choose another output folder.",
                )


def run_plan(plan: Plan, engine: Engine, report: Report, debug: bool = False) -> Tally:
    """Do every job; a failed one is told and the next one is done.

    Raises
    ------
    Exception
        With `debug`, what went wrong inside, as it is.
    """
    tally = Tally()
    atomic.restore_all([*job.paths.files(OUTPUTS).values()] for job in plan.jobs)
    for number, job in enumerate(plan.jobs, start=1):
        report.start(job.case, number, len(plan.jobs))
        files = job.paths.files(job.outputs)
        if [*files.values()][-1].exists() and not plan.overwrite:
            tally.skipped.append(job.case)
            report.skipped(job.case, files)
            continue
        try:
            result = run_case(job, plan.settings, engine, Watch(report.step))
        except BrokenPipeError:  # nobody listens any more
            raise
        except Exception as error:  # the command line's edge: one bad case must not stop the rest
            if debug and failure_of(error).kind == "internal":
                raise
            _tell(error, job, report, tally)
        else:
            tally.done.append(job.case)
            report.result(result)
    report.finish(tally, _write_summary(plan, tally))
    return tally


def exit_code(tally: Tally) -> int:
    """Return 0 if all went well, else the only case's own code, or 1 for a batch."""
    if not tally.failed:
        return 0
    if tally.cases == 1:
        return next(iter(tally.failed.values())).exit_code
    return EXIT_INTERNAL


def _tell(error: Exception, job: Job, report: Report, tally: Tally) -> None:
    failure = failure_of(error)
    log = log_traceback(error) if failure.kind == "internal" else ""
    tally.failed[job.case] = failure
    report.error(job.case, failure, log)


def _write_summary(plan: Plan, tally: Tally) -> Path | None:
    """Write the table of all cases that are done, now or before."""
    jobs = [job for job in plan.jobs if job.case not in tally.failed]
    if plan.summary is None or not jobs:
        return None
    text = table_csv(row for job in jobs for row in _rows_on_disk(job))
    with atomic.written_together([plan.summary]) as (part,):
        part.write_bytes(text.encode("utf-8", "replace"))
    if "page" in jobs[0].outputs:
        from flare_core.jobs.cohort import write_cohort_page

        failed = {case: failure.message for case, failure in tally.failed.items()}
        write_cohort_page(plan.summary.with_suffix(".html"), plan.jobs, failed)
    return plan.summary


def _rows_on_disk(job: Job) -> list[dict[str, Any]]:
    """Return the rows of a case that is done; none if its file is gone or changed by hand."""
    from flare_core.segment.lesion_list import Lesion, lesion_rows
    from flare_core.segment.statistics import rows_to_json

    try:
        found = json.loads(job.paths.statistics_json.read_text(encoding="utf-8"))
        lesions = [Lesion.from_dict(row) for row in found.get("lesions") or ()]
        rows = [*found["rows"], *rows_to_json(lesion_rows(lesions))]
        return [{"case": job.case, **row} for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []
