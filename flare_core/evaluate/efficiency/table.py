"""Efficiency numbers as tables: the samples of one run, and one row for each case.

`case_table` is what `flare rank` reads: a run that did not succeed has a row without numbers, so
its case counts as missing.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from flare_core.evaluate.efficiency.measure import Efficiency, Sample

DIGITS = 4
"""Decimals in tables: 0.1 ms, and far below what the counters resolve."""

SAMPLE_COLUMNS = tuple(field.name for field in fields(Sample))
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


def sample_table(samples: Iterable[Sample]) -> str:
    """Return the samples of a run as CSV text, one line each.

    Examples
    --------
    >>> print(sample_table([Sample(0.1, 0.0, 50.0, 2048.0, float("nan"))]), end="")
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
