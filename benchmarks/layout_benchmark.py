"""Which memory layout and number format the default networks like on this machine.

    python benchmarks/layout_benchmark.py [--threads 2] [--repeats 3]

Prints seconds a tile (median) for float32 and bf16, channels first and channels last, and each as a
ratio to float32 channels first: `flare_core.segment.runtime` chooses accordingly. Compare ratios of
one run, not seconds of two.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from flare_core.models.package import load_package, read_weights
from flare_core.networks import build_network


def main() -> None:
    """Print a table for each stage of the default model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    package = load_package("default")
    for stage in package.card.stages:
        network = build_network(stage.network).eval()
        weights = read_weights(package.weights_path(stage))
        network.load_state_dict({k: v.float() for k, v in weights.items()})
        print(f"{stage.name}, tile {stage.patch}, {arguments.threads} threads")
        reference = 0.0
        for kind in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last_3d):
                seconds = tile_seconds(network, stage.patch, kind, layout, arguments.repeats)
                reference = reference or seconds
                words = f"{str(kind)[6:]:9s} {str(layout)[6:]:18s}"
                print(f"  {words} {seconds:.2f} s   {reference / seconds:.1f} x")


def tile_seconds(
    network: torch.nn.Module,
    patch: tuple[int, int, int],
    kind: torch.dtype,
    layout: torch.memory_format,
    repeats: int,
) -> float:
    """Return the median time of one tile after one to warm up."""
    placed = network.to(kind).to(memory_format=layout)
    tile = torch.randn(1, 1, *patch, dtype=kind).to(memory_format=layout)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            placed(tile)
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
