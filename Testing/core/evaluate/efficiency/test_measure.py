from __future__ import annotations

import csv
import io
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.evaluate.efficiency.measure import (
    CASE_COLUMNS,
    CaseEfficiency,
    Efficiency,
    Measurement,
    UsageSample,
    area,
    case_table,
    mean_numbers,
    measure,
    sample_table,
    stable_maximum,
    summarise,
)

ROOT = Path(__file__).parents[3]
LINUX = sys.platform == "linux"
only_linux = pytest.mark.skipif(not LINUX, reason="reads /proc")


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", code, *words]


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds: float = 10.0):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def pids_in(path: Path, count: int) -> list[int]:
    found = wait_for(
        lambda: path.exists() and len(path.read_text().split()) >= count and path.read_text()
    )
    return [int(word) for word in found.split()]


def run_of(gpu: list[float], wall_s: float = 2.0) -> Measurement:
    samples = tuple(
        UsageSample(0.1 * (i + 1), value, 10.0 * i, 1000.0, 50.0 + i) for i, value in enumerate(gpu)
    )
    return Measurement(("x",), "ok", 0, wall_s, samples, 1.5, 0.01)


# -- the numbers, by hand


def test_numbers_of_five_samples_by_hand():
    numbers = summarise(run_of([0.0, 2000.0, 4000.0, 4000.0, 0.0], wall_s=0.55))
    assert numbers.runtime_s == 0.55
    assert numbers.auc_gpu_mib_s == pytest.approx((2000 + 4000 + 4000) * 0.1)
    assert numbers.gpu_max_mib == numbers.gpu_stable_max_mib == 4000
    assert numbers.auc_cpu_percent_s == pytest.approx((0 + 10 + 20 + 30 + 40) * 0.1)
    assert numbers.cpu_max_percent == 40
    assert numbers.auc_ram_mib_s == pytest.approx(500)
    assert numbers.tree_ram_max_mib == 54
    assert numbers.auc_tree_ram_mib_s == pytest.approx((50 + 51 + 52 + 53 + 54) * 0.1)
    assert (numbers.samples, numbers.cpu_time_s) == (5, 1.5)
    assert numbers.watcher_cpu_percent == pytest.approx(100 * 0.01 / 0.55)


def test_the_stable_maximum_leaves_out_a_peak_of_two_percent():
    plateau = [1000.0] * 49
    assert stable_maximum([*plateau, 9000.0]) == 1000  # 1 of 50 is not more than 2 %
    assert stable_maximum([*plateau[:-1], 9000.0, 9000.0]) == 9000  # 2 of 50 is
    assert summarise(run_of([*plateau, 9000.0])).gpu_max_mib == 9000
    assert stable_maximum([1000.2, 1000.4, 999.8]) == 1000  # whole MiB count as equal


def test_area_is_the_sum_times_a_tenth():
    assert area([]) == 0
    assert area([1.0] * 7) == 0.7


# -- real commands


@only_linux
def test_sleep_takes_its_time_and_no_processor(tmp_path):
    run = measure(["sleep", "0.75"], tmp_path / "log")
    assert run.status == "ok" and run.exit_code == 0
    assert 0.75 <= run.wall_s < 10
    assert run.cpu_time_s < 0.3
    times = [sample.time_s for sample in run.samples]
    assert 2 <= len(times) <= run.wall_s / 0.1 + 1
    assert all(t >= 0.1 * (i + 1) - 1e-3 for i, t in enumerate(times))  # never before its moment
    assert all(0 <= sample.cpu_percent <= 100 for sample in run.samples)
    assert all(sample.ram_mib > 50 for sample in run.samples)


@only_linux
def test_memory_of_a_child_of_known_size_is_seen(tmp_path):
    hungry = "import time\nx = b'x' * (300 << 20)\ntime.sleep(0.7)"
    numbers = summarise(measure(python(hungry), tmp_path / "log"))
    assert 300 < numbers.tree_ram_max_mib < 360
    assert numbers.tree_ram_max_mib * 0.4 < numbers.auc_tree_ram_mib_s


@only_linux
def test_memory_of_grandchildren_counts_even_of_orphans(tmp_path):
    grandchild = "import time; x = b'x' * (150 << 20); time.sleep(0.9)"
    # the middle process ends at once, so the grandchild loses its parent
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}])"
    child = (
        "import subprocess, sys, time\n"
        f"subprocess.run([sys.executable, '-c', {orphan!r}])\n"
        f"subprocess.run([sys.executable, '-c', {grandchild!r}])\n"
        "time.sleep(0.3)"
    )
    numbers = summarise(measure(python(child), tmp_path / "log"))
    assert 300 < numbers.tree_ram_max_mib < 400


