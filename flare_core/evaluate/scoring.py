"""Two label maps of one case -> the scores of every structure.

Steps: find the box of every label value, cut each structure out of both maps (and, for some
organs, to the slices the reference labels), compute the metrics. Only the boxes are touched after
the first step; that and the k-d tree of `metrics.surface` are why it is fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.errors import InputError
from flare_core.evaluate.metrics import METRICS
from flare_core.evaluate.metrics.descriptor import Metric
from flare_core.evaluate.metrics.lesion import LEAST_IOU
from flare_core.evaluate.metrics.pair import OrganPair
from flare_core.evaluate.protocols import MODES, Edition, Mode, Target
from flare_core.imaging.geometry import Box, Geometry

Labels = npt.NDArray[np.uint8]
DIGITS = 4
"""What the scripts round a case's scores to."""


@dataclass(frozen=True)
class ScoringRules:
    """What to compute, and by whose rules.

    Raises
    ------
    InputError
        If a mode or metric is not known or the IoU is not a share.
    """

    edition: Edition
    """Structures, tolerances, policies."""
    mode: Mode = "official"
    """``official``: the scripts' numbers; ``fixed``: without their two slips."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Keys of the metrics; lesion-wise ones are computed for lesions only."""
    lesion_iou: float = LEAST_IOU
    """Intersection over union above which a lesion counts as found, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.mode not in MODES:
            raise InputError("--mode", repr(self.mode), f"one of {', '.join(MODES)}", "Choose one.")
        for key in self.metrics:
            if key not in METRICS:
                legal = f"one of {', '.join(METRICS)}"
                raise InputError("--metrics", repr(key), legal, "Correct the name.")
        if not 0 <= self.lesion_iou < 1:
            came = f"{self.lesion_iou:g}"
            raise InputError("--lesion-iou", came, "0 to less than 1", "0.5 is the usual value.")

    def metrics_of(self, target: Target) -> tuple[Metric, ...]:
        """Return the metrics that this structure gets."""
        wanted = (METRICS[key] for key in self.metrics)
        return tuple(metric for metric in wanted if target.lesion or not metric.lesion_only)


@dataclass(frozen=True)
class TargetScores:
    """The scores of one structure in one case."""

    target: str
    """Key of the structure."""
    values: Mapping[str, float]
    """Metric -> value; NaN if undefined."""
    predicted_ml: float
    """Predicted volume in the part that is compared, mL; NaN without a usable prediction."""
    true_ml: float
    """True volume in the part that is compared, mL."""


def score_labels(
    prediction: Labels | None,
    reference: Labels,
    geometry: Geometry,
    rules: ScoringRules,
    targets: Sequence[Target] | None = None,
) -> tuple[TargetScores, ...]:
    """Score one case.

    Parameters
    ----------
    prediction : uint8 (Z, Y, X), optional
        In the edition's label values; None if there is none that can be used.
    reference : uint8 (Z, Y, X)
        Likewise, on the same grid.
    geometry : Geometry
        Of the reference, in the axis order of the file (the scripts cut along its last axis).
    rules : ScoringRules
        What to compute.
    targets : sequence of Target, optional
        Structures to score; all of the edition if left out.
    """
    usable = np.zeros_like(reference) if prediction is None else prediction
    boxes = label_boxes(usable), label_boxes(reference)
    results = []
    for target in rules.edition.targets if targets is None else targets:
        part = _part(target, boxes, geometry, rules.mode)
        pair = _pair(target, (usable, reference), part, rules, geometry)
        results.append(_score(target, pair, rules, is_missing=prediction is None, part=part))
    return tuple(results)


def label_boxes(labels: Labels) -> dict[int, Box]:
    """Return the box around each label value that is there, background left out.

    Examples
    --------
    >>> label_boxes(np.array([[[0, 2, 2, 0]]], np.uint8))
    {2: Box(start=(0, 0, 1), stop=(1, 1, 3))}
    """
    found = ndimage.find_objects(labels)
    return {
        value: Box.of_slices(place)
        for value, place in enumerate(found, start=1)
        if place is not None
    }


def _part(
    target: Target, boxes: tuple[dict[int, Box], dict[int, Box]], geometry: Geometry, mode: Mode
) -> Box | None:
    """Return the part of the grid that is compared; None if the official way leaves no slice.

    An empty box means that neither map has the structure.
    """
    predicted, true = (each.get(target.value) for each in boxes)
    if predicted is None or true is None:
        return predicted or true or Box((0, 0, 0), (0, 0, 0))
    around = predicted.union(true)
    if not target.labelled_slices:
        return around
    # The scripts cut the last axis of (x, y, z), our first, and lose the last labelled slice.
    axis = 0 if mode == "official" else geometry.canonical_map().permutation[0]
    start, stop = list(around.start), list(around.stop)
    start[axis], stop[axis] = true.start[axis], true.stop[axis] - (mode == "official")
    part = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return None if part.empty else part


def _pair(
    target: Target,
    maps: tuple[Labels, Labels],
    part: Box | None,
    rules: ScoringRules,
    geometry: Geometry,
) -> OrganPair:
    cut = (slice(0, 0),) * 3 if part is None else part.slices
    return OrganPair(
        prediction=maps[0][cut] == target.value,
        reference=maps[1][cut] == target.value,
        spacing_mm=geometry.spacing_mm,
        tolerance_mm=target.tolerance_mm,
        nsd_gate_dsc=rules.edition.nsd_gate_dsc,
        lesion_iou=rules.lesion_iou,
    )


def _score(
    target: Target, pair: OrganPair, rules: ScoringRules, *, is_missing: bool, part: Box | None
) -> TargetScores:
    values = {}
    for metric in rules.metrics_of(target):
        if part is None:
            values[metric.key] = float("nan")
        elif is_missing and metric.missing is not None:
            values[metric.key] = metric.missing
        else:
            value = float(metric.function(pair))
            is_rounded = metric.official and rules.mode == "official"
            values[metric.key] = float(np.round(value, DIGITS)) if is_rounded else value
    return TargetScores(
        target=target.key,
        values=values,
        predicted_ml=float("nan") if is_missing else pair.predicted_voxels * pair.voxel_ml,
        true_ml=pair.true_voxels * pair.voxel_ml,
    )
