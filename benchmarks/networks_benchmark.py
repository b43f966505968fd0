"""The recipes' networks: seconds and GiB of a forward pass at each recipe's own patch, parameters.

    python benchmarks/networks_benchmark.py                     every recipe that fits this machine
    python benchmarks/networks_benchmark.py --only flare23-citi flare24-lyy1
    python benchmarks/networks_benchmark.py --device cuda --precision fp16 --repeats 5

Each network runs in a process of its own, with random weights, in evaluation mode, as a tile of
`flare segment` does; a network that needs more than the free memory is named and left out. GiB: on
a GPU what torch allocated at most, on a CPU the process's largest resident size less that before
the pass. ``training`` is what one patch's step is estimated to take (`train.recipe_run.room`).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from flare_core.imaging.checks import free_memory_gib
from flare_core.train.recipe_run.room import training_gib
from flare_core.train.recipes import RECIPES

HEAD = ("recipe", "stage", "network", "M", "patch", "s", "GiB", "training GiB")
FORM = "{:18} {:8} {:22} {:>8} {:>14} {:>8} {:>7} {:>12}"


def main() -> None:
    """Measure one network, or all in processes of their own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), default=list(RECIPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    print(FORM.format(*HEAD), flush=True)
    for key in arguments.only:
        for stage in RECIPES[key].trainings:
            print(row(key, stage, sys.argv[1:]), flush=True)


def row(key: str, stage: str, options: list[str]) -> str:
    """Return one line of the table, measured in a process of its own."""
    config = RECIPES[key].trainings[stage]
    patch = "x".join(map(str, config.phases[-1].patch))
    training = training_gib(config)
    told = [key, stage, config.network.kind, "", patch, "left out", "", f"{training:.1f}"]
    free = free_memory_gib()
    if free is None or training / 2 < free:  # without a way back about half of it
        command = [sys.executable, __file__, *options, "--one", key, stage]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            found = json.loads(done.stdout)
            told[3], told[5] = f"{found['millions']:.1f}", f"{found['seconds']:.2f}"
            told[6] = f"{found['gib']:.2f}"
    return FORM.format(*told)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one network on its patch."""
    import torch

    from flare_core.networks import build_network
    from flare_core.segment.runtime import choose_runtime

    key, stage = arguments.one
    config = RECIPES[key].trainings[stage]
    runtime = choose_runtime(arguments.device, arguments.precision, arguments.threads)
    torch.set_num_threads(runtime.threads)
    network = runtime.place(build_network(config.network))
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    patch = torch.randn(1, config.network.input_channels, *config.phases[-1].patch)
    patch = patch.to(runtime.device, runtime.dtype)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    with torch.inference_mode():
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            network(patch)
            if runtime.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    if runtime.device == "cuda":
        gib = torch.cuda.max_memory_allocated() / 2**30
    else:
        gib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    return {"millions": millions, "seconds": statistics.median(seconds), "gib": gib}


if __name__ == "__main__":
    main()