@only_linux
def test_processor_time_is_that_of_the_command(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    run = measure(python(busy), tmp_path / "log")
    assert 0.3 <= run.cpu_time_s < 1.0
    assert max(sample.cpu_percent for sample in run.samples) > 100 / (os.cpu_count() or 1) / 4


def test_a_failing_command_is_named_and_its_output_kept(tmp_path):
    code = "import sys; print('to out'); sys.stderr.write('to err\\n'); sys.exit(3)"
    run = measure(python(code), tmp_path / "log")
    assert (run.status, run.exit_code) == ("failed", 3)
    assert sorted((tmp_path / "log").read_text().split("\n")) == ["", "to err", "to out"]
    assert len(run.samples) >= 1


def test_a_command_that_kills_itself_has_a_negative_exit_code(tmp_path):
    run = measure(python("import os; os.kill(os.getpid(), 9)"), tmp_path / "log")
    assert (run.status, run.exit_code) == ("failed", -9)


def test_a_command_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be started") as refused:
        measure(["no-such-program"], tmp_path / "log")
    assert refused.value.parts[0] == "COMMAND"


@only_linux
def test_a_time_out_ends_the_whole_tree_even_what_ignores_it(tmp_path):
    leaves_the_group = f"setsid sh -c 'echo $$ >> {tmp_path}/pids; sleep 60' &"
    stubborn = f"trap '' TERM; {leaves_the_group} echo $$ >> {tmp_path}/pids; sleep 60"
    start = time.monotonic()
    run = measure(["sh", "-c", stubborn], tmp_path / "log", timeout_s=1.5)
    assert (run.status, run.exit_code) == ("timed out", -signal.SIGKILL)
    assert run.wall_s == pytest.approx(1.5, abs=0.3)
    assert time.monotonic() - start < 15
    pids = pids_in(tmp_path / "pids", 2)
    assert len(pids) == 2 and not any(map(alive, pids))


@only_linux
def test_processes_left_behind_are_ended_and_told(tmp_path):
    run = measure(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pids"], tmp_path / "log")
    assert run.status == "ok" and run.wall_s < 10
    assert "1 process outlived the command and was ended" in run.notes
    assert not alive(pids_in(tmp_path / "pids", 1)[0])


@only_linux
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_the_tree_ends_when_the_measuring_program_is_stopped_or_killed(tmp_path, blow):
    program = (
        "import sys; from flare_core.evaluate.efficiency.measure import measure; "
        "measure(['sh', '-c', sys.argv[1]], sys.argv[2])"
    )
    shell = f"sleep 60 & echo $! $$ > {tmp_path}/pids; sleep 60"
    measuring = subprocess.Popen(
        python(program, shell, str(tmp_path / "log")), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    pids = pids_in(tmp_path / "pids", 2)
    assert all(map(alive, pids))
    measuring.send_signal(blow)
    measuring.wait(15)
    assert wait_for(lambda: not any(map(alive, pids)))


def test_gpu_memory_is_zero_with_a_note_where_there_is_none(tmp_path):
    run = measure(["sleep", "0.15"], tmp_path / "log")
    if run.gpu:
        pytest.skip("there is a GPU here")
    assert all(sample.gpu_mib == 0 for sample in run.samples)
    assert any("given as 0" in note for note in run.notes)


def test_missing_counters_are_told_and_give_nan():
    from flare_core.evaluate.efficiency.measure import _notes

    nan = math.nan
    samples = (UsageSample(0.1, 0.0, nan, nan, nan),)
    notes = _notes({"note": "", "left_over": 0, "exit_code": 0}, samples)
    assert any("/proc" in note for note in notes)
    assert math.isnan(summarise(Measurement(("x",), "ok", 0, 0.1, samples, nan, 0.0)).auc_ram_mib_s)


def test_many_missed_samples_are_told():
    from flare_core.evaluate.efficiency.measure import _notes

    samples = [UsageSample(0.1 * i, 0.0, 1.0, 1.0, 1.0) for i in range(1, 41) if i % 2 == 0]
    seen = {"note": "", "left_over": 0, "exit_code": 0}
    assert "20 of 40 samples came too late" in _notes(seen, samples)[0]
    assert not _notes(seen, [UsageSample(0.1 * i, 0.0, 1.0, 1.0, 1.0) for i in range(1, 41)])


def test_the_watching_process_loads_nothing_heavy():
    code = (
        "import sys; import flare_core.evaluate.efficiency.watcher; "
        "print(*({'numpy', 'torch', 'scipy', 'SimpleITK', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(python(code), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@only_linux
def test_the_cost_of_sampling_is_reported(tmp_path):
    """The limit of 2 % is benchmarks/measure_overhead.py's: a busy machine would break it here."""
    numbers = summarise(measure(["sleep", "1"], tmp_path / "log"))
    assert 0 < numbers.watcher_cpu_percent < 100


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
    text = sample_table([UsageSample(0.1, 3561.6, 54.25, 2048.0, math.nan)])
    assert text.splitlines()[1] == "0.1,3561.6,54.25,2048,"
