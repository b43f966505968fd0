"""Labels together with the class scores they came from, at the organ stage's own voxel size.

Self-training judges a prediction by its probabilities. At the stage's voxel size they are there
anyway, so asking for them costs nothing: no score is ever resampled. Folds are kept apart, because
where they differ the model is unsure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flare_core.anatomy.organs import ALL_TARGETS, Organ, organ
from flare_core.errors import InputError, NothingFound
from flare_core.imaging.crop import box_of_world
from flare_core.imaging.geometry import Box, Geometry
from flare_core.imaging.volume import Volume
from flare_core.models.package import Package
from flare_core.segment.cascade import Plan, add_lesions, organ_region, run_organs
from flare_core.segment.pipeline import further_organ_stages
from flare_core.segment.postprocess import clean_up
from flare_core.segment.runtime import Runtime
from flare_core.segment.stage import LoadedStage, Scores, load_stage, run_stage

Notify = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says about one scan."""

    labels: Volume
    """Organ ids, cleaned, uint8, on the scan's own grid; all 0 if nothing was found."""
    folds: tuple[Scores, ...]
    """Class scores of each fold on one grid (canonical axes); empty if nothing was found."""
    notes: tuple[str, ...] = ()
    """What clean-up did, for a person."""

    @property
    def mean(self) -> Scores:
        """Return the folds' mean scores.

        Raises
        ------
        NothingFound
            If nothing was found in the scan.
        """
        if not self.folds:
            raise NothingFound("nothing was found in the scan, so there are no scores")
        if len(self.folds) == 1:
            return self.folds[0]
        logits = torch.stack([each.logits for each in self.folds]).mean(dim=0)
        return replace(self.folds[0], logits=logits)

    def probabilities(self) -> Tensor:
        """Return class probabilities, float32 (C, Z, Y, X), on the grid of `folds`."""
        return self.mean.probabilities()


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model in memory that can say how sure it is."""

    localiser: LoadedStage | None
    """Finds the region; None: the whole body is looked at."""
    organs: LoadedStage
    """Gives the scores."""
    parts: tuple[LoadedStage, ...] = ()
    """Further organ stages, whose labels are painted over; their scores are not kept."""
    lesions: LoadedStage | None = None
    """Finds lesions; None: the model has no such stage."""

    @property
    def known(self) -> tuple[Organ, ...]:
        """Every organ it can find."""
        cards = [each.card for each in (self.organs, *self.parts)]
        cards += [self.lesions.card] if self.lesions is not None else []
        keys = dict.fromkeys(key for card in cards for _, key in card.organ_channels)
        return tuple(organ(key) for key in keys)


def load_teacher(package: Package, runtime: Runtime) -> Teacher:
    """Return all stages of a model, in memory.

    Raises
    ------
    InputError
        If a stage cannot be run by this version, or none is called organs.
    """
    localiser, organs, lesions = (
        load_stage(package, name, runtime) for name in ("localiser", "organs", "lesions")
    )
    if organs is None:
        raise InputError(
            f"teacher {package.card.name}",
            f"the stages {', '.join(stage.name for stage in package.card.stages)}",
            "a model with a stage called organs",
            "Choose another teacher.",
        )
    more = [load_stage(package, card.name, runtime) for card in further_organ_stages(package.card)]
    return Teacher(localiser, organs, tuple(part for part in more if part is not None), lesions)


def segment_scored(
    image: Volume, teacher: Teacher, *, notify: Notify = lambda *_: None, step: float | None = None
) -> Scored:
    """Segment one CT and keep the scores; a scan without abdominal organs gives empty labels.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        Any axis order.
    teacher : Teacher
        From `load_teacher`.
    notify : callable
        Told (stage, share done); may raise to stop.
    step : float, optional
        Tile step; the card's if None.
    """
    canonical, axis_map = image.canonical()
    plan = Plan(teacher.known, step)
    try:
        region = organ_region(canonical, teacher.localiser, teacher.organs.card, plan, notify)
        folds = _fold_scores(canonical, teacher.organs, region, plan, notify)
    except NothingFound as error:
        empty = np.zeros(image.geometry.shape, np.uint8)
        return Scored(Volume(empty, image.geometry), (), (str(error),))
    labels = Scored(canonical, folds).mean.labels_on(canonical.geometry)
    for part in teacher.parts:
        more = run_organs(canonical, part, region, plan, notify).labels_on(canonical.geometry)
        np.copyto(labels.array, more.array, where=more.array != 0)
    if teacher.lesions is not None and labels.array.any():
        labels = add_lesions(canonical, labels, teacher.lesions, notify, step=step)
    cleaned, notes = clean_up(labels, ALL_TARGETS)
    own_axes = np.ascontiguousarray(axis_map.undo(cleaned.array))
    return Scored(Volume(own_axes, image.geometry), folds, notes)


def _fold_scores(
    image: Volume, stage: LoadedStage, region: Box, plan: Plan, notify: Notify
) -> tuple[Scores, ...]:
    """Return each fold's scores on one grid; a single fold costs one run, n folds n + 1."""
    first, *others = (replace(stage, networks=(one,)) for one in stage.networks)
    found = run_organs(image, first, region, plan, notify)
    if not others:
        return (found,)
    region = box_of_world(_whole(found.geometry), found.geometry, image.geometry)
    return tuple(_run(one, image, region, plan, notify) for one in (first, *others))


def _run(stage: LoadedStage, image: Volume, region: Box, plan: Plan, notify: Notify) -> Scores:
    return run_stage(
        stage, image, region, step=plan.step, notify=lambda done: notify("organs", done)
    )


def _whole(geometry: Geometry) -> Box:
    return Box.of_shape(geometry.shape)
