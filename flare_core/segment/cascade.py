"""Find the region -> organs -> lesions: which box each stage sees, and how their labels merge.

1. The localiser looks at the whole scan at low resolution and names the organs roughly. Where it
   finds none, there is nothing abdominal in the scan, and no other network is asked.
2. The organ stage sees the box around the wanted organs plus a margin. Where one of its organs
   reaches a face of the box that is not the scan's edge, the box grows there and it looks again.
3. A lesion stage, if the model has one, sees the box of the organs; its lesions override organs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from flare_core.anatomy.organs import Organ
from flare_core.errors import NothingFound
from flare_core.imaging.crop import body_box, box_of_world
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.segment.stage import LoadedStage, Scores, run_stage
from flare_core.store.stage_card import StageCard

Notify = Callable[[str, float], None]

LEAST_PIECE_ML = 2.0
"""A smaller piece of what the localiser calls an organ is not believed."""

LEAST_TOTAL_ML = 30.0
"""With less organ than this in the whole scan, nothing abdominal is in it."""

GROWTH_MM = 40.0
"""How far a face of the box moves when an organ reaches it."""

MOST_GROWTHS = 4
"""How often the box may grow; each time costs one more run of the organ stage."""


@dataclass(frozen=True)
class Stages:
    """The loaded stages of a model."""

    localiser: LoadedStage | None
    """Finds the region; None: the organ stage sees the whole body."""
    organs: LoadedStage
    """Segments the organs."""
    lesions: LoadedStage | None
    """Segments lesions; None: the model has no such stage."""


@dataclass(frozen=True)
class Plan:
    """How one scan is to be run."""

    organs: tuple[Organ, ...]
    """Organs that are wanted; the box is drawn around these."""
    step: float | None = None
    """Tile step of the organ stage; None takes the card's."""


def run_cascade(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Volume:
    """Return organ and lesion ids (Z, Y, X) on the grid of `image`, before clean-up.

    Parameters
    ----------
    image : Volume, HU
        Canonical axes.
    notify : callable
        Told (stage, share of that stage done); may raise to stop.

    Raises
    ------
    NothingFound
        If no abdominal organ is in the scan.
    """
    whole = body_box(image) or Box.of_shape(image.geometry.shape)
    region = whole
    if stages.localiser is not None:
        region = locate(image, stages.localiser, stages.organs.card, plan.organs, notify)
    scores = run_organs(image, stages.organs, region, plan, notify)
    notify("labels", 0.0)
    labels = scores.labels_on(image.geometry)
    if not labels.array.any():
        raise NothingFound(_nothing(plan.organs))
    if stages.lesions is not None:
        labels = add_lesions(image, labels, stages.lesions, notify)
    notify("labels", 1.0)
    return labels


def locate(
    image: Volume,
    localiser: LoadedStage,
    organ_card: StageCard,
    organs: Sequence[Organ],
    notify: Notify,
) -> Box:
    """Return the box of the wanted organs plus the organ stage's margin, in voxels of `image`.

    Raises
    ------
    NothingFound
        If the localiser finds no abdominal organ, or none of those wanted.
    """
    whole = Box.of_shape(image.geometry.shape)
    scores = run_stage(localiser, image, whole, notify=lambda done: notify("localise", done))
    rough = believable(scores.labels())
    voxel_ml = rough.geometry.voxel_ml
    if np.count_nonzero(rough.array) * voxel_ml < LEAST_TOTAL_ML:
        raise NothingFound(_nothing(()))
    found = Box.of_mask(np.isin(rough.array, [o.id for o in organs]))
    if found is None:
        raise NothingFound(_nothing(organs))
    exact = box_of_world(found, rough.geometry, image.geometry)
    return _with_margin(exact, image.geometry, organ_card)


def believable(labels: Volume) -> Volume:
    """Return the localiser's labels without its small pieces (any organ), which are mistakes."""
    pieces, count = ndimage.label(labels.array > 0, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * labels.geometry.voxel_ml
    keep = sizes >= LEAST_PIECE_ML
    keep[0] = False
    return labels.with_array(np.where(keep[pieces], labels.array, 0))


def run_organs(
    image: Volume, stage: LoadedStage, region: Box, plan: Plan, notify: Notify
) -> Scores:
    """Return the organ stage's scores in a box that no organ is cut by."""
    for _ in range(MOST_GROWTHS):
        scores = run_stage(
            stage, image, region, step=plan.step, notify=lambda done: notify("organs", done)
        )
        wanted = np.isin(scores.labels().array, [o.id for o in plan.organs])
        wider = _grown_where_cut(wanted, region, image.geometry)
        if wider == region:
            return scores
        region = wider
    return run_stage(
        stage, image, region, step=plan.step, notify=lambda done: notify("organs", done)
    )


def add_lesions(image: Volume, labels: Volume, stage: LoadedStage, notify: Notify) -> Volume:
    """Return the labels with the lesion stage's findings painted over the organs."""
    organs = Box.of_mask(labels.array)
    region = _with_margin(organs or Box.of_shape(labels.array.shape), labels.geometry, stage.card)
    scores = run_stage(stage, image, region, notify=lambda done: notify("lesions", done))
    lesions = scores.labels_on(labels.geometry)
    return labels.with_array(np.where(lesions.array > 0, lesions.array, labels.array))


def _with_margin(box: Box, geometry: Geometry, card: StageCard) -> Box:
    """Widen a box by the card's margins, inside the scan."""
    start, stop = [], []
    for a, (low, high) in enumerate(card.margin_mm):
        start.append(box.start[a] - math.ceil(low / geometry.spacing_mm[a]))
        stop.append(box.stop[a] + math.ceil(high / geometry.spacing_mm[a]))
    wide = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return wide.intersect(Box.of_shape(geometry.shape))


def _grown_where_cut(found: np.ndarray, region: Box, geometry: Geometry) -> Box:
    """Return the region with each face moved outwards where an organ touches it.

    A face at the scan's edge cannot move.
    """
    start, stop = list(region.start), list(region.stop)
    for axis in range(3):
        reach = math.ceil(GROWTH_MM / geometry.spacing_mm[axis])
        if region.start[axis] > 0 and found.take(0, axis=axis).any():
            start[axis] = max(0, region.start[axis] - reach)
        if region.stop[axis] < geometry.shape[axis] and found.take(-1, axis=axis).any():
            stop[axis] = min(geometry.shape[axis], region.stop[axis] + reach)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _nothing(organs: Sequence[Organ]) -> str:
    """Return what to tell a person whose scan holds no organ."""
    if organs and len(organs) < 13:
        names = ", ".join(o.name.lower() for o in organs)
        return f"None of the organs asked for ({names}) was found in this scan."
    return (
        "No abdominal organ was found in this scan. It may show another part of the body, or be "
        "stored with a wrong orientation; nothing was written."
    )
