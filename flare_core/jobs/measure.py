"""One case of ``flare measure``: fill the command's words in, run it, write what was seen.

Invariant: a case's record (CASE.json) is written last, so it stands for the other files.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flare_core import atomic
from flare_core.errors import InputError
from flare_core.evaluate.efficiency.measure import (
    CaseEfficiency,
    Efficiency,
    Measurement,
    case_table,
    mean_numbers,
    measure,
    sample_table,
    summarise,
)
from flare_core.evaluate.efficiency.probe import describe_machine
from flare_core.imaging.inputs import suffix_of
from flare_core.jobs.outputs import RESEARCH_USE, plain, written_together
from flare_core.report.charts.plane import ChartLine, TimePanel, time_chart

INPUT, INPUT_FOLDER, OUTPUT, CASE = "{input}", "{input_folder}", "{output}", "{case}"
"""What is replaced in the command's words; anything else in braces is left as it is."""

CASES, PREDICTIONS = "cases", "predictions"
"""Folders in the output folder."""
TABLE, SUMMARY = "efficiency.csv", "efficiency.json"
"""Files of all cases together."""

GPU_COLOUR, CPU_COLOUR, RAM_COLOUR, TREE_COLOUR = "#b1560f", "#1c6e8c", "#7a7f85", "#5b3a8e"


@dataclass(frozen=True)
class MeasureCase:
    """What the command is run for."""

    name: str
    """What its files are called."""
    path: Path | None
    """The scan; None if the command takes no input from us."""


@dataclass(frozen=True)
class MeasurePlan:
    """What ``flare measure`` is going to do."""

    words: tuple[str, ...]
    """The command as it was given, with its placeholders."""
    cases: tuple[MeasureCase, ...]
    """In order."""
    folder: Path
    """Where everything goes; absolute."""
    timeout_s: float | None = None
    """When a run is given up, s."""
    gpu: int = 0
    """Which GPU is watched."""


@dataclass(frozen=True)
class MeasuredCase:
    """One case, measured."""

    row: CaseEfficiency
    """Its line in the table of all cases."""
    words: tuple[str, ...]
    """The command with its placeholders."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know."""


def measure_case(plan: MeasurePlan, case: MeasureCase) -> MeasuredCase:
    """Run the command for one case and write its samples, plot, output and record.

    Raises
    ------
    InputError
        If the command cannot be started, or a file cannot be written.
    """
    files = case_files(plan.folder, case.name)
    targets = [files[key] for key in ("samples", "plot", "output", "record")]
    with written_together(targets) as (samples, plot, output, record):
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with _one_case_folder(plan, case) as folder:
            words = filled(plan.words, _values(plan, case, folder))
            run = measure(words, output, timeout_s=plan.timeout_s, gpu=plan.gpu)
        numbers = summarise(run)
        row = CaseEfficiency(case.name, run.status, run.exit_code, numbers)
        samples.write_text(sample_table(run.samples), "utf-8")
        plot.write_text(case_plot(case.name, run, numbers), "utf-8")
        facts = {**_record(row, plan, run), "started": started}
        record.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return MeasuredCase(row, plan.words, run.notes)


def case_files(folder: Path, case: str) -> dict[str, Path]:
    """Return where the files of a case go, by what they are."""
    endings = {"samples": "csv", "plot": "svg", "output": "txt", "record": "json"}
    return {key: folder / CASES / f"{case}.{ending}" for key, ending in endings.items()}


