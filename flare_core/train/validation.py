"""DSC per organ on held-out scans, at the network's own voxel size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from flare_core.anatomy.organs import LESION, organ
from flare_core.datasets.cache import Sample
from flare_core.evaluate.metrics.dsc import dice
from flare_core.imaging.hounsfield import normalise
from flare_core.models.stage_card import Normalisation
from flare_core.segment.runtime import Runtime
from flare_core.segment.sliding_window import predict_scores

LEAST_ML = 1.0
"""An organ smaller than this in a scan is a remnant at the edge and left out of the mean."""

TILE_STEP = 0.8
"""Distance of tiles as a fraction of the patch, as in the product."""


def mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every organ over the scans that have it.

    Examples
    --------
    >>> mean_scores([{"liver": 0.9}, {"liver": 0.7, "spleen": 0.6}])
    {'liver': 0.8, 'spleen': 0.6}
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            scores.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in scores.items()}


def score_samples(
    network: nn.Module,
    samples: Sequence[Sample],
    classes: dict[str, int],
    patch: tuple[int, int, int],
    normalisation: Normalisation,
    runtime: Runtime,
) -> list[dict[str, float]]:
    """Return, for every sample, organ key -> DSC of the organs that it annotates and holds.

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
    rows = []
    for sample in samples:
        hu = sample.image.astype(np.float32)
        n = normalisation
        image = torch.from_numpy(normalise(hu, (n.lower_hu, n.upper_hu), n.mean, n.std))
        logits = predict_scores([network], image, patch, TILE_STEP, runtime)
        predicted = logits.argmax(dim=0).to(torch.uint8).cpu().numpy()
        rows.append(score_sample(predicted, sample, classes))
    return rows


def score_sample(
    predicted: np.ndarray, sample: Sample, classes: dict[str, int]
) -> dict[str, float]:
    """Return organ key -> DSC of one sample, for organs it annotates and holds."""
    voxel_ml = float(np.prod(sample.spacing_mm)) / 1000.0
    reference = channel_table(classes)[sample.labels]
    if LESION.key not in classes:  # it lies in an organ, but which is not written there
        predicted = np.where(sample.labels == LESION.id, 0, predicted)
    sizes = np.bincount(reference.ravel(), minlength=256) * voxel_ml
    wanted = {
        key: c
        for key, c in classes.items()
        if key in sample.case.annotated and sizes[c] >= least_ml(key)
    }
    values = dice(predicted, reference, list(wanted.values()))
    return {key: values[c] for key, c in wanted.items()}


def least_ml(key: str) -> float:
    """Return the least volume that is scored: a small lesion is no remnant, but there must be one.

    Examples
    --------
    >>> least_ml("liver"), least_ml("lesion") < 0.001
    (1.0, True)
    """
    return 1e-9 if key == LESION.key else LEAST_ML


def channel_table(classes: dict[str, int]) -> np.ndarray:
    """Return organ id -> output channel, uint8 (256,); organs that are not listed become 0.

    Examples
    --------
    >>> channel_table({"spleen": 1})[[0, 1, 3]].tolist()
    [0, 0, 1]
    """
    table = np.zeros(256, np.uint8)
    for key, channel in classes.items():
        table[organ(key).id] = channel
    return table
