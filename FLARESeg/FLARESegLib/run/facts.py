"""What goes into a run, what is told of it, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.run.worker_process import WorkerProcess

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flare_core.imaging.volume import Volume

Steps = Generator[float, None, Any]
"""Work in short steps: yields the share done, returns what it made."""

SCAN = "scan"
"""Fact of a result: the path that the worker read the CT from; its scores are known by it."""

APPLIES_FROM = 0.6
"""Share of `results.import_steps` from which a segmentation that was there before is changed; a run
that updates one can be cancelled before, not after."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is."""

    stage: str
    """A state of the run (``starting``, ``exporting``, ``importing``, ``stopping`` ...) or the
    worker's own stage."""
    fraction: float
    """Part of the whole run that is done, 0 to 1."""
    seconds_left: float | None = None
    """The worker's guess; None while it has none."""
    message: str = ""
    """More words, if there are any."""


@dataclass(frozen=True)
class RunResult:
    """What came of a run, beside the segmentation node."""

    rows: tuple[dict[str, Any], ...]
    """Statistics: organ, measure, value (None if undefined), unit, code, note."""
    notes: tuple[str, ...]
    """What a person should know about this scan."""
    provenance: dict[str, Any]
    """Model, version, hash, settings, device."""
    timings_s: dict[str, float]
    """Seconds per step; `export` and `import` are this module's, the rest is the worker's."""
    lesions: tuple[dict[str, Any], ...] | None = None
    """Every lesion from head to foot (`Lesion.to_dict`); None if nobody looked for any."""


@dataclass(frozen=True)
class SceneCode:
    """The functions that touch the scene; loading them takes a moment, so a thread does it."""

    copy: Callable[[Any], Generator[float, None, Volume]]
    """Copies a volume node's voxels."""
    show: Callable[[Any, npt.NDArray[np.uint8]], Steps]
    """Puts the labels of a `run.Run` into the scene and returns the segmentation node."""


@dataclass(frozen=True)
class Tools:
    """What a run works with."""

    worker: WorkerProcess
    """Segments."""
    loop: EventLoop
    """Calls later."""
    parent_folder: Path
    """The folder in which a temporary one is made."""
    load_scene_code: Callable[[], SceneCode]
    """Imports what touches the scene; called in a thread."""
    on: dict[str, Any] | None = None
    """Which server computes, as the worker's request says it; None: this computer."""
