"""One case from its file to its outputs; `flare segment` and the worker both end here.

Steps: read the scan while the model loads -> segment -> write all outputs together.
Invariant: whatever stops a run, no file of it is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.jobs import engine as engines
from flare_core.jobs.engine import Engine, IsCancelled
from flare_core.jobs.outputs import (
    OUR_SCHEME,
    USUAL,
    CaseSource,
    OutputPaths,
    scheme_notes,
    write_outputs,
)
from flare_core.jobs.progress import OnProgress, within
from flare_core.segment.progress import Progress
from flare_core.segment.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flare_core.imaging.volume import Volume
    from flare_core.segment.pipeline import Segmentation

READ_SHARE = 0.08
"""Part of a run's time that reading takes, for the bar; from a warm run of a 110-slice scan."""
WRITE_SHARE = 0.06
"""Part of a run's time that writing takes, for the bar."""


@dataclass(frozen=True)
class Job:
    """What to do with one case."""

    case: str
    """Name of the case."""
    input: Path
    """Image file or DICOM folder."""
    paths: OutputPaths
    """Where the outputs go."""
    series: str | None = None
    """DICOM series to read, if the folder holds several."""
    outputs: tuple[str, ...] = USUAL
    """Which outputs are wanted."""
    scheme: str = OUR_SCHEME
    """Whose numbers the label map gets."""


@dataclass(frozen=True)
class CaseOutcome:
    """What came of a case."""

    job: Job
    """What was asked."""
    files: dict[str, Path]
    """Written files by key: labels, statistics_csv, statistics_json, png and so on."""
    segmentation: Segmentation
    """Labels and numbers; timings include reading and writing."""

    @property
    def seconds(self) -> float:
        """Time of the whole case in seconds."""
        return self.segmentation.timings["case"]


@dataclass(frozen=True)
class Caller:
    """Who is told how far a run is, and who may stop it."""

    on_progress: OnProgress = lambda progress: None
    """Called with every move forward."""
    cancelled: IsCancelled = lambda: False
    """Asked often; a run stops soon once it returns True, at the latest before it writes."""
    commit: Callable[[], None] = lambda: None
    """Called just before writing; raises `Cancelled`, or lets the run end whatever comes."""


def run_case(job: Job, settings: Settings, engine: Engine, caller: Caller) -> CaseOutcome:
    """Read, segment and write one case.

    Raises
    ------
    InputError
        If the input cannot be used or an output cannot be written.
    NothingFound
        If no abdominal organ is in the scan.
    Cancelled
        If the caller stopped the run.
    """
    timings: dict[str, float] = {}
    with _timed(timings, "case"):
        with _timed(timings, "read"):
            image = _read_while_loading(job, settings, engine, caller)
            if "dicom-seg" in job.outputs:
                from flare_core.jobs.dicom_out import check_series

                check_series(job.input, job.series, image)
        inner = within(READ_SHARE, 1 - WRITE_SHARE, caller.on_progress)
        found = engine.segment(image, settings, inner, caller.cancelled)
        engines.stop_if(caller.cancelled)
        caller.commit()
        caller.on_progress(Progress("writing", 1 - WRITE_SHARE))
        files = job.paths.files(job.outputs)
        if "labels" in job.outputs:
            more = scheme_notes(job.scheme, settings.organs, found)
            found = replace(found, notes=(*found.notes, *more))
        timed = replace(found, timings={**found.timings, **timings})
        with _timed(timings, "write"):
            source = CaseSource(job.case, job.input, _facts(job), job.scheme, job.series)
            write_outputs(files, image, timed, source)
    caller.on_progress(Progress("done", 1.0))
    return CaseOutcome(job, files, replace(found, timings={**found.timings, **timings}))


def _read_while_loading(job: Job, settings: Settings, engine: Engine, caller: Caller) -> Volume:
    """Read the scan in one thread and load the model in another; a bad scan is told first."""
    caller.on_progress(Progress("reading the scan", 0.0))
    loading = engines.in_background(lambda: engine.preload(settings))
    reading = engines.in_background(lambda: engine.read(job.input, job.series))
    image = engines.wait_for(reading, caller.cancelled)
    if not loading.done():
        caller.on_progress(Progress("loading the model", READ_SHARE / 2))
    engines.wait_for(loading, caller.cancelled)
    return image


def _facts(job: Job) -> dict[str, Any]:
    return {
        "input": str(job.input.absolute()),
        "series": job.series,
        "label_scheme": job.scheme,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Put the seconds the block takes into `timings`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = time.perf_counter() - start
