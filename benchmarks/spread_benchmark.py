"""What `spread.on_dask` costs: 10 000 cases that do nothing, on a few workers of this computer.

    python benchmarks/spread_benchmark.py [--cases 10000] [--workers 3]

Prints milliseconds a case, and how much memory the process with scheduler and client had after a
tenth of the cases and at the end. The limits are 5 ms and 1.3 times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

from flare_core.jobs.cluster import connected, place_of
from flare_core.spread.on_dask import Terms, spread
from flare_core.spread.shared import shared

LIMIT_MS = 5.0
LIMIT_GROWTH = 1.3


def main() -> int:
    """Measure and print; return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=3)
    arguments = parser.parse_args()
    numbers = ((f"case{number}", number) for number in range(arguments.cases))
    process, memory, done = psutil.Process(), [0.0], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(place_of(f"local:{arguments.workers}")) as client,
        shared(Path(folder)) as proof,
    ):
        client.wait_for_workers(arguments.workers)
        start = time.perf_counter()
        for done, outcome in enumerate(spread(client, abs, numbers, Terms(proof)), start=1):
            assert outcome.error is None
            if done == arguments.cases // 10:
                memory[0] = process.memory_info().rss / 2**20
        each_ms = 1000 * (time.perf_counter() - start) / arguments.cases
        memory.append(process.memory_info().rss / 2**20)
    growth = memory[1] / memory[0]
    print(f"{done} of {arguments.cases} cases, {arguments.workers} workers: {each_ms:.2f} ms each")
    print(f"memory {memory[0]:.0f} MiB after a tenth, {memory[1]:.0f} MiB at the end: {growth:.2f}")
    return int(done != arguments.cases or each_ms > LIMIT_MS or growth > LIMIT_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
