"""START HERE: a CT in, labels and numbers out. Each step once, in order.

read and check -> canonical axes -> cascade (localise, organs, lesions) -> clean-up
-> back to the scan's own axes -> statistics

Invariant: the labels come back on exactly the grid that came in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, ORGANS, Organ, parse_organs
from flare_core.errors import Cancelled
from flare_core.imaging.checks import check_ct
from flare_core.imaging.files import read_volume
from flare_core.imaging.geometry import AxisMap
from flare_core.imaging.volume import Volume
from flare_core.segment.postprocess import clean_up
from flare_core.segment.statistics import StatisticsRow, organ_statistics
from flare_core.store.home import open_home
from flare_core.store.package import Package, load_package

SHARES = {"localise": 0.12, "organs": 0.55, "lesions": 0.0, "labels": 0.15, "statistics": 0.18}
"""Share of each step in a run, for the progress fraction; measured on 512 x 512 x 109 voxels."""

FAST_STEP = 1.0
"""Tile step with ``fast``: tiles side by side, without overlap."""


@dataclass(frozen=True)
class Settings:
    """What a person may choose. The defaults are right for a clinic's computer."""

    model: str = "default"
    """Name of a model, ``name@version``, or a package folder."""
    organs: tuple[str, ...] | None = None
    """Organ keys wanted; None is all."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    threads: int = 0
    """CPU threads; 0 is all this process may use."""
    fast: bool = False
    """Quicker and a little less exact."""
    cascade: bool = True
    """False: the organ stage looks at the whole body, without the localiser."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``fp16``."""
    home: str | None = None
    """Folder of installed models; None is ~/.flareseg."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    stage: str
    """Step that runs."""
    fraction: float
    """Share of the whole run that is done, 0 to 1."""
    seconds_left: float | None
    """Estimated; None at the start."""
    message: str = ""
    """More words, if there are any."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The one return type of a run."""

    labels: Volume
    """Organ ids, uint8, on the scan's own grid."""
    rows: tuple[StatisticsRow, ...]
    """Numbers per organ."""
    timings: dict[str, float]
    """Step -> seconds."""
    provenance: dict[str, Any]
    """Model, version, hash, settings, device."""
    notes: tuple[str, ...] = ()
    """What a person should know about this scan."""


@dataclass
class _Run:
    """Who is told about the progress of one run, and its clock."""

    tell: Callable[[Progress], None] | None
    cancelled: Callable[[], bool] | None
    started: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)

    def notify(self, stage: str, share: float) -> None:
        """Report a share of a step; raise if the caller wants to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The run was cancelled; nothing was written.")
        if self.tell is None:
            return
        names = list(SHARES)
        before = sum(SHARES[n] for n in names[: names.index(stage)])
        fraction = min(1.0, before + SHARES[stage] * share)
        elapsed = time.perf_counter() - self.started
        left = elapsed * (1 - fraction) / fraction if fraction > 0.02 else None
        self.tell(Progress(stage, fraction, left))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to the timings."""
        start = time.perf_counter()
        yield
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start


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
    progress : callable, optional
        Told a `Progress` many times a second, in the calling thread.
    cancelled : callable, optional
        Asked between tiles, several times a second; returning True stops the run.

    Returns
    -------
    Segmentation
        Labels on exactly the grid that came in.

    Raises
    ------
    InputError
        If the scan, the model or a setting cannot be used.
    NothingFound
        If no abdominal organ is in the scan.
    Cancelled
        If `cancelled` returned True.
    """
    settings = settings or Settings()
    run = _Run(progress, cancelled)
    run.notify("localise", 0.0)
    with run.timed("load image"):
        image = _image_of(volume_or_path)
        notes = check_ct(image)
    with run.timed("load model"):
        package, stages, runtime = _stages_of(settings)
    organs = _wanted(settings)
    labels, more = _labels(image, stages, organs, settings, run)
    run.notify("statistics", 0.0)
    with run.timed("statistics"):
        rows = organ_statistics(image, labels, organs)
    run.notify("statistics", 1.0)
    provenance = _provenance(package, settings, runtime)
    return Segmentation(labels, rows, run.timings, provenance, (*notes, *more))


def preload(settings: Settings) -> None:
    """Read the model into memory, so that the next run starts at once."""
    _stages_of(settings)


def _labels(
    image: Volume, stages: Any, organs: tuple[Organ, ...], settings: Settings, run: _Run
) -> tuple[Volume, tuple[str, ...]]:
    """Return the wanted organs on the scan's own grid, cleaned, and notes."""
    from flare_core.segment.cascade import Plan, run_cascade

    canonical, axis_map = image.canonical()
    plan = Plan(organs, FAST_STEP if settings.fast else None)
    with run.timed("cascade"):
        found = run_cascade(canonical, stages, plan, run.notify)
    with run.timed("clean-up"):
        cleaned, notes = clean_up(found, ALL_TARGETS)
        kept = _only(cleaned, organs)
    return _back(kept, axis_map, image), notes


def _only(labels: Volume, organs: tuple[Organ, ...]) -> Volume:
    """Return the labels of the wanted organs (and lesions); the others become 0."""
    table = np.zeros(256, np.uint8)
    for target in organs:
        table[target.id] = target.id
    return labels.with_array(table[labels.array])


def _back(labels: Volume, axis_map: AxisMap, image: Volume) -> Volume:
    """Return canonical labels in the axis order of the scan."""
    return Volume(np.ascontiguousarray(axis_map.undo(labels.array)), image.geometry)


def _image_of(volume_or_path: Volume | str | os.PathLike[str]) -> Volume:
    if isinstance(volume_or_path, Volume):
        return volume_or_path
    return read_volume(Path(volume_or_path))


def _wanted(settings: Settings) -> tuple[Organ, ...]:
    return ORGANS if settings.organs is None else parse_organs(settings.organs)


def _stages_of(settings: Settings) -> tuple[Package, Any, Any]:
    """Return the verified model, its loaded stages and the runtime."""
    import torch

    from flare_core.segment.cascade import Stages
    from flare_core.segment.runtime import choose_runtime
    from flare_core.segment.stage import load_stage

    runtime = choose_runtime(settings.device, settings.precision, settings.threads)
    torch.set_num_threads(runtime.threads)
    package = load_package(settings.model, home=open_home(settings.home))
    localiser = load_stage(package, "localiser", runtime) if settings.cascade else None
    organs = load_stage(package, "organs", runtime)
    assert organs is not None  # every package this version can run has it; checked on install
    return package, Stages(localiser, organs, load_stage(package, "lesions", runtime)), runtime


def _provenance(package: Package, settings: Settings, runtime: Any) -> dict[str, Any]:
    """Return what a later reader needs to know where the labels came from."""
    import torch

    from flare_core import __version__

    return {
        "model": package.card.name,
        "model_version": package.card.version,
        "model_sha256": package.fingerprint,
        "flareseg_version": __version__,
        "torch_version": torch.__version__,
        "settings": {k: v for k, v in vars(settings).items() if k != "home"},
        "device": runtime.device,
        "precision": runtime.precision,
        "threads": runtime.threads,
        "use": "For research use; not a medical device.",
    }
