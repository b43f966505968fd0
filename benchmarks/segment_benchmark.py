"""Seconds and GiB of `flare segment`: cold and warm, alone and beside a busy program, and growth.

    python benchmarks/segment_benchmark.py SCAN.nii.gz [--repeats 3] [--threads 2] [--fast]
        [--parts cold,warm,growth,precision]
    python benchmarks/segment_benchmark.py SCAN.nii.gz --device cuda

- cold: a new process from .nii.gz to all four outputs, wall clock and peak memory;
- warm: the same request to a `flare segment --worker` that has already run once; beside each step
  what the machine could do, measured in the same run: the bytes a step must at least move and the
  operations of its convolutions, over the memory's and the processor's best speed;
- both alone and beside one other process that never rests, in turn, and the ratio of the two;
- growth: the scan cut into 100, 300 and 1000 slices, its field of view as it is; CPU seconds too,
  which say something on a busy machine as well;
- precision: DSC of every organ between the labels of float32 and of bf16 (if the CPU has it);
- device: what a graphics card is judged by: a cold run as `flare measure` sees it (seconds, largest
  memory in use on the card, area under that curve), warm runs with the most memory that torch took,
  and the DSC between the card's labels and the processor's float32. Needs nvidia-ml-py
  (`pip install flareseg[gpu]`) for the first. With ``--device cuda`` the parts are cold and device.

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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_core import Segmentation, Settings, Volume

COMMAND = [sys.executable, "-m", "flare_core", "segment"]

BUSY = [sys.executable, "-c", "while True: pass"]
"""The other program."""

PARTS = ("cold", "warm", "growth", "precision", "device")

SLICES = (100, 300, 1000)

Run = dict[str, float]


def main() -> None:
    """Run the parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", help=f"of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    parts = arguments.parts or (
        "cold,warm,growth,precision" if arguments.device == "cpu" else "cold,device"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = arguments.scan or _phantom(folder)
        for part in parts.split(","):
            {"cold": _print_cold, "warm": _print_warm, "growth": _print_growth,
             "precision": _print_precision, "device": _print_device}[part](
                scan, folder, arguments
             )  # fmt: skip


@contextmanager
def _busy(there: bool) -> Iterator[None]:
    """Have another program run beside us that never waits, or nothing."""
    if not there:
        yield
        return
    other = subprocess.Popen(BUSY)
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _print_cold(scan: Path, folder: Path, arguments: argparse.Namespace) -> None:
    runs: dict[bool, list[Run]] = {False: [], True: []}
    for i in range(arguments.repeats):
        for busy in runs:
            with _busy(busy):
                runs[busy].append(_cold(scan, folder / f"cold{i}{busy}", arguments))
    _print_runs("cold process, alone", runs[False])
    _print_runs("cold process, beside a busy one", runs[True])
    _print_ratio(runs)


def _print_warm(scan: Path, folder: Path, arguments: argparse.Namespace) -> None:
    import torch
    from machine import measure

    runs = _warm(scan, folder / "warm", arguments)
    torch.set_num_threads(arguments.threads)
    work, dtype = _work(scan, arguments)
    machine = measure(dtype)
    best = {step: machine.seconds(moved=m, operations=o) for step, (m, o) in work.items()}
    print(f"this machine: {machine.bytes_per_s / 1e9:.1f} GB/s, {machine.flops / 1e9:.0f} GFLOP/s")
    _print_runs("warm worker, alone", runs[False], best)
    _print_runs("warm worker, beside a busy process", runs[True])
    _print_ratio(runs)


def _print_ratio(runs: dict[bool, list[Run]]) -> None:
    """Print how much longer it takes beside a busy process."""
    alone, beside = (statistics.median(r["wall clock"] for r in runs[b]) for b in (False, True))
    print(f"  beside a busy process {beside / alone:.2f} times the time alone")


def _work(scan: Path, arguments: argparse.Namespace) -> tuple[dict[str, tuple[float, float]], Any]:
    """Return by step the least bytes moved and the operations, and the networks' number format."""
    import torch
    from machine import operations

    from flare_core import Settings, read_volume, segment_ct
    from flare_core.models.package import load_package
    from flare_core.segment.runtime import choose_runtime
    from flare_core.segment.stage import load_stage

    runtime = choose_runtime(threads=arguments.threads)
    package, image = load_package("default"), read_volume(scan)
    work: dict[str, tuple[float, float]] = {}
    networks: dict[str, torch.nn.Module] = {}
    with ExitStack() as hooks:
        tiles: dict[str, int] = {}
        for card in package.card.stages:
            stage = load_stage(package, card.name, runtime)
            assert stage is not None
            networks[card.name] = stage.networks[0]  # as it is run, not as it is stored

            def seen(*_: object, name: str = card.name) -> None:
                tiles[name] = tiles.get(name, 0) + 1

            hooks.callback(stage.networks[0].register_forward_hook(seen).remove)
        segment_ct(image, Settings(threads=arguments.threads, fast=arguments.fast))
    for card, step in zip(package.card.stages, ("localise", "organs"), strict=False):
        each = operations(deepcopy(networks[card.name]).to("meta"), card.patch)
        work[step] = (float(image.array.nbytes), tiles[card.name] * each)
    voxels = image.array.size
    file, array = scan.stat().st_size, image.array.nbytes
    plain = {"read": file + array, "labels": voxels, "clean-up": 2 * voxels,
             "statistics": array + voxels, "write": array + voxels}  # fmt: skip
    return work | {step: (float(moved), 0.0) for step, moved in plain.items()}, runtime.dtype


def _phantom(folder: Path) -> Path:
    command = [sys.executable, "-m", "flare_core", "phantom", str(folder / "phantom.nii.gz")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "phantom_0000.nii.gz"


def _command(scan: Path, out: Path, arguments: argparse.Namespace) -> list[str]:
    command = [*COMMAND, str(scan), "-o", str(out), "--threads", str(arguments.threads)]
    command += ["--device", arguments.device, "--progress", "none"]
    return command + (["--fast"] if arguments.fast else [])


def _cold(scan: Path, out: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run the command in a new process; return its stages' seconds, wall clock and peak GiB."""
    command = _command(scan, out, arguments)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"flare segment failed with status {status}")
    kept = json.loads(next(out.glob("*_statistics.json")).read_text("utf-8"))
    cpu = usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss / 2**20
    return {**kept["timings_s"], "wall clock": wall, "CPU": cpu, "peak GiB": peak}


def _warm(scan: Path, out: Path, arguments: argparse.Namespace) -> dict[bool, list[Run]]:
    """Send the same request several times to one worker, by turns alone and beside a busy process;
    leave the first answer out.
    """
    settings = {"threads": arguments.threads, "fast": arguments.fast, "device": arguments.device}
    request: dict[str, Any] = {
        "command": "segment", "input": str(scan), "output": str(out), "settings": settings
    }  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    _ask(process, {**request, "id": "first"})
    runs: dict[bool, list[Run]] = {False: [], True: []}
    for number in range(arguments.repeats):
        for busy in runs:
            with _busy(busy):
                runs[busy].append(_ask(process, {**request, "id": f"{number}{busy}"}))
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    return runs


def _ask(process: subprocess.Popen[str], request: dict[str, Any]) -> Run:
    """Return the seconds of the steps of one request."""
    assert process.stdin is not None
    assert process.stdout is not None
    start = time.perf_counter()
    print(json.dumps(request), file=process.stdin, flush=True)
    for line in process.stdout:
        answer = json.loads(line)
        if answer["event"] == "result":
            return {**answer["timings_s"], "wall clock": time.perf_counter() - start}
        if answer["event"] == "error":
            sys.exit(f"the worker answered {answer}")
    sys.exit("the worker ended")


def _print_growth(scan: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Print time and memory of finer and finer scans, beside three times the scan and 1 GiB."""
    import numpy as np

    from flare_core import Volume, read_volume
    from flare_core.imaging.files import write_volume

    short = read_volume(scan)
    depth, *plane = short.array.shape
    print("growth: slices, seconds, CPU s, CPU s a hundred slices, peak GiB, of which allowed")
    for count in SLICES:
        array = short.array[np.arange(count) * depth // count]
        long = folder / f"{count}.nii.gz"
        write_volume(long, Volume(array, short.geometry.with_shape((count, *plane))))
        run = _cold(long, folder / f"growth{count}", arguments)
        allowed = 3 * array.nbytes / 2**30 + 1
        wall, cpu, peak = run["wall clock"], run["CPU"], run["peak GiB"]
        each = 100 * cpu / count
        print(f"  {count:5d} {wall:7.1f} {cpu:7.1f} {each:7.2f} {peak:6.2f} {allowed:6.2f}")


def _print_runs(title: str, runs: list[Run], best: Run | None = None) -> None:
    """Print medians and ranges; with `best`, how many times the machine's least time that is."""
    print(f"{title}, median of {len(runs)}")
    for name in runs[0]:
        values = [run[name] for run in runs if name in run]
        unit = "" if "GiB" in name else " s"
        low, high, middle = min(values), max(values), statistics.median(values)
        line = f"  {name:14s} {middle:7.2f}{unit}   ({low:.2f} to {high:.2f})"
        if best and best.get(name):
            line += f"   {best[name]:.3f} s at best, {middle / best[name]:.1f} times that"
        print(line)


def _print_precision(scan: Path, folder: Path, arguments: argparse.Namespace) -> None:
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
        result = segment_ct(image, Settings(precision=precision, threads=arguments.threads))
        found[precision] = result.labels.array
        print(f"{precision}: {time.perf_counter() - start:.2f} s with loading the model")
    scores = dice(found["float32"], found["bf16"], [o.id for o in ORGANS])
    print(
        "DSC of bf16 against float32: " + ", ".join(f"{o.key} {scores[o.id]:.4f}" for o in ORGANS)
    )


def _print_device(scan: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Print seconds and memory of a device, cold and warm, and its labels against the CPU's."""
    from flare_core import ORGANS, Settings, read_volume, segment_ct
    from flare_core.evaluate.efficiency.measure import measure, summarise
    from flare_core.evaluate.metrics.dsc import dice

    log = folder / "device.log"
    seen = measure(_command(scan, folder / "device", arguments), log)
    if seen.status != "ok":
        sys.exit(log.read_text("utf-8"))
    found = summarise(seen)
    print(f"cold, as `flare measure` sees it: {seen.gpu or 'no GPU'} {' '.join(seen.notes)}")
    print(f"  run time {found.runtime_s:.2f} s, GPU memory at most {found.gpu_max_mib:.0f} MiB,")
    print(f"  AUC_GPU {found.auc_gpu_mib_s:.0f} MiB s, AUC_CPU {found.auc_cpu_percent_s:.0f} % s")
    image, runs = read_volume(scan), []
    settings = Settings(threads=arguments.threads, fast=arguments.fast, device=arguments.device)
    for _ in range(arguments.repeats + 1):
        result, run = _run_here(image, settings)
        runs.append(run)
    _print_runs("warm, scan in memory", runs[1:])
    exact = Settings(threads=arguments.threads, fast=arguments.fast, precision="float32")
    labels = segment_ct(image, replace(exact, device="cpu")).labels.array
    scores = dice(labels, result.labels.array, [o.id for o in ORGANS])
    print("DSC with the processor's float32: "
          + ", ".join(f"{o.key} {scores[o.id]:.4f}" for o in ORGANS))  # fmt: skip


def _run_here(image: Volume, settings: Settings) -> tuple[Segmentation, Run]:
    """Label a scan in this process; return its steps' seconds and the device memory of torch."""
    import torch

    from flare_core import segment_ct

    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    result = segment_ct(image, settings)
    run = {**result.timings, "wall clock": time.perf_counter() - start}
    if settings.device == "cuda":
        run["in use, GiB"] = torch.cuda.max_memory_allocated() / 2**30
        run["taken, GiB"] = torch.cuda.max_memory_reserved() / 2**30
    return result, run


if __name__ == "__main__":
    main()
