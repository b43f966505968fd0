"""Cases one after another: skip what is done, go on after a failure, add everything up.

`work_through` is the loop, whatever the cases are (Slicer's batch has its own); `run_plan` does the
cases of `flare segment` with it.

Invariant: a case has either all of its outputs or none, and every failed case is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from os.path import dirname, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.jobs.engine import Engine
from flare_core.jobs.failure import EXIT_INTERNAL, failure_of, log_traceback
from flare_core.jobs.one_case import Caller, Job, run_case
from flare_core.jobs.outputs import (
    OUR_SCHEME,
    OUTPUTS,
    USUAL,
    check_dicom,
    check_names,
    is_file_name,
    output_paths,
    table_csv,
)
from flare_core.jobs.reports import BatchReport, Tally
from flare_core.paths import usable_path
from flare_core.segment.settings import Settings
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.imaging.inputs import CaseInput

SUMMARY_FILE = "all_cases.csv"
"""Rows of all cases of a batch; no case's own file can have this name."""


@dataclass(frozen=True)
class BatchCase:
    """One case of a batch."""

    case: str
    """Its name."""
    number: int
    """Its place, from 1."""
    of: int
    """How many there are."""
    files: Mapping[str, Path]
    """What it writes, by key."""
    is_done: Callable[[], bool]
    """Whether it was done before."""
    do: Callable[[], Any]
    """Does it and returns what the report is told."""
    job: Any = None
    """What another computer needs to know to do it."""


Doing = Callable[[Iterator[BatchCase]], Iterator[tuple[BatchCase, Callable[[], Any]]]]
"""Does cases, in whatever order; yields each with a function that returns or raises what came of
it. It takes cases from the iterator only when it is about to do them."""


def in_turn(works: Iterator[BatchCase]) -> Iterator[tuple[BatchCase, Callable[[], Any]]]:
    """Do cases here, one after another."""
    return ((work, work.do) for work in works)


@dataclass(frozen=True)
class BatchPlan:
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
    return with_own_names(found)


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


