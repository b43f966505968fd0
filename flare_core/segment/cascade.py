"""Find the region -> organs -> lesions: which box each stage sees, and how their labels merge.

1. The localiser looks at the whole scan at low resolution and names the organs roughly. Where it
   finds none, there is nothing abdominal in the scan, and no other network is asked.
2. The organ stage sees the box around the wanted organs plus a margin. Where one of them reaches a
   face of the box that is not the scan's edge, the box grows there and it looks again.
   Further organ stages (``organs_2`` ..., as TotalSegmentator's parts) see the same box one after
   another; a later one paints over an earlier one.
3. A lesion stage, if the model has one, sees the box of the organs; its lesions override organs.

A model whose only stage is ``lesions`` (FLARE24 task 1) looks at the whole body instead, a stack of
slices at a time, so that a scan from neck to feet needs no more memory than an abdomen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import LESION, ORGANS, Organ
from flare_core.errors import NothingFound
from flare_core.imaging.crop import body_box, box_of_world
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.stage_card import StageCard
from flare_core.segment.nnunet import patch_here, spacing_here
from flare_core.segment.postprocess import ALL_NEIGHBOURS
from flare_core.segment.stage import LoadedStage, Scores, first_region, run_stage

Notify = Callable[[str, float], None]

LEAST_PIECE_ML = 2.0
"""A smaller piece of what the localiser calls an organ is not believed."""

LEAST_TOTAL_ML = 30.0
"""With less abdominal organ than this in the whole scan, nothing abdominal is in it."""

LEAST_CERTAINTY = 0.85
"""Mean probability of an organ that is really there. Livers, spleens and kidneys of real scans and
phantoms have .91 to .96; what was found in chests, pelves and a block of water had at most .83."""

THORACIC_TOO = ("aorta", "esophagus", "inferior_vena_cava")
"""Organs that a scan of the chest shows as well; they alone do not make a scan abdominal."""

LEAST_CUT_CM2 = 0.2
"""An organ touches a face of the box with more than this; single voxels there are mistakes, and
each look at a larger box costs as much as the first. An adrenal gland's section has about 1 cm2."""

GROWTH_MM = 40.0
"""How far a face of the box moves when an organ reaches it."""

SLAB_MM = 300.0
"""Length of the stack of slices that a whole-body stage looks at at a time."""

MOST_GROWTHS = 4
"""How often the box may grow; each time costs one more run of the organ stage."""


@dataclass(frozen=True, eq=False)
class Stages:
    """The loaded stages of a model."""

    localiser: LoadedStage | None
    """Finds the region; None: the organ stage sees the whole body."""
    organs: LoadedStage | None
    """Segments the organs; None: the model looks for lesions in the whole body."""
    lesions: LoadedStage | None = None
    """Segments lesions; None: the model has no such stage, or nobody wants it."""
    parts: tuple[LoadedStage, ...] = ()
    """Further organ stages, ``organs_2`` and on, each for organs of its own."""

    @property
    def steps(self) -> tuple[str, ...]:
        """What `run_cascade` will tell `notify` about, in order."""
        if self.organs is None:
            return ("lesions",)
        first = ("localise",) if self.localiser is not None else ()
        last = ("lesions",) if self.lesions is not None else ()
        later = [step for part in self.parts for step in (part.card.name, labels_step(part))]
        return (*first, "organs", "labels", *later, *last)


@dataclass(frozen=True)
class Plan:
    """How one scan is to be run."""

    organs: tuple[Organ, ...] = ORGANS
    """What is wanted; the box is drawn around these."""
    step: float | None = None
    """Tile step of the organ and lesion stages; None takes the card's."""


