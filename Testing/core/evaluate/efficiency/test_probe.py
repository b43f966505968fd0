from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from flare_core.evaluate.efficiency import probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FAKE_NVML = """
class NVMLError(Exception):
    pass
class Memory:
    def __init__(self, free):
        self.total, self.free, self.used = 16 << 30, free, 0
calls = []
def nvmlInit(): pass
def nvmlDeviceGetHandleByIndex(index):
    if index > 1: raise NVMLError("Invalid Argument")
    return index
def nvmlDeviceGetName(handle): return b"Quadro RTX 5000"
def nvmlDeviceGetMemoryInfo(handle):
    calls.append(handle)
    return Memory((16 << 30) - (len(calls) << 20))
"""


@pytest.fixture
def fake_nvml(tmp_path, monkeypatch):
    (tmp_path / "pynvml.py").write_text(FAKE_NVML)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield
    sys.modules.pop("pynvml", None)


def test_gpu_memory_is_total_minus_free_of_the_asked_device(fake_nvml):
    gpu = probe.open_gpu(1)
    assert (gpu.name, gpu.note) == ("Quadro RTX 5000", "")
    assert [gpu.used_mib(), gpu.used_mib()] == [2.0, 3.0]  # the first call tries it out
    assert sys.modules["pynvml"].calls == [1, 1, 1]


def test_a_gpu_that_is_not_there_is_zero_with_a_note(fake_nvml):
    gpu = probe.open_gpu(7)
    assert gpu.used_mib() == 0 and "Invalid Argument about GPU 7" in gpu.note


def test_a_driver_without_pynvml_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # its import fails
    monkeypatch.setattr(probe.shutil, "which", lambda name: f"/usr/bin/{name}")
    gpu = probe.open_gpu(0)
    assert gpu.used_mib() == 0 and "install nvidia-ml-py" in gpu.note


def test_cpu_percent_is_busy_over_busy_and_idle(monkeypatch):
    lines = iter([
        b"cpu  100 0 50 850 20 0 0 0 0 0\ncpu0 1 1 1",
        b"cpu  160 10 60 870 900 10 10 500 0 0\ncpu0 1 1 1",
    ])  # fmt: skip
    monkeypatch.setattr(probe.os, "pread", lambda *_: next(lines))
    machine = probe.Machine()
    # 100 ticks busy, 20 idle; waiting for a disk (880) and stolen time (500) are neither
    assert machine.cpu_percent() == pytest.approx(100 * 100 / 120)


def test_cpu_percent_within_one_tick_is_zero(monkeypatch):
    monkeypatch.setattr(probe.os, "pread", lambda *_: b"cpu  1 2 3 4 5 6 7 8 9 10\n")
    assert probe.Machine().cpu_percent() == 0


def test_ram_in_use_is_total_minus_available(monkeypatch):
    machine = probe.Machine()
    text = b"MemTotal:       4096 kB\nMemFree:   1 kB\nMemAvailable:   1024 kB\nBuff"
    monkeypatch.setattr(probe.os, "pread", lambda *_: text)
    assert machine.ram_mib() == 3


def test_the_tree_has_what_is_below_us_and_nothing_else():
    tree = probe.ProcessTree()
    shell = subprocess.Popen(["sh", "-c", "sleep 30 & wait"])
    try:
        end = time.monotonic() + 10
        while len(tree.members()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        members = tree.members()
        assert shell.pid in members and len(members) == 2
        assert os.getppid() not in members and os.getpid() not in members
        assert 0 < tree.ram_mib() < 100
        for pid in members:
            os.kill(pid, 9)
        while tree.running() and time.monotonic() < end:
            time.sleep(0.02)
        assert not tree.running() and shell.returncode is None  # dead, though not yet buried
    finally:
        shell.wait()
    assert shell.pid not in tree.members()


def test_machine_facts_are_plain_values():
    facts = probe.describe_machine()
    assert facts["logical_cores"] == os.cpu_count()
    assert facts["ram_mib"] > 100 and facts["processor"]
