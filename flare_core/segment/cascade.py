"""Find the region -> organs -> lesions: which box each stage sees, and how their labels merge.

1. The localiser looks at the whole scan at low resolution and names the organs roughly. Where it
   finds none, there is nothing abdominal in the scan, and no other network is asked.
2. The organ stage sees the box around the wanted organs plus a margin. Where one of them reaches a
   face of the box that is not the scan's edge, the box grows there and it looks again.
   Further organ stages (``organs_2`` ..., as in TotalSegmentator) see the same box one after
   another; a later one paints over an earlier one.
3. A lesion stage, if the model has one, sees the box of the organs, or some organs alone if its
   card says so (`organ_mask`). What it finds is kept apart from the organs: a liver with a tumour
   is a whole liver and a lesion in it (`lesions`). Further ones (``lesions_2`` ...) add theirs,
   as a rule those of other organs (`StageCard.hosts`).

A model whose only stage is ``lesions`` (FLARE24 task 1) looks at the whole body instead, a stack of
slices at a time, so that a scan from neck to feet needs no more memory than an abdomen.

Whoever teaches another network asks for the organ stage's scores too (`Plan.keep_scores`). At the
stage's voxel size they are there anyway: no score is ever resampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from flare_core.anatomy.organs import ALL_TARGETS, LESION, ORGANS, Organ, organ
from flare_core.errors import NothingFound
from flare_core.imaging.checks import too_small
from flare_core.imaging.geometry import Box, Geometry, box_of_world
from flare_core.imaging.volume import Volume, body_box
from flare_core.models.card import ModelCard
from flare_core.models.package import Package
from flare_core.models.stage_card import StageCard
from flare_core.segment.confidence import Evidence, evidence_of
from flare_core.segment.contrast_look import contrast_scores
from flare_core.segment.lesion_edges import OrganHu, grown_scores
from flare_core.segment.lesion_scores import More, lesions_above, moved_card
from flare_core.segment.lesions import connected, hosted
from flare_core.segment.margins import with_margin
from flare_core.segment.nnunet import patch_here, spacing_here
from flare_core.segment.postprocess import ALL_NEIGHBOURS, organ_boxes
from flare_core.segment.runtime import Runtime
from flare_core.segment.second_look import bright_scores
from flare_core.segment.stage import (
    LoadedStage,
    Scores,
    first_region,
    load_stage,
    run_stage,
)

Notify = Callable[[str, float], None]

LEAST_PIECE_ML = 2.0
"""A smaller piece of what the localiser calls an organ is not believed."""

LEAST_TOTAL_ML = 30.0
"""With less abdominal organ than this in the whole scan, nothing abdominal is in it."""

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
    further_organs: tuple[LoadedStage, ...] = ()
    """Further organ stages, ``organs_2`` and on, each for organs of its own."""
    further_lesions: tuple[LoadedStage, ...] = ()
    """Further lesion stages, ``lesions_2`` and on, each for the lesions of other organs."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """What `run_cascade` will tell `notify` about, in order."""
        if self.organs is None:
            return ("lesions",)
        first = ("localise",) if self.localiser is not None else ()
        last = (each.card.name for each in self.lesion_stages)
        later = [(each.card.name, labels_stage(each)) for each in self.further_organs]
        return (*first, "organs", "labels", *(name for names in later for name in names), *last)

    @property
    def lesion_stages(self) -> tuple[LoadedStage, ...]:
        """Those that look for lesions, in order."""
        return () if self.lesions is None else (self.lesions, *self.further_lesions)

    @property
    def known(self) -> tuple[Organ, ...]:
        """Everything it can find, in the order of its stages."""
        organs = () if self.organs is None else (self.organs, *self.further_organs)
        cards = [stage.card for stage in (*organs, *self.lesion_stages)]
        keys = dict.fromkeys(key for card in cards for _, key in card.organ_channels)
        return tuple(organ(key) for key in keys)


@dataclass(frozen=True, eq=False)
class Region:
    """Where the organ stage looks."""

    box: Box
    """Voxels of the scan."""
    rough: Volume | None = None
    """What the localiser found, organ ids on its own grid; None: nobody looked."""


@dataclass(frozen=True)
class Plan:
    """How one scan is to be run."""

    organs: tuple[Organ, ...] = ORGANS
    """What is wanted; the box is drawn around these."""
    tile_step: float | None = None
    """Tile step of the organ and lesion stages; None takes the card's."""
    lesion_sensitivity: float | None = None
    """How readily a voxel is a lesion, 0 to 1 (`lesion_scores.threshold_for`); None: as its card"""
    looks_again: bool = True
    """Whether the lesion stage looks again as its card says; each costs as much as the first."""
    keep_scores: bool = False
    """Whether the organ stage's scores are returned, each fold's apart: where folds differ the
    model is unsure. n folds then cost n + 1 runs."""
    keep_mean: bool = False
    """Whether the organ stage's scores are returned as they are decided from, at no cost."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the stages say about one scan, before clean-up."""

    organs: Volume
    """Organ ids, uint8, on the scan's grid; without lesions."""
    lesions: Volume | None = None
    """Where the lesion stage sees a lesion, bool, on the scan's grid; None: nobody looked."""
    lesion_probability: tuple[Volume, ...] = ()
    """What it was decided from, float32 on the stage's own grid, one for each part looked at."""
    evidence: dict[str, Evidence] = field(default_factory=dict)
    """Organ key -> how sure the stage is of it."""
    folds: tuple[Scores, ...] = ()
    """The organ stage's scores, if they were to be kept: one for each fold or their mean, on one
    grid."""


