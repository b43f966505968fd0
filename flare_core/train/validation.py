"""DSC per organ on held-out scans, at the network's own voxel size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from flare_core.anatomy.organs import organ
from flare_core.datasets.cache import Sample
from flare_core.evaluate.metrics.dsc import dice
from flare_core.imaging.intensity import normalise
from flare_core.segment.runtime import Runtime
from flare_core.segment.sliding_window import predict_scores
from flare_core.store.stage_card import Normalisation

LEAST_ML = 1.0
"""A label smaller than this in a scan is a remnant at the edge and left out of the mean."""

STEP = 0.8
"""Distance of tiles as a fraction of the patch, as in the product."""


def validate(
    network: nn.Module,
    samples: Sequence[Sample],
    classes: dict[str, int],
    patch: tuple[int, int, int],
    normalisation: Normalisation,
    runtime: Runtime,
) -> dict[str, float]:
    """Return organ key -> mean DSC over the samples that annotate and hold it.

    Parameters
    ----------
    network : nn.Module
        Placed by `runtime`.
    samples : sequence of Sample
        At the voxel size of the network.
    classes : dict
        Organ key -> output channel.
    patch : (int, int, int)
        Tile, voxels z, y, x.
    """
    scores: dict[str, list[float]] = {}
    for sample in samples:
        hu = sample.image.astype(np.float32)
        n = normalisation
        image = torch.from_numpy(normalise(hu, (n.lower_hu, n.upper_hu), n.mean, n.std))
        logits = predict_scores([network], image, patch, STEP, runtime)
        predicted = logits.argmax(dim=0).to(torch.uint8).numpy()
        for key, value in score_sample(predicted, sample, classes).items():
            scores.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in scores.items()}


def score_sample(
    predicted: np.ndarray, sample: Sample, classes: dict[str, int]
) -> dict[str, float]:
    """Return organ key -> DSC of one sample, for organs it annotates and holds."""
    voxel_ml = float(np.prod(sample.spacing_mm)) / 1000.0
    reference = labels_to_classes(sample.labels, classes)
    sizes = np.bincount(reference.ravel(), minlength=256) * voxel_ml
    wanted = {
        key: c
        for key, c in classes.items()
        if key in sample.case.annotated and sizes[c] >= LEAST_ML
    }
    values = dice(predicted, reference, list(wanted.values()))
    return {key: values[c] for key, c in wanted.items()}


def labels_to_classes(labels: np.ndarray, classes: dict[str, int]) -> np.ndarray:
    """Map organ ids (Z, Y, X) to output channels; organs the network does not know become 0."""
    table = np.zeros(256, np.uint8)
    for key, c in classes.items():
        table[organ(key).id] = c
    return table[labels]
