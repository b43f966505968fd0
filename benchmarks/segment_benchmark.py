"""Seconds and GiB of `flare segment`, stage by stage, cold and warm; float32 against bf16.

    python benchmarks/segment_benchmark.py SCAN.nii.gz [--repeats 3] [--threads 2] [--fast]

- cold: a new process from .nii.gz to all four outputs, wall clock and peak memory;
- warm: the same request to a `flare segment --worker` that has already run once;
- precision: DSC of every organ between the labels of float32 and of bf16 (if the CPU has it).

Medians of `--repeats` runs. Without a scan, a phantom of 512 x 512 x 110 voxels is made.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "flare_core", "segment"]


def main() -> None:
    """Run the three parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fast", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan = arguments.scan or _phantom(Path(folder))
        cold = [_cold(scan, Path(folder) / f"cold{i}", arguments) for i in range(arguments.repeats)]
        _print_runs("cold process", cold)
        _print_runs("warm worker", _warm(scan, Path(folder) / "warm", arguments))
        _print_precision(scan, arguments.threads)


def _phantom(folder: Path) -> Path:
    command = [sys.executable, "-m", "flare_core", "phantom", str(folder / "phantom.nii.gz")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "phantom_0000.nii.gz"


def _cold(scan: Path, out: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run the command in a new process; return its stages' seconds, wall clock and peak GiB."""
    command = [*COMMAND, str(scan), "-o", str(out), "--threads", str(arguments.threads)]
    command += ["--progress", "none"] + (["--fast"] if arguments.fast else [])
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"flare segment failed with status {status}")
    kept = json.loads(next(out.glob("*_statistics.json")).read_text("utf-8"))
    return {**kept["timings_s"], "wall clock": wall, "peak GiB": usage.ru_maxrss / 2**20}


def _warm(scan: Path, out: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Send the same request several times to one worker; leave the first answer out."""
    settings = {"threads": arguments.threads, "fast": arguments.fast}
    request: dict[str, Any] = {
        "command": "segment", "input": str(scan), "output": str(out), "settings": settings
    }  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    runs = []
    for number in range(arguments.repeats + 1):
        start = time.perf_counter()
        print(json.dumps({**request, "id": number}), file=process.stdin, flush=True)
        for line in process.stdout:
            answer = json.loads(line)
            if answer["event"] in ("result", "error"):
                break
        if answer["event"] == "error":
            sys.exit(f"the worker answered {answer}")
        runs.append({**answer["timings_s"], "wall clock": time.perf_counter() - start})
    process.stdin.close()
    process.wait()
    return runs[1:]


def _print_runs(title: str, runs: list[dict[str, float]]) -> None:
    print(f"{title}, median of {len(runs)}")
    for name in runs[0]:
        values = [run[name] for run in runs if name in run]
        unit = "" if "GiB" in name else " s"
        low, high = min(values), max(values)
        print(f"  {name:14s} {statistics.median(values):7.2f}{unit}   ({low:.2f} to {high:.2f})")


def _print_precision(scan: Path, threads: int) -> None:
    """Print the DSC between float32 and bf16 labels."""
    from flare_core import ORGANS, Settings, read_volume, segment_ct
    from flare_core.evaluate.metrics.dsc import dice
    from flare_core.segment.runtime import cpu_has_bf16

    if not cpu_has_bf16():
        print("this CPU has no bf16 instructions; float32 is used anyway")
        return
    image = read_volume(scan)
    found = {}
    for precision in ("float32", "bf16"):
        start = time.perf_counter()
        result = segment_ct(image, Settings(precision=precision, threads=threads))
        found[precision] = result.labels.array
        print(f"{precision}: {time.perf_counter() - start:.2f} s with loading the model")
    scores = dice(found["float32"], found["bf16"], [o.id for o in ORGANS])
    print(
        "DSC of bf16 against float32: " + ", ".join(f"{o.key} {scores[o.id]:.4f}" for o in ORGANS)
    )


if __name__ == "__main__":
    main()
