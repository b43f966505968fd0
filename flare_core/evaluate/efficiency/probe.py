"""Reads the counters of the machine: CPU, memory, the processes of a command, GPU memory.

Standard library only: it runs in the watching process (`efficiency_watcher`), whose own cost is
part of what it sees. On Linux the counters come from /proc; elsewhere `open_machine` returns None
and a note says that only time and GPU memory are measured. psutil was weighed and left out: it
reads the same files with more Python in between, and Slicer does not bring it.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20

STAT_BYTES = 256
"""Enough for the first line of /proc/stat; the rest (one line a core, interrupts) is costly."""
MEMINFO_BYTES = 128
"""Enough for the first three lines of /proc/meminfo."""


@dataclass(frozen=True)
class Gpu:
    """A graphics card to watch."""

    used_mib: Callable[[], float]
    """Reads the memory in use on the whole device, MiB."""
    name: str
    """Product name; empty if there is none to watch."""
    note: str
    """Why there is none; else empty."""


class Machine:
    """CPU and memory in use on the whole machine (Linux)."""

    def __init__(self) -> None:
        self._stat = os.open("/proc/stat", os.O_RDONLY)
        self._meminfo = os.open("/proc/meminfo", os.O_RDONLY)
        self._busy, self._idle = self._ticks()

    def cpu_percent(self) -> float:
        """Return 100 - idle since the last call, in percent of all cores together."""
        busy, idle = self._ticks()
        spent, rested = busy - self._busy, idle - self._idle
        if spent + rested <= 0:  # asked twice within one tick of the kernel's clock
            return 0.0
        self._busy, self._idle = busy, idle
        return 100.0 * spent / (spent + rested)

    def ram_mib(self) -> float:
        """Return the memory in use (total - available), MiB."""
        lines = os.pread(self._meminfo, MEMINFO_BYTES, 0).split(b"\n")
        total, _, available = (int(line.split()[1]) for line in lines[:3])
        return (total - available) / 1024

    def _ticks(self) -> tuple[int, int]:
        """Return busy and idle ticks since boot.

        Waiting for a disk and time that a hypervisor gave to others are neither.
        """
        line = os.pread(self._stat, STAT_BYTES, 0).split(b"\n", 1)[0]
        user, nice, system, idle, _iowait, irq, soft_irq = map(int, line.split()[1:8])
        return user + nice + system + irq + soft_irq, idle


class ProcessTree:
    """All processes below the calling one (Linux), their own children included.

    The caller is a sub-reaper (see `adopt_orphans`), so a process whose parent has died becomes
    its child and stays in the tree. A process once seen outside the tree cannot get into it, so
    only new ones are looked at.
    """

    def __init__(self) -> None:
        self._root = os.getpid()
        self._outside = self._listed()
        self._inside: set[int] = set()

    def members(self) -> set[int]:
        """Return the process ids of the tree as it is now."""
        listed = self._listed()
        self._outside &= listed
        self._inside &= listed
        new = {pid: _parent(pid) for pid in listed - self._outside - self._inside}
        while found := {
            pid
            for pid, parent in new.items()
            if pid not in self._inside and (parent == self._root or parent in self._inside)
        }:
            self._inside |= found
        self._outside |= new.keys() - self._inside
        return set(self._inside)

    def ram_mib(self) -> float:
        """Return the resident memory of the tree, MiB; shared pages count in every process."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(_resident_pages(pid) for pid in self.members()) * page / MIB

    def running(self) -> set[int]:
        """Return the members that have not ended."""
        return {pid for pid in self.members() if _state(pid) not in ("", "Z", "X")}

    def _listed(self) -> set[int]:
        return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def open_machine() -> Machine | None:
    """Return the machine's counters, or None where there is no /proc to read them from."""
    return Machine() if sys.platform == "linux" else None


def open_tree() -> ProcessTree | None:
    """Return the tree of this process, or None where there is no /proc to read it from."""
    return ProcessTree() if sys.platform == "linux" else None


def open_gpu(index: int) -> Gpu:
    """Return a GPU whose memory can be read, or one that always says 0 and a note why.

    It takes NVIDIA's ``pynvml`` (package nvidia-ml-py), which is optional, and a driver.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return Gpu(_nothing, "", _why_no_pynvml())
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(handle)
        nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        return Gpu(_nothing, "", f"GPU memory is given as 0: NVML says {error} about GPU {index}")

    def used_mib() -> float:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return float((memory.total - memory.free) / MIB)

    # older versions of pynvml give bytes
    return Gpu(used_mib, name.decode() if isinstance(name, bytes) else str(name), "")


def adopt_orphans() -> None:
    """Make processes whose parent dies children of this one, not of process 1 (Linux)."""
    if sys.platform != "linux":
        return
    import ctypes

    set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
    ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def _nothing() -> float:
    return 0.0


def _why_no_pynvml() -> str:
    driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if driver:
        return (
            "GPU memory is given as 0 although there is an NVIDIA driver: "
            "install nvidia-ml-py to measure it"
        )
    return "no NVIDIA GPU here; its memory is given as 0"


def _stat_fields(pid: int) -> list[bytes]:
    """Return what follows the name in /proc/PID/stat: state, parent, ...; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stream:
            return stream.read(512).rpartition(b")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[1]) if len(fields) > 1 else -1


def _state(pid: int) -> str:
    fields = _stat_fields(pid)
    return fields[0].decode() if fields else ""


def _resident_pages(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as stream:
            return int(stream.read(128).split()[1])
    except (OSError, IndexError):
        return 0


def describe_machine() -> dict[str, str | int | float | None]:
    """Return what a number must be read against: system, processor, cores, memory in MiB."""
    return {
        "system": platform.platform(),
        "processor": _cpuinfo("model name") or platform.machine(),
        "logical_cores": os.cpu_count(),
        "ram_mib": _total_ram_mib(),
        "python": platform.python_version(),
    }


def _cpuinfo(key: str) -> str:
    """Return the first value of `key` in /proc/cpuinfo, or nothing."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def _total_ram_mib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB, 1)
