"""Where a training step's time goes: seconds for data and for the network, memory, steps a second.

    python benchmarks/train_benchmark.py [CONFIG] [--steps 30] [--precision float32 bf16]
        [--device auto] [--threads 0] [--phantoms 4] [--strategy supervised] [--cache FOLDER]

Trains on a cohort of phantoms with the network, patch and augmentation of CONFIG (default: the
default model's organ stage, last phase), once for each precision, each in a new process:

- wait: how long a step waits for its patches, made ahead by a thread (TrainConfig.prefetch);
- make: how long making them takes when nothing is made ahead;
- compute: forward, backward, optimiser, running mean;
- data: wait as a share of wait + compute. At most 10 % is wanted;
- GiB: peak memory, of the GPU where there is one, else of the process.

On a CPU the thread that makes patches takes its time from the network: make / (make + compute) is
then the honest share of data, and shown as "made %". The first steps, in which libraries choose
their algorithms, are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parent / "default_model" / "organs.json"
UNCOUNTED = 3
"""First steps left out."""
COLUMNS = (
    "precision", "wait s", "make s", "compute s", "data %", "made %", "steps/s", "GiB", "loss",
)  # fmt: skip


def main() -> None:
    """Run each precision in a process of its own and print a table."""
    arguments = parse()
    if arguments.only:
        print(json.dumps(measure(arguments, arguments.only)))
        return
    print("  ".join(f"{name:>9}" for name in COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder)
        for precision in arguments.precision:
            options = [*sys.argv[1:], "--only", precision, "--cache", str(cache)]
            command = [sys.executable, __file__, *options]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            cells = [f"{precision:>9}", *(f"{row[name]:9.3f}" for name in COLUMNS[1:])]
            print("  ".join(cells), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", type=Path, default=CONFIG)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--strategy", default="supervised")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--patch", nargs=3, type=int, help="voxels z y x (default: the CONFIG's)")
    parser.add_argument("--cache", type=Path, help="keeps the phantoms for the next time")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


def settings(arguments: argparse.Namespace, precision: str) -> Any:
    """Return CONFIG with its last phase alone, on phantoms alone."""
    from flare_core.train.config_file import load_config

    config = load_config(arguments.config)
    phase = config.phases[-1]
    if arguments.patch:
        phase = replace(phase, patch=tuple(arguments.patch))
    return replace(
        config,
        data=(),
        init_from="",
        held_out_patients=(),
        phantoms=arguments.phantoms,
        phases=(phase,),
        strategy={"kind": arguments.strategy},
        batch_size=arguments.batch_size,
        precision=precision,
        device=arguments.device,
        threads=arguments.threads,
    )


def measure(arguments: argparse.Namespace, precision: str) -> dict[str, float]:
    """Return the medians of one precision."""
    from flare_core.train.batches import PatchSource
    from flare_core.train.loop import Trainer
    from flare_core.train.samples import gather_samples

    config = settings(arguments, precision)
    phase = config.phases[0]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), arguments.cache)
        training, _ = gather_samples(config, phase.spacing_mm, arguments.cache)
        place = trainer._device()
        make = made_alone(PatchSource(config, phase, training, (0, 0), place), place.type)
        with PatchSource(config, phase, training, (0, 0), place) as source:
            rows = steps(trainer, source, arguments.steps, place.type)
    wait, compute, loss = (statistics.median(each) for each in zip(*rows, strict=True))
    total = sum(sum(row[:2]) for row in rows)
    return {
        "wait s": wait,
        "make s": make,
        "made %": 100 * make / (make + compute),
        "compute s": compute,
        "data %": 100 * sum(row[0] for row in rows) / total,
        "steps/s": len(rows) / total,
        "GiB": peak_gib(place.type),
        "loss": loss,
    }


def made_alone(source: Any, device: str) -> float:
    """Return the median seconds of making a batch when nothing else runs."""
    seconds = []
    for step in range(8):
        start = time.perf_counter()
        source.batch(step)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def steps(trainer: Any, source: Any, count: int, device: str) -> list[tuple[float, float, float]]:
    """Take steps; return (seconds waited, seconds computed, loss) of those that count."""
    rows = []
    trainer.training_step.train()
    for _ in range(UNCOUNTED + count):
        start = time.perf_counter()
        batch = source.draw()
        synchronise(device)
        drawn = time.perf_counter()
        loss = trainer.optimiser_step(batch, 1e-3)
        synchronise(device)
        rows.append((drawn - start, time.perf_counter() - drawn, loss))
    return rows[UNCOUNTED:]


def synchronise(device: str) -> None:
    """Wait until the GPU has done what it was told."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_gib(device: str) -> float:
    """Return the most memory that was used."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
