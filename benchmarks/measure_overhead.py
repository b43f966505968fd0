"""What `flare measure` itself costs: processor time of the sampling process, percent of one core.

    python benchmarks/measure_overhead.py [--seconds 10]

The limit is 2 %. Three commands: one that sleeps, one with 60 sleeping processes below it, one
that computes. The cost is taken from the kernel's account of the sampling process, so other work
on the machine changes it little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from flare_core.evaluate.efficiency.measure import measure, summarise

LIMIT_PERCENT = 2.0

COMPUTE = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass
"""


def commands(seconds: float) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    text = str(seconds)
    return {
        "sleeping": ["sleep", text],
        "60 processes": ["sh", "-c", f"for i in $(seq 60); do sleep {text} & done; wait"],
        "computing": [sys.executable, "-c", COMPUTE, text],
    }


def main() -> int:
    """Measure and print; return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run")
    seconds = parser.parse_args().seconds
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(seconds).items():
            run = measure(command, Path(folder) / "log.txt")
            cost = summarise(run).watcher_cpu_percent
            each_ms = 1000 * run.watcher_cpu_s / len(run.samples)
            worst = max(worst, cost)
            print(
                f"{name:>13}: {len(run.samples)} samples in {run.wall_s:.2f} s, "
                f"{each_ms:.2f} ms each, {cost:.2f} % of one core"
            )
    print(f"worst {worst:.2f} % (limit {LIMIT_PERCENT:g} %)")
    return int(worst > LIMIT_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
