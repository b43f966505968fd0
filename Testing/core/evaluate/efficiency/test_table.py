from __future__ import annotations

import csv
import io
import math

from flare_core.evaluate.efficiency.measure import Efficiency, Sample
from flare_core.evaluate.efficiency.table import (
    CASE_COLUMNS,
    CaseEfficiency,
    case_table,
    mean_numbers,
    sample_table,
)


def numbers(runtime_s: float, ram: float = 5.0) -> Efficiency:
    return Efficiency(runtime_s, 1, 2, 3, 4, 5, 6, ram, 8, 9, 10, 11, 0.5)


def test_a_run_that_failed_has_a_row_without_numbers():
    rows = [
        CaseEfficiency("b", "failed", 3, numbers(8.0)),
        CaseEfficiency("a", "ok", 0, numbers(12.34567)),
    ]
    table = list(csv.DictReader(io.StringIO(case_table(rows))))
    assert tuple(table[0]) == CASE_COLUMNS
    assert [row["case"] for row in table] == ["a", "b"]
    assert table[0]["runtime_s"] == "12.3457" and table[0]["auc_gpu_mib_s"] == "3"
    assert (table[1]["status"], table[1]["exit_code"]) == ("failed", "3")
    assert set(list(table[1].values())[3:]) == {""}


def test_the_mean_leaves_failed_runs_out_and_keeps_what_is_unknown():
    rows = [
        CaseEfficiency("a", "ok", 0, numbers(10.0, ram=math.nan)),
        CaseEfficiency("b", "ok", 0, numbers(20.0)),
        CaseEfficiency("c", "timed out", None, numbers(900.0)),
    ]
    mean = mean_numbers(rows)
    assert mean["runtime_s"] == 15
    assert math.isnan(mean["ram_max_mib"])
    assert math.isnan(mean_numbers(rows[2:])["runtime_s"])


def test_samples_are_written_as_they_are():
    text = sample_table([Sample(0.1, 3561.6, 54.25, 2048.0, math.nan)])
    assert text.splitlines()[1] == "0.1,3561.6,54.25,2048,"
