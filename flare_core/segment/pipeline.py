"""START HERE: a CT in, labels and numbers out. Each stage once, in order.

read and check -> canonical axes -> cascade (localise, organs, lesions) -> clean-up, lesions placed
-> back to the scan's own axes -> statistics, confidence, list of lesions

Invariant: the labels come back on exactly the grid that came in. `label_ct` is all of it but the
numbers; self-training uses it too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, LESION, Organ, organ, parse_organs
from flare_core.errors import InputError, NothingFound
from flare_core.home import open_home
from flare_core.imaging.checks import NotHU, check_ct, too_small
from flare_core.imaging.files import read_volume
from flare_core.imaging.volume import Volume
from flare_core.models.card import ModelCard
from flare_core.models.package import Package, load_package
from flare_core.segment.lesion_list import Lesion, list_lesions
from flare_core.segment.lesions import Piece, place_lesions, whole_organs
from flare_core.segment.postprocess import clean_up, organ_boxes
from flare_core.segment.progress import Progress, RunClock
from flare_core.segment.settings import Settings
from flare_core.segment.statistics import PROBABLY_WRONG, StatisticsRow, organ_statistics

if TYPE_CHECKING:  # they import torch
    from flare_core.segment.belief import ClassScores
    from flare_core.segment.cascade import Found, Notify, Plan, Stages
    from flare_core.segment.confidence import Evidence
    from flare_core.segment.runtime import Runtime
    from flare_core.segment.stage import Scores

__all__ = ["Labelled", "Progress", "Segmentation", "label_ct", "preload", "segment_ct"]

FAST_STEP = 1.0
"""Tile step with ``fast``: tiles side by side, without overlap."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The one return type of a run."""

    labels: Volume
    """Organ ids, uint8, on the scan's own grid."""
    rows: tuple[StatisticsRow, ...]
    """Numbers per organ."""
    timings: dict[str, float]
    """Step -> seconds; they add up to the whole run."""
    provenance: dict[str, Any]
    """Model, version, hash, settings, device."""
    notes: tuple[str, ...] = ()
    """What a person should know about this scan."""
    lesions: tuple[Lesion, ...] | None = None
    """Every lesion, from head to foot; None if nobody looked for any."""
    scores: ClassScores | None = None
    """What the organ stage believed, if it was to be kept and is not too large."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a model says about one scan, without the numbers."""

    labels: Volume
    """Organ ids, cleaned, lesions on top, uint8, on the scan's own grid."""
    whole: Volume
    """The same with the organs' lesions as part of them; `labels` itself where there are none."""
    pieces: tuple[Piece, ...] | None = None
    """The lesions in canonical axes, from head to foot; None if nobody looked for any."""
    lesion_probability: tuple[Volume, ...] = ()
    """How likely a lesion is, on the stage's own grid, part by part."""
    evidence: dict[str, Evidence] | None = None
    """Organ key -> how sure the model is; None: not known."""
    folds: tuple[Scores, ...] = ()
    """The organ stage's scores, if the plan keeps them (canonical axes)."""
    notes: tuple[str, ...] = ()
    """What clean-up did, for a person."""

    @property
    def mean(self) -> Scores:
        """Return the folds' mean scores.

        Raises
        ------
        NothingFound
            If no scores were kept, or nothing was found in the scan.
        """
        from flare_core.segment.cascade import mean_scores

        if not self.folds:
            raise NothingFound("nothing was found in the scan, so there are no scores")
        return mean_scores(self.folds)


@dataclass(frozen=True, eq=False)
class _Ready:
    """A model in memory and what is wanted of it."""

    package: Package
    """The verified files."""
    stages: Stages
    """Its loaded networks."""
    runtime: Runtime
    """Where they run."""
    organs: tuple[Organ, ...]
    """What to return."""


def segment_ct(
    volume_or_path: Volume | str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    keep_scores: bool = False,
) -> Segmentation:
    """Segment the abdominal organs of one CT.

    Parameters
    ----------
    volume_or_path : Volume (Z, Y, X) in HU, or path
        A NIfTI, NRRD or MHA file or a folder with one DICOM series; any orientation and field of
        view.
    settings : Settings, optional
        What to look for, with which model, how.
    progress : callable, optional
        Told a `Progress` many times a second, in the calling thread.
    cancelled : callable, optional
        Asked between tiles and stages; returning True stops the run.
    keep_scores : bool
        Return what the organ stage believed too, for corrections by strokes.

    Returns
    -------
    Segmentation
        Labels on exactly the grid that came in.

    Raises
    ------
    InputError
        If the scan, the model or a setting cannot be used.
    NothingFound
        If none of the organs wanted is in the scan.
    Cancelled
        If `cancelled` returned True.
    """
    settings = _checked_settings(settings)
    clock = RunClock(progress, cancelled)
    clock.announce("load image")
    image = _image_of(volume_or_path)
    notes = _checked(image, settings)
    clock.mark("load image")
    clock.announce("load model")
    ready = _ready_for(settings)
    clock.mark("load model")
    found = _wanted_labels(image, ready, settings, clock, keep_scores=keep_scores)
    clock.notify("statistics", 0.0)
    lesions = None
    if found.pieces is not None and LESION in ready.organs:
        lesions = list_lesions(image, found.labels, found.pieces, found.lesion_probability)
    labels = _only(found.labels, ready.organs)
    rows = organ_statistics(
        image,
        labels,
        ready.organs,
        whole=found.whole,
        evidence=found.evidence,
        threads=ready.runtime.threads,
    )
    clock.notify("statistics", 1.0)
    return Segmentation(
        labels,
        rows,
        clock.timings,
        _provenance(ready, settings),
        (*notes, *ready.runtime.notes, *_unused(ready, settings), *found.notes, *_doubts(rows)),
        lesions,
        _kept(found),
    )