def load_stages(
    package: Package,
    runtime: Runtime,
    wanted: Sequence[Organ] = ALL_TARGETS,
    *,
    localise: bool = True,
) -> Stages:
    """Return the stages of a model that are needed for what is wanted, in memory.

    Raises
    ------
    InputError
        If a stage cannot be run by this version.
    """
    keys = {each.key for each in wanted}
    organs = load_stage(package, "organs", runtime)
    with_localiser = localise and organs is not None
    localiser = load_stage(package, "localiser", runtime) if with_localiser else None
    further = [
        load_stage(package, card.name, runtime)
        for card in further_organ_stages(package.card)
        if any(key in keys for _, key in card.organ_channels)
    ]
    finding = package.card.lesion_stages if LESION.key in keys else ()
    lesions = [load_stage(package, card.name, runtime) for card in finding]
    there = [each for each in lesions if each is not None]
    return Stages(
        localiser,
        organs,
        there[0] if there else None,
        tuple(each for each in further if each is not None),
        tuple(there[1:]),
    )


def further_organ_stages(card: ModelCard) -> tuple[StageCard, ...]:
    """Return the stages ``organs_2``, ``organs_3`` ..., in the card's order."""
    return tuple(stage for stage in card.stages if stage.name.startswith("organs_"))


def run_cascade(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Found:
    """Return organs and lesions on the grid of `image`, before clean-up.

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
    found = _organs_found(image, stages.organs, region, plan, notify)
    for further in stages.further_organs:
        quiet = replace(plan, keep_scores=False, keep_mean=False)
        more = _organs_found(image, further, region, quiet, notify)
        np.copyto(found.organs.array, more.organs.array, where=more.organs.array != 0)
        found.evidence.update(more.evidence)
    if not found.organs.array.any():
        raise nothing_found(ORGANS, image.geometry)
    for stage in stages.lesion_stages:
        found = add_lesions(image, found, stage, plan, notify)
    if stages.lesion_stages:
        return found
    if LESION in stages.known:  # a channel beside the organs', as FLARE23's models have it
        mask = found.organs.array == LESION.id
        organs = np.where(mask, np.uint8(0), found.organs.array)
        return replace(found, organs=image.with_array(organs), lesions=image.with_array(mask))
    return found


def organ_region(
    image: Volume, localiser: LoadedStage | None, organ_card: StageCard, plan: Plan, notify: Notify
) -> Region:
    """Return where the organ stage looks first: the localiser's box, or without one the body's.

    Raises
    ------
    NothingFound
        If the localiser finds no abdominal organ.
    """
    if localiser is None:
        return Region(first_region(image, organ_card))
    return locate(image, localiser, organ_card, plan, notify)


def locate(
    image: Volume, localiser: LoadedStage, organ_card: StageCard, plan: Plan, notify: Notify
) -> Region:
    """Return the box of the wanted organs plus the organ stage's margin, and what is roughly in it.

    A wanted organ that the localiser does not see (an adrenal gland has one or two of its voxels)
    may still lie anywhere among the others; then the box is drawn around all of them.

    Raises
    ------
    NothingFound
        If the localiser finds no abdominal organ.
    """
    whole = Box.of_shape(image.geometry.shape)
    if localiser.card.whole:  # air around a body must not make it smaller
        whole = first_region(image, localiser.card)
    scores = run_stage(localiser, image, whole, notify=_share_of("localise", notify))
    rough = believable(scores.labels())
    ids = ids_in_box(plan.organs)
    if set(np.unique(rough.array).tolist()).issuperset(ids):
        found = Box.of_mask(np.isin(rough.array, ids))
    else:
        found = Box.of_mask(rough.array)
    certainty = scores.probabilities().amax(dim=0).cpu().numpy()  # (Z, Y, X), 0 to 1
    least = localiser.card.least_certainty
    if found is None or _abdominal_ml(rough, certainty, least) < LEAST_TOTAL_ML:
        raise nothing_found(ORGANS, image.geometry)
    exact = box_of_world(found, rough.geometry, image.geometry)
    return Region(with_margin(exact, image.geometry, organ_card, plan.tile_step), rough)


def _abdominal_ml(rough: Volume, certainty: npt.NDArray[np.float32], least: float) -> float:
    """Return how much there is of organs that only an abdomen has and that are not guessed, mL."""
    ids = [o.id for o in ORGANS if o.key not in THORACIC_TOO]
    places = {i: rough.array == i for i in ids}
    sure = [m.sum() for m in places.values() if m.any() and certainty[m].mean() >= least]
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


def labels_stage(stage: LoadedStage) -> str:
    """Return the name of the stage of a run that turns an organ stage's scores into labels."""
    return stage.card.name.replace("organs", "labels")


def _organs_found(
    image: Volume, stage: LoadedStage, region: Region, plan: Plan, notify: Notify
) -> Found:
    """Return what one organ stage finds, on the grid of `image`."""
    folds = _fold_scores(image, stage, region, plan, notify) if plan.keep_scores else ()
    if folds:
        scores = mean_scores(folds)
        rough = scores.labels()
    else:
        scores, rough = run_organs(image, stage, region, plan, notify)
    making = labels_stage(stage)
    notify(making, 0.0)
    evidence = evidence_of(scores, rough)
    labels = scores.labels_on(image.geometry)
    notify(making, 1.0)
    kept = (scores.in_own_memory(),) if plan.keep_mean else ()  # the next stage wants the room
    return Found(labels, evidence=evidence, folds=folds or kept)


def mean_scores(folds: Sequence[Scores]) -> Scores:
    """Return the mean of folds' scores, at least one."""
    if len(folds) == 1:
        return folds[0]
    return replace(folds[0], logits=torch.stack([each.logits for each in folds]).mean(dim=0))


def _fold_scores(
    image: Volume, stage: LoadedStage, region: Region, plan: Plan, notify: Notify
) -> tuple[Scores, ...]:
    """Return each fold's scores on one grid; a single fold costs one run, n folds n + 1."""
    first, *others = (replace(stage, networks=(one,)) for one in stage.networks)
    found, _ = run_organs(image, first, region, plan, notify)
    if not others:
        return (found.in_own_memory(),)
    box = box_of_world(Box.of_shape(found.geometry.shape), found.geometry, image.geometry)
    notify_share = _share_of(stage.card.name, notify)
    return tuple(
        run_stage(one, image, box, tile_step=plan.tile_step, notify=notify_share).in_own_memory()
        for one in (first, *others)
    )


def run_organs(
    image: Volume, stage: LoadedStage, region: Region, plan: Plan, notify: Notify
) -> tuple[Scores, Volume]:
    """Return the organ stage's scores, and the labels on its own grid.

    The box cuts no wanted organ, or it has grown `MOST_GROWTHS` times.

    Parameters
    ----------
    region : Region
        Where to look first. A box that grew is looked at as a whole: what the localiser said was
        not all.
    """
    notify_share = _share_of(stage.card.name, notify)
    box, rough, left = region.box, region.rough, MOST_GROWTHS
    while True:
        scores = run_stage(
            stage, image, box, tile_step=plan.tile_step, rough=rough, notify=notify_share
        )
        labels = scores.labels()
        wider = _grown_where_cut(labels, ids_in_box(plan.organs), box, image.geometry)
        if wider == box or not left:
            return scores, labels
        box, rough, left = wider, None, left - 1
        del scores  # its memory is wanted for the next


def add_lesions(
    image: Volume, found: Found, stage: LoadedStage, plan: Plan, notify: Notify
) -> Found:
    """Return what was found, with the lesions in the box around all organs and the card's margin.

    Parameters
    ----------
    found : Found
        Organ ids on the grid of `image`; lesions that a stage before this one found stay.
    """
    region = lesion_region(found.organs, stage.card, plan)
    if region is None:
        nothing = np.zeros(image.geometry.shape, np.bool_)
        none_seen = replace(found, lesions=image.with_array(nothing))
        return none_seen if found.lesions is None else found
    card, step = moved_card(stage.card, plan.lesion_sensitivity), plan.tile_step
    tell, looks = _share_of(card.name, notify), _looks(card) if plan.looks_again else []
    first = partial(_part, tell, 0, 1 + len(looks))
    scores = run_stage(stage, image, region, organs=found.organs, tile_step=step, notify=first)
    more: list[More] = []
    if scores.seen is not None:
        organs = OrganHu(scores.seen, card)
        more.append(partial(grown_scores, organs))
        for i, look in enumerate(looks, 1):
            again = partial(look, replace(stage, card=card), organs)
            part = partial(_part, tell, i, 1 + len(looks))
            more.append(partial(again, tile_step=step, notify=part))
    lesions, likely = lesions_above(scores, card.threshold, image.geometry, card.peak, more)
    lesions = part_of_hosts(lesions, found.organs, card.hosts)
    if found.lesions is not None:
        np.logical_or(lesions.array, found.lesions.array, out=lesions.array)
    notify(card.name, 1.0)  # or this would be told as a part of the clean-up
    return replace(found, lesions=lesions, lesion_probability=(*found.lesion_probability, likely))


def part_of_hosts(lesions: Volume, organs: Volume, hosts: Sequence[str]) -> Volume:
    """Return findings (bool, changed in place) that are part of one of these organs, or all."""
    if hosts:
        for piece in connected(lesions.array):
            host = hosted(piece, organs)
            if not (host.within and host.organ is not None and host.organ.key in hosts):
                lesions.array[piece.box][piece.mask] = False
    return lesions


def _looks(card: StageCard) -> list[Callable[..., Tensor | None]]:
    """Return what looks again after the first look."""
    looks: list[Callable[..., Tensor | None]] = []
    if card.second_look is not None:
        looks.append(bright_scores)
    if card.contrast_look is not None:
        looks.append(contrast_scores)
    return looks


def _part(tell: Callable[[float], None], part: int, parts: int, done: float) -> None:
    tell((part + done) / parts)


def lesion_region(organs: Volume, card: StageCard, plan: Plan) -> Box | None:
    """Return where the lesion stage looks; None if it is to see organs that are not there.

    Parameters
    ----------
    organs : Volume
        Organ ids on the scan's grid.
    """
    needed = card.hosts if card.mask is None else card.mask.organs
    if not needed:
        box = Box.of_mask(organs.array) or Box.of_shape(organs.geometry.shape)
        return with_margin(box, organs.geometry, card, plan.tile_step)
    boxes = organ_boxes(organs.array)  # np.isin would make several maps as large as the scan's
    ids = [organ(key).id for key in needed]
    there = [Box.of_slices(boxes[number]) for number in ids if number in boxes]
    if not there:
        return None
    seen = reduce(Box.union, there)
    if card.mask is None:
        return with_margin(seen, organs.geometry, card, plan.tile_step)
    margins = zip(card.margin_mm, organs.geometry.spacing_mm, strict=True)
    z, y, x = (math.ceil(max(margin) / s) for margin, s in margins)
    return seen.grow((z, y, x), organs.geometry.shape)


def whole_body_lesions(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Found:
    """Return the lesions of the whole body, found slab by slab, and no organs.

    Neighbouring slabs share a patch of slices, of which each keeps its own half: no lesion is cut
    by the border of what the network sees.
    """
    assert stages.lesions is not None  # a model has at least one of the two
    body = body_box(image) or Box.of_shape(image.geometry.shape)
    card = moved_card(stages.lesions.card, plan.lesion_sensitivity)
    mask = np.zeros(image.geometry.shape, np.bool_)
    probabilities = []
    slabs = slabs_along_z(body, image.geometry, stages.lesions.card)

    def notify_share(done: float, before: int) -> None:
        notify("lesions", (before + done) / len(slabs))

    for number, (core, seen) in enumerate(slabs):
        tell = partial(notify_share, before=number)
        scores = run_stage(stages.lesions, image, seen, tile_step=plan.tile_step, notify=tell)
        part, probability = lesions_above(
            scores, card.threshold, image.geometry.crop(core), card.peak
        )
        mask[core.slices] = part.array
        probabilities.append(probability)
        del scores  # its memory is wanted for the next
    nothing = np.zeros(image.geometry.shape, np.uint8)
    return Found(image.with_array(nothing), image.with_array(mask), tuple(probabilities))


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


def nothing_found(organs: Iterable[Organ], geometry: Geometry) -> NothingFound:
    """Return what to tell a person whose scan, which has this grid, holds none of `organs`."""
    missing, small = tuple(organs), too_small(geometry)
    names = ", ".join(each.name.lower() for each in missing)
    text = f"Nothing that was asked for ({names}) was found in this scan; nothing was written."
    if set(ORGANS).issubset(missing):
        why = "It may show another part of the body, or be stored with a wrong orientation"
        text = f"No abdominal organ was found in this scan. {why}; nothing was written."
    return NothingFound(f"{text} {small}".rstrip())


def _share_of(stage: str, notify: Notify) -> Callable[[float], None]:
    return lambda done: notify(stage, done)


def _grown_where_cut(labels: Volume, ids: Sequence[int], region: Box, geometry: Geometry) -> Box:
    """Return the region with each face moved outwards where an organ of `ids` touches it.

    A face at the scan's edge cannot move.
    """
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