def read_record(folder: Path, case: str) -> MeasuredCase | None:
    """Return the record of a case that was measured before; None without a readable one."""
    path = case_files(folder, case)["record"]
    try:
        facts = json.loads(path.read_text("utf-8"))
        known = [facts["efficiency"][field.name] for field in fields(Efficiency)]
        values: list[Any] = [math.nan if value is None else value for value in known]
        row = CaseEfficiency(case, facts["status"], facts["exit_code"], Efficiency(*values))
        return MeasuredCase(row, tuple(facts["command_template"]), tuple(facts["notes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_tables(plan: MeasurePlan, records: Sequence[MeasuredCase]) -> None:
    """Write the table that ``flare rank`` reads, and a summary; replaced after every case."""
    rows = [record.row for record in records]
    notes = dict.fromkeys(note for record in records for note in record.notes)
    atomic.write_text(plan.folder / TABLE, case_table(rows))
    summary = {
        "command_template": list(plan.words),
        "intended_use": RESEARCH_USE,
        "machine": describe_machine(),
        "cases": len(rows),
        "not_ok": {row.case: row.status for row in rows if row.status != "ok"},
        "mean": mean_numbers(rows),
        "notes": list(notes),
    }
    atomic.write_json(plan.folder / SUMMARY, plain(summary))


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the words with each placeholder replaced; braces in a scan's name are none.

    Examples
    --------
    >>> filled(["run", "-i={input}", "{print $1}"], {"{input}": "/a b.nii.gz"})
    ['run', '-i=/a b.nii.gz', '{print $1}']
    """
    known = re.compile("|".join(map(re.escape, values)))
    return [known.sub(lambda found: values[found[0]], word) for word in words]


def case_plot(case: str, run: Measurement, numbers: Efficiency) -> str:
    """Return the plot of a run: GPU memory, CPU, RAM over time."""
    seen = run.samples
    gpu = [(each.time_s, each.gpu_mib if run.gpu else math.nan) for each in seen]
    cpu = [(each.time_s, each.cpu_percent) for each in seen]
    machine = ChartLine("whole machine", [(each.time_s, each.ram_mib) for each in seen], RAM_COLOUR)
    tree = ChartLine(
        "the command", [(each.time_s, each.tree_ram_mib) for each in seen], TREE_COLOUR
    )
    panels = [
        TimePanel(
            "GPU memory, MiB",
            [ChartLine("GPU", gpu, GPU_COLOUR)],
            _remark(numbers.gpu_max_mib, numbers.auc_gpu_mib_s, "MiB") if run.gpu else "",
            unknown="no GPU watched",
        ),
        TimePanel(
            "CPU, % of the machine",
            [ChartLine("CPU", cpu, CPU_COLOUR)],
            _remark(numbers.cpu_max_percent, numbers.auc_cpu_percent_s, "%"),
            ceiling=100.0,
        ),
        TimePanel(
            "RAM, MiB",
            [machine, tree],
            "the command: " + _remark(numbers.tree_ram_max_mib, numbers.auc_tree_ram_mib_s, "MiB"),
        ),
    ]
    title = f"{case}: {numbers.runtime_s:.2f} s" + ("" if run.status == "ok" else f", {run.status}")
    return time_chart(title, " ".join(run.command), panels)


def _remark(largest: float, area: float, unit: str) -> str:
    if math.isnan(largest):
        return "not known"
    return f"max {largest:,.0f} {unit}, area {area:,.0f} {unit} s"


def _record(row: CaseEfficiency, plan: MeasurePlan, run: Measurement) -> dict[str, Any]:
    """Return everything about a case as plain values."""
    return plain({
        "case": row.case,
        "status": row.status,
        "exit_code": row.exit_code,
        "intended_use": RESEARCH_USE,
        "command": list(run.command),
        "command_template": list(plan.words),
        "timeout_s": plan.timeout_s,
        "efficiency": asdict(row.numbers),
        "notes": list(run.notes),
        "machine": {**describe_machine(), "gpu": run.gpu},
    })  # fmt: skip


def _values(plan: MeasurePlan, case: MeasureCase, folder: Path | None) -> dict[str, str]:
    """Return what each placeholder stands for; paths are absolute, as containers want them."""
    return {
        INPUT: str(case.path or ""),
        INPUT_FOLDER: str(folder or ""),
        OUTPUT: str(plan.folder / PREDICTIONS),
        CASE: case.name,
    }


@contextmanager
def _one_case_folder(plan: MeasurePlan, case: MeasureCase) -> Iterator[Path | None]:
    """Yield a folder that holds this case alone, as a container's input, if it is asked for.

    It holds a copy, as FLARE's scripts make one: what a command does to it the scan survives.
    """
    if case.path is None or not any(INPUT_FOLDER in word for word in plan.words):
        yield None
        return
    with tempfile.TemporaryDirectory(dir=plan.folder, prefix=".inputs-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the user inside a container is another one
        target = folder / case.path.name
        try:
            if case.path.is_dir():
                shutil.copytree(case.path, target, copy_function=shutil.copyfile)
            else:
                for path in _with_voxels(case.path):
                    shutil.copyfile(path, folder / path.name)
        except OSError as error:
            came = f"{case.path}: {error.strerror or error}"
            legal = "a scan that can be read, and space for a copy of it in the output folder"
            raise InputError("--input", came, legal, "Check the file and the space.") from error
        yield folder


def _with_voxels(scan: Path) -> list[Path]:
    """Return a scan's file, and those beside a header that are called like it."""
    if suffix_of(scan) not in (".mhd", ".nhdr"):
        return [scan]
    beside = (p for p in scan.parent.iterdir() if p.name.startswith(f"{scan.stem}."))
    return sorted(p for p in beside if p.is_file())