def _kept(found: Labelled) -> ClassScores | None:
    """Return the scores of a run that was to keep them."""
    from flare_core.segment.belief import kept_scores

    return kept_scores(found.mean) if found.folds else None


def _unused(ready: _Ready, settings: Settings) -> tuple[str, ...]:
    """Return what of the settings means nothing to this model."""
    labels = {label for stage in ready.package.card.stages for label in stage.labels}
    if settings.lesion_sensitivity is None:
        return ()
    if LESION.key not in labels:
        return (NO_LESIONS,)
    return () if LESION in ready.organs else (NOT_ASKED,)


def _checked(image: Volume, settings: Settings) -> tuple[str, ...]:
    """Return what is unusual about a scan; where it is refused, say what settings could do."""
    try:
        notes = check_ct(image, assume_hu=settings.assume_hu)
    except NotHU as error:
        argument, came, legal, action = error.parts
        raise InputError(argument, came, legal, action + SAY_HU) from error
    small = too_small(image.geometry)
    return (*notes, small) if small else notes


SAY_HU = (
    " If they are HU all the same, say so: --assume-hu (in Python Settings(assume_hu=True),"
    " in Slicer Settings > Values)."
)

NOT_ASKED = "Lesions are not among the organs asked for: the sensitivity changes nothing."

NO_LESIONS = "The model marks no lesions: the sensitivity for them changes nothing."

_PREPARED: list[tuple[Settings, _Ready]] = []
"""The model that `preload` got ready for the next run; that run takes it away."""


def preload(settings: Settings) -> None:
    """Read the model into memory and verify it for the next run with these settings."""
    settings.check()
    _PREPARED[:] = [(settings, _prepare(settings))]


def _ready_for(settings: Settings) -> _Ready:
    """Return the model that `preload` has just prepared for such a run, or prepare it."""
    held, _PREPARED[:] = list(_PREPARED), []
    return next((ready for known, ready in held if known == settings), None) or _prepare(settings)


def _wanted_labels(
    image: Volume, ready: _Ready, settings: Settings, clock: RunClock, *, keep_scores: bool
) -> Labelled:
    """Return what the model says, if anything that is wanted is in it."""
    from flare_core.segment.cascade import Plan, nothing_found

    clock.begin((*ready.stages.stage_names, "statistics"))
    tile_step = FAST_STEP if settings.fast else None
    plan = Plan(
        ready.organs,
        tile_step,
        settings.lesion_sensitivity,
        looks_again=not settings.fast,
        keep_mean=keep_scores,
    )
    found = label_ct(image, ready.stages, plan, clock.notify)
    clock.mark("clean-up")
    if ready.stages.organs is not None:  # no lesion in the whole body is an answer
        there = organ_boxes(found.labels.array)
        if not any(target.id in there for target in ready.organs):
            raise nothing_found(ready.organs, image.geometry)
    return found


def label_ct(image: Volume, stages: Stages, plan: Plan, notify: Notify) -> Labelled:
    """Return what a model's stages say about one scan, cleaned, on its own grid.

    All that the model knows is there, wanted or not: sides are told from liver, spleen and vessels,
    and a lesion's organ from all organs.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        Any axis order.
    stages : Stages
        From `cascade.load_stages`.
    plan : Plan
    notify : callable
        Told (stage, share done); may raise to stop.

    Raises
    ------
    NothingFound
        If no abdominal organ is in the scan.
    """
    from flare_core.segment.cascade import run_cascade

    canonical, axis_map = image.canonical()
    found = run_cascade(canonical, stages, plan, notify)
    labels, whole, pieces, notes = _cleaned(found, stages, canonical)

    def own_axes(volume: Volume) -> Volume:
        return Volume(np.ascontiguousarray(axis_map.undo(volume.array)), image.geometry)

    same = whole is labels
    rest = (pieces, found.lesion_probability, found.evidence, found.folds, notes)
    del found  # a label map of a long scan is hundreds of MiB
    back = own_axes(labels)
    del labels
    return Labelled(back, back if same else own_axes(whole), *rest)