def with_own_names(cases: Sequence[CaseInput]) -> list[CaseInput]:
    """Put the folder's name before names that occur twice, as with PATIENT/ct.nii.gz.

    Raises
    ------
    InputError
        If names stay equal all the same; capitals do not count, as on some disks.
    """
    names = Counter(case.name.casefold() for case in cases)
    named = [
        replace(case, name=f"{case.path.absolute().parent.name}_{case.name}")
        if names[case.name.casefold()] > 1
        else case
        for case in cases
    ]
    for name, count in Counter(case.name.casefold() for case in named).items():
        if count > 1:
            paths = ", ".join(str(x.path) for x in named if x.name.casefold() == name)
            raise InputError(
                "input",
                f"{many(count, 'case')} would have the name {name!r}: {paths}",
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
        If an output would replace an input, one file is named for several cases, or DICOM is
        wanted of what is none.
    """
    if is_file_name(output) and len(cases) > 1:
        raise InputError(
            "output", f"one file name for {many(len(cases), 'case')}", "a folder",
            "Name a folder; each case gets its own files there.",
        )  # fmt: skip
    jobs = [
        Job(case.name, case.path, output_paths(output, case.name), case.series, outputs, scheme)
        for case in cases
    ]
    check_dicom(outputs, [job.input for job in jobs])
    usable_path(output, "output")
    files = [path for job in jobs for path in job.paths.files(job.outputs).values()]
    check_names(files)
    spare_inputs([job.input for job in jobs], files)
    return tuple(jobs)


def spare_inputs(inputs: Iterable[Path], files: Iterable[Path]) -> None:
    """Refuse to write over a scan, or into a DICOM folder.

    Raises
    ------
    InputError
        If one of the files is an input, or lies in a folder that is one.
    """
    taken = {realpath(path) for path in inputs}
    for path in files:
        if {realpath(path), dirname(realpath(path))} & taken:
            raise InputError(
                "output",
                f"{path} would replace an input or be written among a series' files",
                "a folder that holds none of the inputs",
                "Choose another output folder.",
            )


def run_plan(
    plan: BatchPlan,
    engine: Engine,
    report: BatchReport,
    debug: bool = False,
    doing: Doing = in_turn,
) -> Tally:
    """Do every job; a failed one is told and the next one is done.

    Raises
    ------
    Exception
        With `debug`, what went wrong inside, as it is.
    """
    atomic.restore_all([*job.paths.files(OUTPUTS).values()] for job in plan.jobs)
    caller = Caller(report.show)

    def work(number: int, job: Job) -> BatchCase:
        files = job.paths.files(job.outputs)
        return BatchCase(
            job.case,
            number,
            len(plan.jobs),
            files,
            [*files.values()][-1].exists,
            lambda: run_case(job, plan.settings, engine, caller),
            job,
        )

    works = (work(number, job) for number, job in enumerate(plan.jobs, start=1))
    tally = work_through(works, report, overwrite=plan.overwrite, debug=debug, doing=doing)
    skipped = set(tally.skipped)
    kept = [job for job in plan.jobs if job.case in skipped]
    tally.of_other_files = [job.case for job in kept if _is_of_another(job)]
    report.finish(tally, _write_summary(plan, tally))
    return tally


def work_through(
    works: Iterable[BatchCase],
    report: BatchReport,
    *,
    overwrite: bool = False,
    debug: bool = False,
    doing: Doing = in_turn,
) -> Tally:
    """Do every case that is not done yet; a failed one is told and the next one is done.

    Raises
    ------
    Exception
        With `debug`, what went wrong inside, as it is.
    """
    tally = Tally()
    with closing(_undone(works, report, tally, overwrite)) as undone:
        for work, outcome in doing(undone):
            try:
                result = outcome()
            except BrokenPipeError:  # nobody listens any more
                raise
            except Exception as error:  # a batch's edge: one bad case must not stop the rest
                if debug and failure_of(error).kind == "internal":
                    raise
                _tell(error, work.case, report, tally)
            else:
                tally.done.append(work.case)
                report.result(result)
    return tally


def _undone(
    works: Iterable[BatchCase], report: BatchReport, tally: Tally, overwrite: bool
) -> Generator[BatchCase, None, None]:
    """Yield the cases that are to be done."""
    for work in works:
        report.start(work.case, work.number, work.of)
        if work.is_done() and not overwrite:
            tally.skipped.append(work.case)
            report.skipped(work.case, work.files)
        else:
            yield work


def exit_code(tally: Tally) -> int:
    """Return 0 if all went well, else the only case's own code, or 1 for a batch."""
    if not tally.failed:
        return 0
    if tally.cases == 1:
        return next(iter(tally.failed.values())).exit_code
    return EXIT_INTERNAL


def _tell(error: Exception, case: str, report: BatchReport, tally: Tally) -> None:
    failure = failure_of(error)
    log = log_traceback(error) if failure.kind == "internal" else ""
    tally.failed[case] = failure
    report.error(case, failure, log)


def _write_summary(plan: BatchPlan, tally: Tally) -> Path | None:
    """Write the table of all cases that are done, now or before."""
    jobs = [job for job in plan.jobs if job.case not in tally.failed]
    if plan.summary is None or not jobs:
        return None
    rows = {job.case: _rows_on_disk(job) for job in jobs}
    tally.without_numbers = [case for case, found in rows.items() if not found]
    text = table_csv(row for found in rows.values() for row in found)
    with atomic.written_together([plan.summary]) as (part,):
        part.write_bytes(text.encode("utf-8", "replace"))
    if "page" in jobs[0].outputs:
        from flare_core.jobs.cohort import write_cohort_page

        failed = {case: failure.message for case, failure in tally.failed.items()}
        write_cohort_page(plan.summary.with_suffix(".html"), plan.jobs, failed)
    return plan.summary


def _is_of_another(job: Job) -> bool:
    """Whether the results of a case are of another file, or older than this one."""
    made = job.paths.statistics_json
    try:
        told = json.loads(made.read_text(encoding="utf-8"))["provenance"]["input"]
        changed = job.input.is_file() and job.input.stat().st_mtime > made.stat().st_mtime
        return changed or realpath(told) != realpath(job.input)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # nobody knows: such results are told as without numbers


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