def run_cascade(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Volume:
    """Return organ and lesion ids (Z, Y, X) on the grid of `image`, before clean-up.

    Organs that are not wanted are there too as far as they lie in the box: they tell right from
    left.

    Parameters
    ----------
    image : Volume, HU
        Canonical axes.
    stages : Stages
    plan : Plan
    notify : callable
        Told (stage, share of that stage done); may raise to stop.

    Raises
    ------
    NothingFound
        If no abdominal organ is in the scan.
    """
    if stages.organs is None:
        return whole_body_lesions(image, stages, plan, notify)
    region = organ_region(image, stages.localiser, stages.organs.card, plan, notify)
    labels = _organ_labels(image, stages.organs, region, plan, notify)
    for part in stages.parts:
        more = _organ_labels(image, part, region, plan, notify)
        np.copyto(labels.array, more.array, where=more.array != 0)
    if not labels.array.any():
        raise nothing_found(ORGANS)
    if stages.lesions is None:
        return labels
    return add_lesions(image, labels, stages.lesions, notify, step=plan.step)


def organ_region(
    image: Volume, localiser: LoadedStage | None, organ_card: StageCard, plan: Plan, notify: Notify
) -> Box:
    """Return where the organ stage looks first: the localiser's box, or without one the body's.

    Raises
    ------
    NothingFound
        If the localiser finds no abdominal organ.
    """
    if localiser is None:
        return first_region(image, organ_card)
    return locate(image, localiser, organ_card, plan.organs, notify)


def locate(
    image: Volume,
    localiser: LoadedStage,
    organ_card: StageCard,
    organs: Sequence[Organ],
    notify: Notify,
) -> Box:
    """Return the box of the wanted organs plus the organ stage's margin, in voxels of `image`.

    A wanted organ that the localiser does not see (an adrenal gland has one or two of its voxels)
    may still lie anywhere among the others; then the box is drawn around all of them.

    Raises
    ------
    NothingFound
        If the localiser finds no abdominal organ.
    """
    whole = Box.of_shape(image.geometry.shape)
    scores = run_stage(localiser, image, whole, notify=_share_of("localise", notify))
    rough = believable(scores.labels())
    ids = ids_in_box(organs)
    if set(np.unique(rough.array).tolist()).issuperset(ids):
        found = Box.of_mask(np.isin(rough.array, ids))
    else:
        found = Box.of_mask(rough.array)
    certainty = scores.probabilities().amax(dim=0).numpy()  # (Z, Y, X), 0 to 1
    if found is None or _abdominal_ml(rough, certainty) < LEAST_TOTAL_ML:
        raise nothing_found(ORGANS)
    exact = box_of_world(found, rough.geometry, image.geometry)
    return _with_margin(exact, image.geometry, organ_card)


def _abdominal_ml(rough: Volume, certainty: npt.NDArray[np.float32]) -> float:
    """Return how much there is of organs that only an abdomen has and that are not guessed, mL."""
    ids = [o.id for o in ORGANS if o.key not in THORACIC_TOO]
    places = {i: rough.array == i for i in ids}
    sure = [m.sum() for m in places.values() if m.any() and certainty[m].mean() >= LEAST_CERTAINTY]
    return float(sum(sure) * rough.geometry.voxel_ml)


def ids_in_box(organs: Sequence[Organ]) -> list[int]:
    """Return the ids of what must lie wholly in the box: lesions may be in any organ."""
    return [each.id for each in (ORGANS if LESION in organs else organs)]


def believable(labels: Volume) -> Volume:
    """Return the localiser's labels without its small pieces (any organ), which are mistakes."""
    pieces, count = ndimage.label(labels.array != 0, structure=ALL_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * labels.geometry.voxel_ml
    keep = sizes >= LEAST_PIECE_ML
    keep[0] = False
    return labels.with_array(np.where(keep[pieces], labels.array, 0))


def labels_step(stage: LoadedStage) -> str:
    """Return the name of the step that turns an organ stage's scores into labels."""
    return stage.card.name.replace("organs", "labels")


def _organ_labels(
    image: Volume, stage: LoadedStage, region: Box, plan: Plan, notify: Notify
) -> Volume:
    """Return what one organ stage finds, on the grid of `image`."""
    scores = run_organs(image, stage, region, plan, notify)
    notify(labels_step(stage), 0.0)
    labels = scores.labels_on(image.geometry)
    notify(labels_step(stage), 1.0)
    return labels


def run_organs(
    image: Volume, stage: LoadedStage, region: Box, plan: Plan, notify: Notify
) -> Scores:
    """Return the organ stage's scores in a box that cuts no wanted organ, or after `MOST_GROWTHS`.

    Parameters
    ----------
    region : Box
        Where to look first, voxels of `image`.
    """
    told = _share_of(stage.card.name, notify)
    scores = run_stage(stage, image, region, step=plan.step, notify=told)
    for _ in range(MOST_GROWTHS):
        wider = _grown_where_cut(scores, ids_in_box(plan.organs), region, image.geometry)
        if wider == region:
            break
        region = wider
        del scores  # its memory is wanted for the next
        scores = run_stage(stage, image, region, step=plan.step, notify=told)
    return scores


def add_lesions(
    image: Volume,
    labels: Volume,
    stage: LoadedStage,
    notify: Notify,
    *,
    step: float | None = None,
) -> Volume:
    """Return the labels with the lesion stage's findings painted over the organs.

    Parameters
    ----------
    labels : Volume
        Organ ids on the grid of `image`; lesions are looked for in the box around all of them.
    step : float, optional
        Tile step; the card's if None.
    """
    organs = Box.of_mask(labels.array) or Box.of_shape(labels.geometry.shape)
    region = _with_margin(organs, labels.geometry, stage.card)
    scores = run_stage(stage, image, region, step=step, notify=_share_of("lesions", notify))
    lesions = scores.labels_on(labels.geometry)
    return labels.with_array(np.where(lesions.array != 0, lesions.array, labels.array))


def whole_body_lesions(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Volume:
    """Return the lesions of the whole body (Z, Y, X), found slab by slab.

    Neighbouring slabs share a patch of slices, of which each keeps its own half: no lesion is cut
    by the border of what the network sees.
    """
    assert stages.lesions is not None  # a model has at least one of the two
    body = body_box(image) or Box.of_shape(image.geometry.shape)
    labels = np.zeros(image.geometry.shape, np.uint8)
    slabs = slabs_along_z(body, image.geometry, stages.lesions.card)
    for number, (core, seen) in enumerate(slabs):

        def told(done: float, before: int = number) -> None:
            notify("lesions", (before + done) / len(slabs))

        scores = run_stage(stages.lesions, image, seen, step=plan.step, notify=told)
        labels[core.slices] = scores.labels_on(image.geometry.crop(core)).array
        del scores  # its memory is wanted for the next
    return Volume(labels, image.geometry)


def slabs_along_z(body: Box, geometry: Geometry, card: StageCard) -> list[tuple[Box, Box]]:
    """Return (what a slab keeps, what it sees) from the body's feet to its head."""
    dz = geometry.spacing_mm[0]
    depth = max(1, round(SLAB_MM / dz))
    count = -(-body.shape[0] // depth)
    reach = math.ceil(patch_here(card)[0] * spacing_here(card)[0] / 2 / dz)
    edges = [body.start[0] + round(i * body.shape[0] / count) for i in range(count + 1)]
    slabs = []
    for low, high in zip(edges, edges[1:], strict=False):
        core = Box((low, *body.start[1:]), (high, *body.stop[1:]))
        seen = Box((low - reach, *body.start[1:]), (high + reach, *body.stop[1:]))
        slabs.append((core, seen.intersect(body)))
    return slabs


def nothing_found(organs: Iterable[Organ]) -> NothingFound:
    """Return what to tell a person whose scan holds none of `organs`."""
    missing = tuple(organs)
    if set(ORGANS).issubset(missing):
        return NothingFound(
            "No abdominal organ was found in this scan. It may show another part of the body, or "
            "be stored with a wrong orientation; nothing was written."
        )
    names = ", ".join(each.name.lower() for each in missing)
    return NothingFound(
        f"Nothing that was asked for ({names}) was found in this scan; nothing was written."
    )


def _share_of(stage: str, notify: Notify) -> Callable[[float], None]:
    return lambda done: notify(stage, done)


def _with_margin(box: Box, geometry: Geometry, card: StageCard) -> Box:
    """Widen a box by the card's margins, and to a whole tile, inside the scan.

    A network sees a tile of its patch's size anyway: filled with the scan it knows where it is,
    filled with air it loses a spleen that was asked for alone.
    """
    patch, voxel_mm = patch_here(card), spacing_here(card)
    spans = []
    for a, (low, high) in enumerate(card.margin_mm):
        size = geometry.spacing_mm[a]
        first = box.start[a] - math.ceil(low / size)
        last = box.stop[a] + math.ceil(high / size)
        tile = math.ceil(patch[a] * voxel_mm[a] / size)
        spans.append(_at_least(first, last, tile, geometry.shape[a]))
    (z0, z1), (y0, y1), (x0, x1) = spans
    return Box((z0, y0, x0), (z1, y1, x1))


def _at_least(first: int, last: int, length: int, count: int) -> tuple[int, int]:
    """Return a span inside 0 to `count`, widened to both sides to a length if there is room.

    Examples
    --------
    >>> _at_least(4, 6, 4, 10), _at_least(8, 12, 4, 10), _at_least(1, 2, 20, 10)
    ((3, 7), (6, 10), (0, 10))
    """
    first, last = max(0, first), min(count, last)
    length = min(count, max(length, last - first))
    missing = length - (last - first)
    first = min(max(0, first - missing // 2), count - length)
    return first, first + length


def _grown_where_cut(scores: Scores, ids: Sequence[int], region: Box, geometry: Geometry) -> Box:
    """Return the region with each face moved outwards where an organ of `ids` touches it.

    A face at the scan's edge cannot move.
    """
    labels = scores.labels()
    wanted = np.isin(labels.array, ids)
    start, stop = list(region.start), list(region.stop)
    for axis in range(3):
        reach = math.ceil(GROWTH_MM / geometry.spacing_mm[axis])
        low, high = _touched_cm2(wanted, axis, labels.geometry)
        if low > LEAST_CUT_CM2:
            start[axis] = max(0, start[axis] - reach)
        if high > LEAST_CUT_CM2:
            stop[axis] = min(geometry.shape[axis], stop[axis] + reach)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _touched_cm2(mask: npt.NDArray[np.bool_], axis: int, geometry: Geometry) -> tuple[float, float]:
    """Return the area of a mask on the two faces of its grid across `axis`."""
    planes = np.moveaxis(mask, axis, 0)
    voxel_cm2 = 10 * geometry.voxel_ml / geometry.spacing_mm[axis]
    return np.count_nonzero(planes[0]) * voxel_cm2, np.count_nonzero(planes[-1]) * voxel_cm2
