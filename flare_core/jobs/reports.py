"""Tell what happens to each case: text for people, JSON lines for programs.

JSON events of `flare segment --progress json`, one object per line on standard output:
``progress`` (case, stage, fraction 0..1, seconds_left), ``skipped`` (case, files),
``result`` (case, files, rows, timings_s, notes), ``error`` (case, kind, argument, came, legal,
action, message), ``done`` (cases, skipped, failed, summary).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from flare_core.jobs.failure import Failure, json_line
from flare_core.jobs.one_case import CaseResult
from flare_core.jobs.outputs import RESEARCH_USE, plain
from flare_core.jobs.progress import Display, Nothing, StepLike, Throttle, display_for, time_text


@dataclass  # mutable: counts while the run goes on
class Tally:
    """What a run has done so far."""

    done: list[str] = field(default_factory=list)
    """Names of the cases segmented now."""
    skipped: list[str] = field(default_factory=list)
    """Names of the cases that were done before."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Why a case has no result, by its name."""

    @property
    def cases(self) -> int:
        """Number of cases looked at."""
        return len(self.done) + len(self.skipped) + len(self.failed)


class Report(Protocol):
    """Gets told of each event of a run."""

    def start(self, case: str, number: int, of: int) -> None:
        """Begin case `number` of `of`."""

    def step(self, step: StepLike) -> None:
        """Tell how far the case is."""

    def skipped(self, case: str, files: Mapping[str, Path]) -> None:
        """Tell that the case was done before."""

    def result(self, result: CaseResult) -> None:
        """Tell what came of the case."""

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Tell why the case has no result; `log` is the path of a traceback or empty."""

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Tell how the whole run went; `summary` is the table of all cases."""


class ReportForPeople:
    """Progress and errors on standard error, the results on standard output."""

    def __init__(self, display: Display, out: TextIO, err: TextIO) -> None:
        self._display = display
        self._out = out
        self._err = err
        self._single = True

    def start(self, case: str, number: int, of: int) -> None:
        """Begin a case; its place in the batch becomes a part of the title."""
        self._single = of == 1
        self._display.start(case if self._single else f"[{number}/{of}] {case}")

    def step(self, step: StepLike) -> None:
        """Draw the step."""
        self._display.show(step)

    def skipped(self, case: str, files: Mapping[str, Path]) -> None:
        """Say how to do it again."""
        self._display.clear()
        print(f"{case}: done before, skipped (--overwrite does it again)", file=self._out)

    def result(self, result: CaseResult) -> None:
        """Print the table of a single case, or one line in a batch."""
        self._display.clear()
        text = _whole_result(result) if self._single else _one_line(result)
        print(text, file=self._out, flush=True)

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Print the four parts, and where the traceback is."""
        self._display.clear()
        details = f"\n  details: {log}" if log else ""
        print(f"{case}: {failure.message}{details}", file=self._err, flush=True)

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Print the sum of a batch; name the failed cases."""
        if tally.cases < 2:
            return
        counts = f"{len(tally.done)} segmented, {len(tally.skipped)} skipped"
        print(f"{tally.cases} cases: {counts}, {len(tally.failed)} failed.", file=self._out)
        if summary is not None:
            print(f"All numbers: {summary}", file=self._out, flush=True)
        if tally.failed:
            print("Failed: " + ", ".join(tally.failed), file=self._err, flush=True)


class ReportForPrograms:
    """One JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._case = ""
        self._throttle = Throttle()

    def send(self, event: dict[str, Any]) -> None:
        """Write one event."""
        self._stream.write(json_line(event))
        self._stream.flush()

    def start(self, case: str, number: int, of: int) -> None:
        """Begin a case."""
        self._case, self._throttle = case, Throttle()
        self.send({"event": "start", "case": case, "number": number, "of": of})

    def step(self, step: StepLike) -> None:
        """Send where the case is."""
        if self._throttle.lets_through(step):
            self.send({"event": "progress", "case": self._case, **step_fields(step)})

    def skipped(self, case: str, files: Mapping[str, Path]) -> None:
        """Send that the case was done before."""
        self.send({"event": "skipped", "case": case, "files": file_names(files)})

    def result(self, result: CaseResult) -> None:
        """Send what came of the case."""
        self.send({"event": "result", "case": result.job.case, **result_fields(result)})

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Send why the case has no result."""
        self.send({"event": "error", "case": case, **failure.fields(), "log": log})

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Send how the whole run went."""
        done = {"cases": tally.cases, "skipped": tally.skipped, "failed": list(tally.failed)}
        self.send({"event": "done", **done, "summary": summary and str(summary)})


def report_for_people(progress: str) -> Report:
    """Return the report for ``--progress bar|none``."""
    display = Nothing() if progress == "none" else display_for(sys.stderr)
    return ReportForPeople(display, sys.stdout, sys.stderr)


def step_fields(step: StepLike) -> dict[str, Any]:
    """Return a step as plain values: fraction 0..1 of the case, seconds or None."""
    left = None if step.seconds_left is None else round(step.seconds_left, 1)
    fields = {"stage": step.stage, "fraction": round(step.fraction, 4), "seconds_left": left}
    return {**fields, "message": step.message} if step.message else fields


def result_fields(result: CaseResult) -> dict[str, Any]:
    """Return a result as plain values."""
    from flare_core.segment.lesion_list import lesions_to_json
    from flare_core.segment.statistics import rows_to_json

    found = result.segmentation
    return {
        "files": file_names(result.files),
        "rows": rows_to_json(found.rows),
        "lesions": lesions_to_json(found.lesions),
        "timings_s": plain(found.timings),
        "notes": list(found.notes),
        "provenance": plain(found.provenance),
    }


def file_names(files: Mapping[str, Path]) -> dict[str, str]:
    """Return absolute paths as text."""
    return {key: str(path.absolute()) for key, path in files.items()}


def _whole_result(result: CaseResult) -> str:
    from flare_core.segment import lesion_list, statistics

    found = result.segmentation
    notes = [f"Note: {note}" for note in found.notes]
    files = [f"  {path}" for path in result.files.values()]
    lesions = [] if found.lesions is None else ["", lesion_list.table_text(found.lesions)]
    parts = [statistics.table_text(found.rows), *lesions, *notes]
    took = f"{result.job.case}: {time_text(result.seconds)}. {RESEARCH_USE}"
    return "\n".join([*parts, took, "Written:", *files])


def _one_line(result: CaseResult) -> str:
    rows = result.segmentation.rows
    organs = sum(r.measure == "volume" and r.value > 0 and r.organ != "lesion" for r in rows)
    lesions = result.segmentation.lesions
    more = "" if lesions is None else f", {len(lesions)} lesions"
    notes = "".join(f"\n  note: {note}" for note in result.segmentation.notes)
    took, where = time_text(result.seconds), result.files["labels"]
    return f"{result.job.case}: {organs} organs{more}, {took} -> {where}{notes}"
