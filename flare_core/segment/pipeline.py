"""START HERE: a CT in, labels and numbers out. Each step once, in order.

read and check -> canonical axes -> cascade (localise, organs, lesions) -> clean-up, lesions placed
-> back to the scan's own axes -> statistics, confidence, list of lesions

Invariant: the labels come back on exactly the grid that came in. `label_ct` is all of it but the
numbers; self-training uses it too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, Organ, organ, parse_organs
from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.imaging.checks import check_ct
from flare_core.imaging.files import read_volume
from flare_core.imaging.volume import Volume
from flare_core.models.card import ModelCard, StageCard
from flare_core.models.package import Package, load_package
from flare_core.segment.postprocess import clean_up
from flare_core.segment.progress import Progress, RunClock
from flare_core.segment.settings import Settings
from flare_core.segment.statistics import StatisticsRow, organ_statistics

if TYPE_CHECKING:  # they import torch
    from flare_core.segment.cascade import Stages
    from flare_core.segment.runtime import Runtime

__all__ = ["Progress", "Segmentation", "preload", "segment_ct"]

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
        Asked between tiles and steps; returning True stops the run.

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
    settings = settings or Settings()
    settings.check()
    clock = RunClock(progress, cancelled)
    clock.announce("load image")
    image = _image_of(volume_or_path)
    notes = check_ct(image, assume_hu=settings.assume_hu)
    clock.mark("load image")
    clock.announce("load model")
    ready = _prepare(settings)
    clock.mark("load model")
    labels, more = _labels(image, ready, FAST_STEP if settings.fast else None, clock)
    clock.notify("statistics", 0.0)
    rows = organ_statistics(image, labels, ready.organs)
    clock.notify("statistics", 1.0)
    return Segmentation(labels, rows, clock.timings, _provenance(ready, settings), (*notes, *more))


def preload(settings: Settings) -> None:
    """Read the model into memory, so that the next run starts at once."""
    settings.check()
    _prepare(settings)


def _labels(
    image: Volume, ready: _Ready, step: float | None, clock: RunClock
) -> tuple[Volume, tuple[str, ...]]:
    """Return the wanted organs on the scan's own grid, cleaned, and notes."""
    from flare_core.segment.cascade import Plan, nothing_found, run_cascade

    clock.begin((*ready.stages.steps, "statistics"))
    canonical, axis_map = image.canonical()
    # All of them are cleaned, wanted or not: sides are told from liver, spleen and vessels.
    cleaned, notes = clean_up(
        run_cascade(canonical, ready.stages, Plan(ready.organs, step), clock.notify), ALL_TARGETS
    )
    kept = _only(cleaned, ready.organs)
    clock.mark("clean-up")
    if not kept.array.any() and ready.stages.organs is not None:  # no lesion is an answer
        raise nothing_found(ready.organs)
    own_axes = np.ascontiguousarray(axis_map.undo(kept.array))
    return Volume(own_axes, image.geometry), notes


def _only(labels: Volume, organs: tuple[Organ, ...]) -> Volume:
    """Return the labels of `organs`; the others become 0."""
    table = np.zeros(256, np.uint8)
    for target in organs:
        table[target.id] = target.id
    return labels.with_array(table[labels.array])


def _image_of(volume_or_path: Volume | str | os.PathLike[str]) -> Volume:
    if isinstance(volume_or_path, Volume):
        return volume_or_path
    return read_volume(Path(volume_or_path))


def _prepare(settings: Settings) -> _Ready:
    """Return the verified model, its stages in memory and what is wanted of it.

    Raises
    ------
    InputError
        If the model or a setting cannot be used, or the model does not know an organ.
    """
    from flare_core.segment.runtime import choose_runtime, load_torch

    torch = load_torch()
    from flare_core.segment.cascade import Stages
    from flare_core.segment.stage import load_stage

    runtime = choose_runtime(settings.device, settings.precision, settings.threads)
    torch.set_num_threads(runtime.threads)
    package = load_package(settings.model, home=open_home(settings.home))
    organs = load_stage(package, "organs", runtime)
    if organs is None and package.card.stage("lesions") is None:
        raise InputError(
            f"model {package.card.name}",
            f"the stages {', '.join(stage.name for stage in package.card.stages)}",
            "a model with a stage called organs, or one called lesions for the whole body",
            "Choose another model.",
        )
    wanted = _wanted(settings, package.card)
    parts = [
        load_stage(package, stage.name, runtime)
        for stage in further_organ_stages(package.card)
        if any(target.key == key for target in wanted for _, key in stage.organ_channels)
    ]
    with_lesions = any(target.key == "lesion" for target in wanted)
    with_localiser = settings.cascade and organs is not None
    localiser = load_stage(package, "localiser", runtime) if with_localiser else None
    lesions = load_stage(package, "lesions", runtime) if with_lesions else None
    stages = Stages(localiser, organs, lesions, tuple(part for part in parts if part is not None))
    return _Ready(package, stages, runtime, wanted)


def further_organ_stages(card: ModelCard) -> tuple[StageCard, ...]:
    """Return the stages ``organs_2``, ``organs_3`` ..., in the card's order."""
    return tuple(stage for stage in card.stages if stage.name.startswith("organs_"))


def _wanted(settings: Settings, card: ModelCard) -> tuple[Organ, ...]:
    """Return what to look for: everything the model knows, or what was asked for.

    Raises
    ------
    InputError
        If something else was asked for.
    """
    stages = [stage for stage in card.stages if stage.name in ("organs", "lesions")]
    stages += further_organ_stages(card)
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
