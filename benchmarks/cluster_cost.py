"""What thousands of scans cost on paper: hours, network and disk, from what was measured of one.

    flare segment SCAN.nii.gz -o OUT
    python benchmarks/cluster_cost.py SCAN.nii.gz OUT [--seconds 4.05] [--overhead-ms 3.2]

Prints a table. Measured: the bytes of the scan and of all files in OUT, here and now; seconds for
such a scan on a warm worker of two cores and for its start (`segment_benchmark.py`, docs/speed.md);
what spreading costs a case (`spread_benchmark.py`). Assumed, not measured: seconds on a graphics
card, and the network. Each worker does one scan at a time; scans are read and results are written
through one network that all share, while others compute. So it takes as long as the slowest of the
three: computing, the scheduler, the network.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCANS = (2000, 10_000)
WORKERS = (1, 4, 64)
GBIT_S = (1.0, 10.0)
"""Networks, Gbit/s."""


@dataclass(frozen=True)
class Scan:
    """What one scan takes."""

    seconds: float
    """On a warm worker."""
    start_s: float
    """Until a worker is warm."""
    overhead_s: float
    """Of the scheduler, for which all scans wait in turn."""
    read: int
    """Bytes of the scan."""
    written: int
    """Bytes of its results."""


def hours(scan: Scan, scans: int, workers: int, gbit_s: float) -> float:
    """Return the hours for so many scans.

    Examples
    --------
    >>> hours(Scan(3.6, 0.0, 0.001, 10**6, 0), 1000, 1, 1.0)
    1.0
    >>> round(hours(Scan(3.6, 0.0, 0.001, 125 * 10**6, 0), 1000, 10, 1.0), 3)  # 1 s of network each
    0.278
    """
    computing = scan.start_s + math.ceil(scans / workers) * scan.seconds
    moving = scans * (scan.read + scan.written) * 8 / (gbit_s * 1e9)
    return max(computing, scans * scan.overhead_s, moving) / 3600


def wanted_mb_s(scan: Scan, workers: int) -> float:
    """Return what busy workers read and write, 10^6 bytes a second."""
    return workers * (scan.read + scan.written) / scan.seconds / 1e6


def rows(cpu: Scan, gpu: Scan) -> Iterator[tuple[str, ...]]:
    """Yield the lines of the table."""
    yield (
        "scans",
        "workers",
        *(f"hours at {g:g} Gbit/s" for g in GBIT_S),
        "MB/s wanted",
        "core hours",
    )
    for scans in SCANS:
        for workers in WORKERS:
            times = (_hours_text(hours(cpu, scans, workers, gbit_s)) for gbit_s in GBIT_S)
            cores = f"{2 * scans * cpu.seconds / 3600:.1f}"
            name = f"{workers} of two cores"
            yield str(scans), name, *times, f"{wanted_mb_s(cpu, workers):.0f}", cores
        times = (_hours_text(hours(gpu, scans, 1, gbit_s)) for gbit_s in GBIT_S)
        yield str(scans), "1 GPU (assumed)", *times, f"{wanted_mb_s(gpu, 1):.0f}", ""


def _hours_text(time_h: float) -> str:
    return f"{time_h:.1f}" if time_h >= 1 else f"{time_h:.2f}"


def main() -> None:
    """Measure the files and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=4.05, help="warm, two cores")
    parser.add_argument("--start-s", type=float, default=1.5, help="cold less warm")
    parser.add_argument("--overhead-ms", type=float, default=3.2)
    parser.add_argument("--gpu-seconds", type=float, default=0.5, help="assumed: the goal")
    arguments = parser.parse_args()
    read = arguments.scan.stat().st_size
    written = sum(path.stat().st_size for path in arguments.results.iterdir() if path.is_file())
    rest = (arguments.start_s, arguments.overhead_ms / 1000, read, written)
    cpu, gpu = Scan(arguments.seconds, *rest), Scan(arguments.gpu_seconds, *rest)
    head, *lines = rows(cpu, gpu)
    for line in (head, ["---"] * len(head), *lines):
        print("|", " | ".join(line), "|")
    print(f"\nA scan: {read / 1e6:.1f} MB, its results {written / 1e6:.2f} MB.")
    for scans in SCANS:
        print(f"{scans} scans: {scans * read / 1e9:.0f} GB, results {scans * written / 1e9:.1f} GB")
    print(f"The scheduler alone: {SCANS[-1] * cpu.overhead_s:.0f} s for {SCANS[-1]} scans")


if __name__ == "__main__":
    main()
