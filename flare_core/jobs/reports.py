"""Tell what happens to each case of a batch, through the one `Reporter`.

JSON events of `flare segment --progress json`, one object per line on standard output:
``progress`` (case, stage, fraction 0..1, seconds_left), ``skipped`` (case, files),
``result`` (case, files, rows, timings_s, notes), ``error`` (case, kind, argument, came, legal,
action, message), ``done`` (cases, skipped, failed, summary; without_numbers and of_other_files, if
there are any).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flare_core.jobs.failure import Failure
from flare_core.jobs.one_case import CaseOutcome
from flare_core.jobs.outputs import RESEARCH_USE, plain
from flare_core.jobs.progress import Reporter, progress_fields, time_text
from flare_core.segment.progress import Progress
from flare_core.wording import many


@dataclass  # mutable: counts while the run goes on
class Tally:
    """What a run has done so far."""

    done: list[str] = field(default_factory=list)
    """Names of the cases segmented now."""
    skipped: list[str] = field(default_factory=list)
    """Names of the cases that were done before."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Why a case has no result, by its name."""
    without_numbers: list[str] = field(default_factory=list)
    """Names of the cases of before whose numbers were not written then, or are gone."""
    of_other_files: list[str] = field(default_factory=list)
    """Names of the cases of before whose results are of another file, or of an older one."""

    @property
    def cases(self) -> int:
        """Number of cases looked at."""
        return len(self.done) + len(self.skipped) + len(self.failed)

    @property
    def text(self) -> str:
        """The sum, for people."""
        counts = f"{len(self.done)} segmented, {len(self.skipped)} skipped"
        return f"{many(self.cases, 'case')}: {counts}, {len(self.failed)} failed."


@dataclass(frozen=True)
class ResultSummary:
    """What is told of a result: small enough to come from another computer."""

    case: str
    """Name of the case."""
    fields: dict[str, Any]
    """For programs."""
    whole: str
    """For a person with a single case."""
    line: str
    """For a person with many."""


def told_of(result: CaseOutcome) -> ResultSummary:
    """Return what is told of a result."""
    case = result.job.case
    return ResultSummary(case, result_fields(result), _whole_result(result), _one_line(result))


class BatchReport(Protocol):
    """Gets told of each event of a batch."""

    def start(self, case: str, number: int, of: int) -> None:
        """Begin case `number` of `of`."""

    def show(self, progress: Progress) -> None:
        """Tell how far the case is."""

    def skipped(self, case: str, files: Mapping[str, Path]) -> None:
        """Tell that the case was done before."""

    def result(self, result: Any) -> None:
        """Tell what came of the case."""

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Tell why the case has no result; `log` is the path of a traceback or empty."""

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Tell how the whole run went; `summary` is the table of all cases."""


class CaseReport:
    """The report of ``flare segment``: whole tables of a single case, one line each in a batch.

    Parameters
    ----------
    reporter : Reporter
        Speaks to a person or a program.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._case = ""
        self._single = True

    def start(self, case: str, number: int, of: int) -> None:
        """Begin a case; its place in the batch becomes a part of the title."""
        self._case, self._single = case, of == 1
        title = case if self._single else f"[{number}/{of}] {case}"
        event = {"event": "start", "case": case, "number": number, "of": of}
        self._reporter.begin(title, event)

    def show(self, progress: Progress) -> None:
        """Draw or send where the case is."""
        event = {"event": "progress", "case": self._case, **progress_fields(progress)}
        self._reporter.show(progress, event)

    def skipped(self, case: str, files: Mapping[str, Path]) -> None:
        """Say how to do it again, and which of the files are not there."""
        gone = ", ".join(path.name for path in files.values() if not path.exists())
        without = f" without {gone}" if gone else ""
        text = f"{case}: done before{without}, skipped (--overwrite does it again)"
        self._reporter.tell(text, {"event": "skipped", "case": case, "files": file_names(files)})

    def pace(self, progress: Progress) -> None:
        """Draw or send how far all cases are, where several are done at a time."""
        self._reporter.begin("all cases")
        self._reporter.show(
            progress, {"event": "progress", "case": "", **progress_fields(progress)}
        )

    def result(self, result: CaseOutcome | ResultSummary) -> None:
        """Tell everything of a single case, or one line in a batch."""
        told = result if isinstance(result, ResultSummary) else told_of(result)
        event = {"event": "result", "case": told.case, **told.fields}
        self._reporter.tell(told.whole if self._single else told.line, event)

    def error(self, case: str, failure: Failure, log: str) -> None:
        """Tell the four parts, and where the traceback is."""
        details = f"\n  details: {log}" if log else ""
        event = {"event": "error", "case": case, **failure.fields(), "log": log}
        self._reporter.warn(f"{case}: {failure.message}{details}", event)

    def finish(self, tally: Tally, summary: Path | None) -> None:
        """Tell the sum of a batch; name the failed cases."""
        done = {"cases": tally.cases, "skipped": tally.skipped, "failed": list(tally.failed)}
        if tally.without_numbers:
            done["without_numbers"] = tally.without_numbers
        if tally.of_other_files:
            done["of_other_files"] = tally.of_other_files
        self._reporter.send({"event": "done", **done, "summary": summary and str(summary)})
        if tally.cases > 1:
            self._reporter.tell(tally.text)
            if summary is not None:
                self._reporter.tell(f"All numbers: {summary}")
            if tally.without_numbers:
                names = ", ".join(tally.without_numbers)
                self._reporter.warn(f"Not in that table, as they have no statistics: {names}")
            if tally.failed:
                self._reporter.warn("Failed: " + ", ".join(tally.failed))
        if tally.of_other_files:
            names = ", ".join(tally.of_other_files)
            self._reporter.warn(
                "Results of another file, or of one that was written anew since, were kept: "
                f"{names} (--overwrite does them again; another output folder keeps both)"
            )


def result_fields(result: CaseOutcome) -> dict[str, Any]:
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


def _whole_result(result: CaseOutcome) -> str:
    from flare_core.segment import lesion_list, statistics

    found = result.segmentation
    notes = [f"Note: {note}" for note in found.notes]
    files = [f"  {path}" for path in result.files.values()]
    lesions = [] if found.lesions is None else ["", lesion_list.table_text(found.lesions)]
    parts = [statistics.table_text(found.rows), *lesions, *notes]
    took = f"{result.job.case}: {time_text(result.seconds)}. {RESEARCH_USE}"
    return "\n".join([*parts, took, "Written:", *files])


def _one_line(result: CaseOutcome) -> str:
    rows = result.segmentation.rows
    organs = sum(r.measure == "volume" and r.value > 0 and r.organ != "lesion" for r in rows)
    lesions = result.segmentation.lesions
    more = "" if lesions is None else f", {many(len(lesions), 'lesion')}"
    notes = "".join(f"\n  note: {note}" for note in result.segmentation.notes)
    took, where = time_text(result.seconds), [*result.files.values()][-1]
    return f"{result.job.case}: {many(organs, 'organ')}{more}, {took} -> {where}{notes}"
