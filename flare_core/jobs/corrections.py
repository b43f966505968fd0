"""A worker's command ``correct``: labels and strokes in, corrected labels out.

The labels are those before the first stroke, and all strokes of the organ come every time: which of
them count is the program's business (`segment.stroke_history`). Scores of the last run stay here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.organs import Organ, organ, parse_organs
from flare_core.errors import InputError
from flare_core.jobs import engine as engines
from flare_core.jobs.one_case import Caller
from flare_core.paths import usable_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flare_core.imaging.volume import Volume
    from flare_core.jobs.engine import Engine, IsCancelled
    from flare_core.segment.belief import ClassScores
    from flare_core.segment.settings import Settings
    from flare_core.segment.stroke_history import StrokeHistory

BELONGS, OUTSIDE = 1, 2
"""Values of a file of strokes."""


@dataclass(frozen=True)
class Correction:
    """What is to be corrected."""

    image: Path
    """The scan, or the part of it around the strokes."""
    labels: Path
    """Organ ids before the first stroke, on the image's grid."""
    strokes: Path
    """`BELONGS`, `OUTSIDE` or 0, on the image's grid."""
    organ: Organ
    """Which organ the strokes are about."""
    output: Path
    """Where the corrected labels go."""
    protected: tuple[Organ, ...] = ()
    """Organs that lose no voxel to another."""
    scan: Path | None = None
    """Path that the scan was segmented from; None: `image`."""
    recompute: bool = False
    """Whether scores that are gone are worked out anew from `scan`."""


class LastScores:
    """The scores of the last run, and of no other: they are large."""

    def __init__(self) -> None:
        self._kept: tuple[str, ClassScores | None] = ("", None)  # in one: threads read and write

    def remember(self, scan: Path, scores: ClassScores | None) -> None:
        """Keep a run's scores instead of those of the run before."""
        self._kept = realpath(scan), scores

    def of(self, scan: Path) -> ClassScores | None:
        """Return the scores of the scan at a path, which need not be there any more."""
        path, scores = self._kept
        return scores if realpath(scan) == path else None


def correction_of(request: Mapping[str, Any]) -> Correction:
    """Return what a request asks for.

    Raises
    ------
    InputError
        If an organ is unknown, a path cannot be one, or an input would be written over.
    """
    paths = {}
    for name in ("image", "labels", "strokes", "output", "scan"):
        if name in request:
            usable_path(request[name], name)
            paths[name] = Path(request[name])
    inputs = {realpath(path) for name, path in paths.items() if name != "output"}
    if realpath(paths["output"]) in inputs:
        raise InputError(
            "output", str(paths["output"]), "a file that is no input", "Choose another output."
        )
    return Correction(
        paths["image"],
        paths["labels"],
        paths["strokes"],
        organ(request["organ"]),
        paths["output"],
        parse_organs(protected) if (protected := tuple(request.get("protected", ()))) else (),
        paths.get("scan"),
        bool(request.get("recompute", False)),
    )


def correct(
    job: Correction,
    settings: Settings,
    engine: Engine,
    last: LastScores,
    cancelled: IsCancelled,
    commit: Callable[[], None],
) -> dict[str, Any]:
    """Correct one organ, write the labels; return what a program is told.

    Raises
    ------
    InputError
        If a file cannot be read or written, grids differ, or nothing is marked.
    Cancelled
        If the program no longer wants it.
    """
    from flare_core.imaging.files import read_labels, read_volume, write_volume
    from flare_core.segment.stroke_history import corrected_labels

    start = time.perf_counter()
    image, labels, strokes = (
        read_volume(job.image),
        read_labels(job.labels),
        read_labels(job.strokes),
    )
    for name, each in (("labels", labels), ("strokes", strokes)):
        _check_grid(name, each, image)
    scores = _scores(job, settings, engine, last, cancelled)
    before = labels.array.astype("uint8", copy=False)
    history = _history(job.organ.id, strokes.array.astype("uint8", copy=False))
    protected = tuple(each.id for each in job.protected)
    new = corrected_labels(image, before, history, scores=scores, protected=protected)
    engines.stop_if(cancelled)
    commit()
    write_volume(job.output, labels.with_array(new), compressed=False)
    return {
        "file": str(job.output.absolute()),
        **_changes(before, new, job.organ.id),
        "with_scores": scores is not None and scores.belief(job.organ.id) is not None,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _scores(
    job: Correction, settings: Settings, engine: Engine, last: LastScores, cancelled: IsCancelled
) -> ClassScores | None:
    """Return the scores of the scan's run, worked out anew if that is asked for."""
    scan = job.scan or job.image
    scores = last.of(scan)
    if scores is None and job.recompute:
        scores = recomputed(scan, settings, engine, last, Caller(cancelled=cancelled))
    return scores


def recomputed(
    scan: Path, settings: Settings, engine: Engine, last: LastScores, caller: Caller
) -> ClassScores | None:
    """Run a scan again for its scores, and keep them; None if they are too large to keep.

    Raises
    ------
    InputError
        If the scan or a setting cannot be used.
    Cancelled
        If the caller no longer wants it.
    """
    loading = engines.in_background(lambda: engine.preload(settings))
    reading = engines.in_background(lambda: engine.read(scan, None))
    image = engines.wait_for(reading, caller.cancelled)
    engines.wait_for(loading, caller.cancelled)
    found = engine.segment(image, settings, caller.on_progress, caller.cancelled)
    engines.stop_if(caller.cancelled)
    last.remember(scan, found.scores)
    return found.scores


def _history(number: int, strokes: npt.NDArray[np.uint8]) -> StrokeHistory:
    from flare_core.segment.stroke_history import Stroke, StrokeHistory

    return (
        StrokeHistory()
        .draw(Stroke.of_mask(number, True, strokes == BELONGS))
        .draw(Stroke.of_mask(number, False, strokes == OUTSIDE))
    )


def _changes(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], number: int
) -> dict[str, Any]:
    """Return the box of what changed (null if nothing did), and how much the organ did."""
    from flare_core.imaging.geometry import Box

    box = Box.of_mask(before != after)
    return {
        "box": None if box is None else [list(box.start), list(box.stop)],
        "added": int(((after == number) & (before != number)).sum()),
        "removed": int(((before == number) & (after != number)).sum()),
    }


def _check_grid(name: str, labels: Volume, image: Volume) -> None:
    if not labels.geometry.same_grid(image.geometry, 0.01):
        raise InputError(
            name, f"a grid of {labels.geometry.shape} voxels elsewhere",
            f"the image's own grid, {image.geometry.shape} voxels",
            "Write image, labels and strokes from one grid.",
        )  # fmt: skip
