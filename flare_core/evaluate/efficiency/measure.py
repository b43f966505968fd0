"""Run time and use of resources of a command, sampled as FLARE does.

Steps: `measure` starts another process (`watcher`), which starts the command, reads the
counters (`probe`) every 0.1 s and ends the command's whole tree; `summarise` turns the
samples into FLARE's numbers. The counters are those of the whole machine, so nothing else should
run meanwhile; only `tree_ram` and `cpu_time_s` are the command's own.

Source of the definitions: the organisers' scripts (github.com/JunMa11/FLARE) and Ma et al., "The
FLARE 2023 Challenge". MB there and MiB here are the same: 2**20 bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, cast

from flare_core.errors import InputError
from flare_core.evaluate.efficiency.watcher import INTERVAL_S
from flare_core.processes import python_words
from flare_core.wording import many

STABLE_SHARE = 0.02
"""FLARE21 and FLARE22 take the largest GPU memory seen in more than this share of the samples."""
MISSED_SHARE = 0.05
"""More missed samples than this are told."""

NAN = float("nan")

BOOT = "from flare_core.evaluate.efficiency.watcher import main; main()"
"""What the watcher runs; it finds this very flare_core without PYTHONPATH, which the command would
inherit."""


@dataclass(frozen=True)
class UsageSample:
    """The counters at one moment; NaN where the system does not tell."""

    time_s: float
    """Since the command's start, s."""
    gpu_mib: float
    """Memory in use on the whole GPU, MiB."""
    cpu_percent: float
    """100 - idle since the sample before, percent of all cores together."""
    ram_mib: float
    """Memory in use on the whole machine, MiB."""
    tree_ram_mib: float
    """Resident memory of the command and all processes below it, MiB; pages that a process shares
    with one it has forked count in both."""


@dataclass(frozen=True)
class Measurement:
    """What was seen of one run of a command."""

    command: tuple[str, ...]
    """The words of the command."""
    status: str
    """``ok``, ``failed`` (another exit code than 0) or ``timed out``."""
    exit_code: int | None
    """Exit code; -9 is ended by signal 9; None if the process could not be ended."""
    wall_s: float
    """From before the start to the end, s."""
    samples: tuple[UsageSample, ...]
    """At least one."""
    cpu_time_s: float
    """Processor time of the command and all processes below it, s."""
    watcher_cpu_s: float
    """Processor time that sampling took meanwhile, s: what the measurement itself costs."""
    gpu: str = ""
    """Product name of the GPU that was watched; empty without one."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know."""


@dataclass(frozen=True)
class Efficiency:
    """FLARE's efficiency numbers of one run. Areas are the sum of the samples times 0.1 s."""

    runtime_s: float
    """Wall-clock time, s."""
    gpu_max_mib: float
    """Largest GPU memory (FLARE23, FLARE24), MiB."""
    gpu_stable_max_mib: float
    """Largest GPU memory seen in more than 2 % of the samples (FLARE21, FLARE22), MiB."""
    auc_gpu_mib_s: float
    """Area under the GPU memory curve, MiB s."""
    cpu_max_percent: float
    """Largest CPU use, percent of the machine."""
    auc_cpu_percent_s: float
    """Area under the CPU curve, % s."""
    cpu_time_s: float
    """Processor time of the command itself, s."""
    ram_max_mib: float
    """Largest memory in use on the machine, MiB."""
    auc_ram_mib_s: float
    """Area under the curve of the machine's memory, MiB s."""
    tree_ram_max_mib: float
    """Largest resident memory of the command's processes together, MiB."""
    auc_tree_ram_mib_s: float
    """Area under that curve, MiB s."""
    samples: int
    """Number of samples."""
    watcher_cpu_percent: float
    """What the measurement itself used, percent of one core."""