def _cleaned(
    found: Found, stages: Stages, image: Volume
) -> tuple[Volume, Volume, tuple[Piece, ...] | None, tuple[str, ...]]:
    """Return labels with lesions on top, whole organs, the lesions, and notes."""
    threads = next(s.runtime.threads for s in (stages.organs, stages.lesions) if s is not None)
    if found.lesions is None:
        labels, notes = clean_up(found.organs, ALL_TARGETS, image=image, threads=threads)
        return labels, labels, None, notes
    told: list[str] = []

    def clean(organs: Volume) -> Volume:
        labels, notes = clean_up(organs, ALL_TARGETS, image=image, threads=threads)
        told.extend(notes)
        return labels

    least_ml = stages.lesions.card.least_ml if stages.lesions is not None else 0.0
    labels, pieces = place_lesions(found.organs, found.lesions, least_ml, clean)
    return labels, whole_organs(labels, pieces) if pieces else labels, pieces, tuple(told)


def _doubts(rows: tuple[StatisticsRow, ...]) -> tuple[str, ...]:
    """Return a note that names the organs that are probably wrong."""
    names = [organ(row.organ).name.lower() for row in rows if row.note == PROBABLY_WRONG]
    return (f"Probably wrong, to be looked at first: {', '.join(names)}.",) if names else ()


def _only(labels: Volume, organs: tuple[Organ, ...]) -> Volume:
    """Return the labels of `organs`; the others become 0. Without others they are not copied."""
    if set(organ_boxes(labels.array)).issubset(target.id for target in organs):
        return labels
    table = np.zeros(256, np.uint8)
    for target in organs:
        table[target.id] = target.id
    return labels.with_array(table[labels.array])


def _image_of(volume_or_path: Volume | str | os.PathLike[str]) -> Volume:
    if isinstance(volume_or_path, Volume):
        return volume_or_path
    if isinstance(volume_or_path, (str, os.PathLike)):
        return read_volume(Path(volume_or_path))
    raise InputError(
        "volume_or_path",
        f"an object of type {type(volume_or_path).__name__}",
        "a Volume, or the path of a scan",
        "Pass an array with its place: Volume(array, Geometry(array.shape, spacing_mm, origin_mm,"
        " direction)), all in the order z, y, x but the LPS origin; write an image of SimpleITK to"
        " a file (sitk.WriteImage) and pass its path.",
    )


def _checked_settings(settings: Settings | None) -> Settings:
    """Return the choices of a run, every one of them legal."""
    if settings is not None and not isinstance(settings, Settings):
        raise InputError(
            "settings",
            f"an object of type {type(settings).__name__}",
            "a Settings object, or nothing",
            'Write Settings(organs=("liver",)); Settings.from_dict takes a dict.',
        )
    settings = settings or Settings()
    settings.check()
    return settings


def _prepare(settings: Settings) -> _Ready:
    """Return the verified model, its stages in memory and what is wanted of it.

    Raises
    ------
    InputError
        If the model or a setting cannot be used, or the model does not know an organ.
    """
    from flare_core.segment.runtime import choose_runtime, load_torch

    torch = load_torch()
    from flare_core.segment.cascade import load_stages

    runtime = choose_runtime(settings.device, settings.precision, settings.threads)
    torch.set_num_threads(runtime.threads)
    package = load_package(settings.model, home=open_home(settings.home))
    card = package.card
    if card.stage("organs") is None and card.stage("lesions") is None:
        raise InputError(
            f"model {card.name}",
            f"the stages {', '.join(stage.name for stage in card.stages)}",
            "a model with a stage called organs, or one called lesions for the whole body",
            "Choose another model.",
        )
    wanted = _wanted(settings, card)
    return _Ready(
        package, load_stages(package, runtime, wanted, localise=settings.cascade), runtime, wanted
    )


def _wanted(settings: Settings, card: ModelCard) -> tuple[Organ, ...]:
    """Return what to look for: everything the model knows, or what was asked for.

    Raises
    ------
    InputError
        If something else was asked for.
    """
    from flare_core.segment.cascade import further_organ_stages

    stages = [stage for stage in card.stages if stage.name == "organs"]
    stages += [*further_organ_stages(card), *card.lesion_stages]
    known = {organ(key).key for stage in stages for _, key in stage.organ_channels}
    asked = ALL_TARGETS if settings.organs is None else parse_organs(settings.organs)
    if asked == ALL_TARGETS:  # lesions only if the model has them
        return tuple(target for target in asked if target.key in known)
    strange = [target.key for target in asked if target.key not in known]
    if strange:
        raise InputError(
            "organs",
            ", ".join(strange),
            f"what model {card.name} knows: {', '.join(sorted(known))}",
            "Leave these out, or choose another model.",
        )
    return asked


def _provenance(ready: _Ready, settings: Settings) -> dict[str, Any]:
    """Return what a later reader needs to know where the labels came from."""
    import torch

    from flare_core import __version__

    return {
        "model": ready.package.card.name,
        "model_version": ready.package.card.version,
        "model_sha256": ready.package.fingerprint,
        "flareseg_version": __version__,
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
        "platform": platform.platform(terse=True),
        "settings": {k: v for k, v in settings.to_dict().items() if k != "home"},
        "organs": [target.key for target in ready.organs],
        "device": ready.runtime.device,
        "precision": ready.runtime.precision,
        "threads": ready.runtime.threads,
        "use": "For research use; not a medical device.",
    }
