"""What a synthetic lesion costs: seconds on one core, by size class, in a training patch.

OMP_NUM_THREADS=1 python benchmarks/lesions/seconds.py
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from flare_core.datasets.lesions.generate import add_lesions
from flare_core.datasets.lesions.settings import SIZES_MM, LesionSettings
from flare_core.datasets.phantom.make import make_phantom
from flare_core.datasets.phantom.settings import PhantomSettings

PATCH = (96, 160, 160)
SPACING_MM = (1.75, 1.6, 1.6)
REPEATS = 12


def main() -> None:
    """Print the processor seconds of a patch without lesions, and of one lesion more."""
    settings = PhantomSettings(seed=1, spacing_mm=SPACING_MM, field="abdomen")
    made = make_phantom(settings)
    z, y, x = (max(0, (n - p) // 2) for n, p in zip(made.image.array.shape, PATCH, strict=True))
    cut = tuple(slice(s, s + p) for s, p in zip((z, y, x), PATCH, strict=True))
    image, labels = made.image.array[cut].copy(), made.labels.array[cut].copy()
    none = LesionSettings(lesions=(0, 0), decoys=(0, 0))
    print(f"patch {image.shape}, {SPACING_MM} mm: nothing {seconds(image, labels, none)[0]:.3f} s")
    for size in SIZES_MM:
        one = replace(none, lesions=(1, 1), sizes=(size,))
        mean, most = seconds(image, labels, one)
        print(f"one {size} lesion: mean {mean:.3f} s, most {most:.3f} s")


def seconds(image: np.ndarray, labels: np.ndarray, settings: LesionSettings) -> tuple[float, float]:
    """Return mean and greatest processor seconds of `add_lesions`."""
    spent = []
    for seed in range(REPEATS):
        random = np.random.default_rng(seed)
        start = time.process_time()
        add_lesions(image, labels, SPACING_MM, random, settings)
        spent.append(time.process_time() - start)
    return float(np.mean(spent)), max(spent)


if __name__ == "__main__":
    main()