def measure(
    command: Sequence[str], log: str | Path, *, timeout_s: float | None = None, gpu: int = 0
) -> Measurement:
    """Run a command to its end and sample the machine meanwhile.

    Whatever happens (end, time-out, Ctrl-C, even the death of this process), no process that the
    command has started is left. Processes in a container are not below the command: ``docker
    run`` hands the request to end on, but needs ``--init`` for a shell inside to hear it.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell is in between.
    log : path
        File for what the command prints; replaced.
    timeout_s : float, optional
        The command is ended after this time, s.
    gpu : int
        Which GPU to watch.

    Raises
    ------
    InputError
        If the command cannot be started.
    """
    request = {
        "command": list(command),
        "log": str(log),
        "timeout_s": timeout_s,
        "gpu": gpu,
    }
    seen = _ask_watcher(request)
    if "error" in seen:
        raise InputError(
            "COMMAND",
            f"{command[0]!r}, which cannot be started: {seen['error']}",
            "a program on the PATH, or the path of an executable file",
            "Check its name; put shell syntax into:  sh -c '...'",
        )
    samples = tuple(UsageSample(*(NAN if v is None else v for v in row)) for row in seen["rows"])
    return Measurement(
        command=tuple(command),
        status=_status(seen),
        exit_code=seen["exit_code"],
        wall_s=seen["wall_s"],
        samples=samples,
        cpu_time_s=NAN if seen["cpu_time_s"] is None else seen["cpu_time_s"],
        watcher_cpu_s=seen["own_cpu_s"],
        gpu=seen["gpu"],
        notes=_notes(seen, samples),
    )


def summarise(run: Measurement) -> Efficiency:
    """Return FLARE's numbers of a run."""
    gpu = [each.gpu_mib for each in run.samples]
    cpu = [each.cpu_percent for each in run.samples]
    ram = [each.ram_mib for each in run.samples]
    tree = [each.tree_ram_mib for each in run.samples]
    return Efficiency(
        runtime_s=run.wall_s,
        gpu_max_mib=max(gpu),
        gpu_stable_max_mib=stable_maximum(gpu),
        auc_gpu_mib_s=area(gpu),
        cpu_max_percent=max(cpu),
        auc_cpu_percent_s=area(cpu),
        cpu_time_s=run.cpu_time_s,
        ram_max_mib=max(ram),
        auc_ram_mib_s=area(ram),
        tree_ram_max_mib=max(tree),
        auc_tree_ram_mib_s=area(tree),
        samples=len(run.samples),
        watcher_cpu_percent=100 * run.watcher_cpu_s / run.wall_s,
    )


def area(values: Sequence[float]) -> float:
    """Return the area under a curve that was sampled every 0.1 s: the sum times 0.1.

    Examples
    --------
    >>> area([1000.0, 2000.0, 1000.0])
    400.0
    """
    return round(math.fsum(values) * INTERVAL_S, 6)


def stable_maximum(values: Sequence[float], share: float = STABLE_SHARE) -> float:
    """Return the largest value, in whole MiB, that more than `share` of the samples have.

    Where no value repeats that often (the organisers' script fails there) it is the plain maximum.

    Examples
    --------
    >>> stable_maximum([900.0] * 60 + [1500.0] * 39 + [8000.0])
    1500.0
    >>> stable_maximum([float(value) for value in range(100)])
    99.0
    """
    counts = Counter(round(value) for value in values)
    stable = [value for value, count in counts.items() if count > share * len(values)]
    return float(max(stable)) if stable else max(values)


