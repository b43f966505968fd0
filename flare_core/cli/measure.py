r"""``flare measure``: run time, GPU memory, CPU and RAM of any command, as FLARE measures them.

    flare measure -i SCANS -o OUT -- flare segment {input} -o {output}
    flare measure -i SCANS -o OUT -- docker run --rm --init --gpus device=0 \
        -v {input_folder}:/workspace/inputs -v {output}:/workspace/outputs team:latest sh predict.sh

The command runs once for each scan of --input, one at a time, or once without --input. In its
words {input} is the scan, {input_folder} a folder that holds it alone, {output} the folder
OUT/predictions, {case} the scan's name. There is no shell in between: for one, write sh -c '...'.

OUT/efficiency.csv has a line for each case (flare rank reads it), OUT/cases/ the samples, a plot,
what the command printed and a record. Cases that are done are not run again. Exit codes: 0 all
done, 1 a run failed or took too long, 2 the arguments cannot be used, 130 stopped by Ctrl-C (the
command and all that it started are ended).
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.jobs.failure import EXIT_INTERNAL
from flare_core.jobs.progress import PROGRESS, Reporter, reporting
from flare_core.segment.progress import Progress
from flare_core.wording import many

if TYPE_CHECKING:
    from flare_core.jobs.measure import MeasureCase, MeasuredCase, MeasurePlan

NAME = "measure"
HELP = "measure run time, GPU memory, CPU and RAM of a command"

LAST_LINES = 8
"""So much of a failed command's output is shown; all of it is in its file."""
NOT_ENOUGH_MEMORY = (-9, 137)
"""Exit codes of a process that was killed, mostly for want of memory (137 is a container's)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``flare measure``."""
    parser.add_argument("-i", "--input", type=Path, metavar="SCANS", help="a scan, or a folder")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument("--timeout", type=float, metavar="S", help="give a run up after S seconds")
    parser.add_argument("--gpu", type=int, default=0, metavar="N", help="GPU to watch (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="measure again what is done")
    parser.add_argument(
        "--progress", choices=PROGRESS, default="bar", help="for people, programs, nobody"
    )
    parser.add_argument("words", nargs="*", metavar="-- COMMAND", help="the command, after --")


def run(arguments: argparse.Namespace) -> int:
    """Measure every case; return the exit code.

    Raises
    ------
    InputError
        If the arguments cannot be used or the command cannot be started.
    """
    from flare_core.jobs.measure import measure_case, write_tables

    plan = make_plan(arguments)
    records = _records_of(plan)
    waiting = [c for c in plan.cases if arguments.overwrite or not _is_done(records.get(c.name))]
    if not arguments.overwrite:
        _refuse_mixture(plan, records)
    with reporting(arguments.progress) as reporter:
        report = MeasureReport(reporter, plan)
        report.skipped(len(plan.cases) - len(waiting))
        for number, case in enumerate(waiting, 1):
            report.start(case, number, len(waiting))
            records[case.name] = measure_case(plan, case)
            write_tables(plan, _of_this_command(plan, records))
            report.result(records[case.name])
        report.finish()
    ours = _of_this_command(plan, records)
    return EXIT_INTERNAL if any(record.row.status != "ok" for record in ours) else 0


def make_plan(arguments: argparse.Namespace) -> MeasurePlan:
    """Check the arguments, find the cases, make the output folders; nothing runs yet.

    Raises
    ------
    InputError
        If something is missing, contradicts itself, or cannot be read or written.
    """
    from flare_core.jobs.measure import CASES, OUTPUT, PREDICTIONS, MeasurePlan
    from flare_core.jobs.outputs import make_folder

    words = tuple(arguments.words)
    _check_words(words, arguments.input)
    if arguments.output is None:
        action = "Add -o FOLDER before the -- of the command."
        raise InputError("--output", "nothing", "a folder for the results", action)
    if arguments.timeout is not None and not 0 < arguments.timeout < math.inf:
        legal = "a time above 0, in seconds"
        raise InputError("--timeout", f"{arguments.timeout:g}", legal, "Leave it out for none.")
    if arguments.gpu < 0:
        raise InputError("--gpu", str(arguments.gpu), "0 or more", "nvidia-smi lists the numbers.")
    cases = _cases(arguments.input)
    folder = arguments.output.absolute()
    make_folder(folder / CASES)
    if any(OUTPUT in word for word in words):
        make_folder(folder / PREDICTIONS)
    return MeasurePlan(words, cases, folder, arguments.timeout, arguments.gpu)


def _check_words(words: Sequence[str], scans: Path | None) -> None:
    """Refuse a command that is missing, unknown, or does not fit what --input says."""
    from flare_core.jobs.measure import CASE, INPUT, INPUT_FOLDER

    if not words:
        action = "For example: flare measure -i SCANS -o OUT -- flare segment {input} -o {output}"
        raise InputError("COMMAND", "nothing", "a command after --", action)
    takes_input = any(mark in word for word in words for mark in (INPUT, INPUT_FOLDER))
    if scans is None and takes_input:
        came = f"{INPUT} in the command, but no scans"
        raise InputError("--input", came, "a scan or a folder of scans", "Add -i SCANS.")
    if scans is not None and not takes_input and not any(CASE in word for word in words):
        came = f"{' '.join(words)!r}, which would do the same for every scan"
        legal = f"a command with {INPUT}, {INPUT_FOLDER} or {CASE}"
        raise InputError("COMMAND", came, legal, "Put it in, or leave --input out.")
    if not any(mark in words[0] for mark in (INPUT, INPUT_FOLDER, CASE)) and not shutil.which(
        words[0]
    ):
        came = f"{words[0]!r}, which is no program here"
        legal = "a program on the PATH, or the path of an executable file"
        raise InputError("COMMAND", came, legal, "Check its name; for a shell write sh -c '...'")


def _cases(scans: Path | None) -> tuple[MeasureCase, ...]:
    from flare_core.jobs.measure import MeasureCase

    if scans is None:
        return (MeasureCase("command", None),)
    from flare_core.imaging.apart import find_inputs

    return tuple(MeasureCase(each.name, each.path.absolute()) for each in find_inputs(scans))


def _records_of(plan: MeasurePlan) -> dict[str, MeasuredCase]:
    """Return what the output folder holds already, by case."""
    from flare_core.jobs.measure import CASES, read_record

    names = sorted(path.stem for path in (plan.folder / CASES).glob("*.json"))
    found = {name: read_record(plan.folder, name) for name in names}
    return {name: record for name, record in found.items() if record is not None}


def _is_done(record: MeasuredCase | None) -> bool:
    return record is not None and record.row.status == "ok"


def _of_this_command(plan: MeasurePlan, records: dict[str, MeasuredCase]) -> list[MeasuredCase]:
    return [record for record in records.values() if record.words == plan.words]


def _refuse_mixture(plan: MeasurePlan, records: dict[str, MeasuredCase]) -> None:
    """Refuse to put another command's measurements beside those that are there."""
    other = next((record for record in records.values() if record.words != plan.words), None)
    if other is not None:
        raise InputError(
            "--output",
            f"{plan.folder}, which holds measurements of: {' '.join(other.words)}",
            "a new folder, or one with measurements of the same command",
            "Choose another folder, or add --overwrite to replace them.",
        )


class MeasureReport:
    """Tells how each case goes, through the one `Reporter`."""

    def __init__(self, reporter: Reporter, plan: MeasurePlan) -> None:
        self._reporter, self._plan = reporter, plan
        self._began_s = time.monotonic()
        self._failed: list[str] = []
        self._count = 0

    def skipped(self, count: int) -> None:
        """Say how many cases were measured before."""
        text = f"{many(count, 'case')} measured before (--overwrite measures them again)"
        self._reporter.tell(text if count else "", {"event": "skipped", "cases": count})

    def start(self, case: MeasureCase, number: int, of: int) -> None:
        """Begin a case."""
        past_s = time.monotonic() - self._began_s
        left_s = past_s / (number - 1) * (of - number + 1) if number > 1 else None
        event = {"event": "start", "case": case.name, "number": number, "of": of}
        self._reporter.begin(f"[{number}/{of}] {case.name}", event)
        if not self._reporter.for_programs:
            self._reporter.show(Progress("running the command", (number - 1) / of, left_s))

    def result(self, record: MeasuredCase) -> None:
        """Tell what came of a case."""
        self._count += 1
        self._reporter.tell(case_line(record), self._fields(record))
        if record.row.status != "ok":
            self._failed.append(record.row.case)
            self._reporter.warn(self._why(record))

    def finish(self) -> None:
        """Tell how the whole run went."""
        from flare_core.jobs.measure import TABLE

        table = self._plan.folder / TABLE
        done = {"cases": self._count, "failed": self._failed, "table": str(table)}
        self._reporter.tell(f"Written: {table}" if self._count else "", {"event": "done", **done})
        if self._failed:
            self._reporter.warn("Failed: " + ", ".join(self._failed))

    def _fields(self, record: MeasuredCase) -> dict[str, Any]:
        from flare_core.jobs.measure import case_files
        from flare_core.jobs.outputs import plain

        files = {key: str(p) for key, p in case_files(self._plan.folder, record.row.case).items()}
        row = {**plain(record.row), "notes": list(record.notes), "files": files}
        return {"event": "result", **row}

    def _why(self, record: MeasuredCase) -> str:
        from flare_core.jobs.measure import case_files

        output = case_files(self._plan.folder, record.row.case)["output"]
        said = "".join(f"\n    {line}" for line in last_lines(output))
        return f"  {outcome(record, self._plan.timeout_s)}{said}\n  all it printed: {output}"


def case_line(record: MeasuredCase) -> str:
    """Return one line for a person."""
    numbers = record.row.numbers
    parts = [f"{record.row.case}: {numbers.runtime_s:.2f} s"]
    parts.append(f"GPU max {numbers.gpu_max_mib:.0f} MiB (area {numbers.auc_gpu_mib_s:.0f} MiB s)")
    if math.isfinite(numbers.auc_cpu_percent_s):
        parts.append(
            f"CPU max {numbers.cpu_max_percent:.0f} % (area {numbers.auc_cpu_percent_s:.0f} % s)"
        )
        parts.append(f"RAM of the command {numbers.tree_ram_max_mib:.0f} MiB")
    notes = "".join(f"\n  note: {note}" for note in record.notes)
    status = "" if record.row.status == "ok" else f"  ** {record.row.status} **"
    return ", ".join(parts) + status + notes


def outcome(record: MeasuredCase, timeout_s: float | None) -> str:
    """Say in words how a run ended that did not succeed."""
    code = record.row.exit_code
    if record.row.status == "timed out":
        return f"ended after --timeout {timeout_s:g} s"
    if code is None:
        return "the command could not be ended"
    hint = " (often: not enough memory)" if code in NOT_ENOUGH_MEMORY else ""
    if code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}{hint}"
    return f"the command failed with exit code {code}{hint}"


def last_lines(path: Path, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a file, without reading all of it."""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 200 * count))
        return stream.read().decode("utf-8", "replace").splitlines()[-count:]