def _ask_watcher(request: dict[str, Any]) -> dict[str, Any]:
    """Let a watcher serve a request; on any interruption tell it to stop and wait for that."""
    watcher = subprocess.Popen(
        python_words(BOOT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal must not end it before the command
    )
    try:
        with cast(IO[bytes], watcher.stdin) as orders:  # closing it means stop
            orders.write(json.dumps(request).encode("ascii") + b"\n")
            orders.flush()
            answer = cast(IO[bytes], watcher.stdout).read()
    finally:
        cast(IO[bytes], watcher.stdout).close()
        watcher.wait()  # until nothing of the command is left
    if not answer:
        raise RuntimeError(f"the watching process ended with exit code {watcher.returncode}")
    return cast(dict[str, Any], json.loads(answer))


def _status(seen: dict[str, Any]) -> str:
    """Return the status of a run that nobody stopped."""
    if seen["why"] == "timeout":
        return "timed out"
    return "ok" if seen["why"] == "ended" and seen["exit_code"] == 0 else "failed"


def _notes(seen: dict[str, Any], samples: Sequence[UsageSample]) -> tuple[str, ...]:
    notes = [seen["note"]] if seen["note"] else []
    if math.isnan(samples[0].cpu_percent):
        notes.append("CPU and RAM are read from /proc, which only Linux has; they are missing here")
    expected = int(samples[-1].time_s / INTERVAL_S + 0.5)
    missed = expected - len(samples)
    if expected > 20 and missed > MISSED_SHARE * expected:
        notes.append(f"{missed} of {expected} samples came too late; the areas are too small")
    if seen["left_over"]:
        notes.append(
            many(
                seen["left_over"],
                "process outlived the command and was ended",
                "processes outlived the command and were ended",
            )
        )
    if seen["exit_code"] is None:
        notes.append("the command could not be ended")
    return tuple(notes)


DIGITS = 4
"""Decimals in tables: 0.1 ms, and far below what the counters resolve."""

SAMPLE_COLUMNS = tuple(field.name for field in fields(UsageSample))
NUMBERS = tuple(field.name for field in fields(Efficiency))
CASE_COLUMNS = ("case", "status", "exit_code", *NUMBERS)


@dataclass(frozen=True)
class CaseEfficiency:
    """The numbers of one case."""

    case: str
    """Its name."""
    status: str
    """``ok``, ``failed`` or ``timed out``."""
    exit_code: int | None
    """Exit code of the command."""
    numbers: Efficiency
    """What was measured, to the end or until it was stopped."""


def sample_table(samples: Iterable[UsageSample]) -> str:
    """Return the samples of a run as CSV text, one line each.

    Examples
    --------
    >>> print(sample_table([UsageSample(0.1, 0.0, 50.0, 2048.0, float("nan"))]), end="")
    time_s,gpu_mib,cpu_percent,ram_mib,tree_ram_mib
    0.1,0,50,2048,
    """
    return _csv(SAMPLE_COLUMNS, ([_text(v) for v in asdict(each).values()] for each in samples))


def case_table(rows: Sequence[CaseEfficiency]) -> str:
    """Return one CSV line for each case, sorted by name."""
    return _csv(CASE_COLUMNS, (_case_row(row) for row in sorted(rows, key=lambda row: row.case)))


def mean_numbers(rows: Sequence[CaseEfficiency]) -> dict[str, float]:
    """Return the mean of each number over the runs that succeeded; NaN if there is none."""
    done = [asdict(row.numbers) for row in rows if row.status == "ok"]
    return {
        name: math.fsum(each[name] for each in done) / len(done) if done else math.nan
        for name in NUMBERS
    }


def _case_row(row: CaseEfficiency) -> list[str]:
    exit_code = "" if row.exit_code is None else str(row.exit_code)
    known = row.status == "ok"
    numbers = [_text(value) if known else "" for value in asdict(row.numbers).values()]
    return [row.case, row.status, exit_code, *numbers]


def _text(value: float) -> str:
    """Write a number without needless zeros; nothing for NaN.

    Examples
    --------
    >>> _text(12.50001), _text(3500.0), _text(7), _text(float("nan"))
    ('12.5', '3500', '7', '')
    """
    if not math.isfinite(value):
        return ""
    text = f"{value:.{DIGITS}f}"
    return text.rstrip("0").rstrip(".")


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
