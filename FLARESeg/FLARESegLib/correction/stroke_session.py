"""Strokes on one organ of one result: what they start from, what they make, back into the scene.

start_steps (before the first stroke) -> edits of the scratch segmentation, read as strokes ->
parts of CT, labels and strokes as files (a thread) -> the worker's ``correct`` -> the segments
(`stroke_segments`).
Taking strokes back is the same with fewer strokes. Qt's thread copies and draws, nothing else.

Invariant: one request at a time, always with the newest strokes; answers to older ones are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import slicer
from flare_core.anatomy.organs import LESION, ORGANS, Organ, organ
from flare_core.imaging.geometry import Box, Geometry
from flare_core.segment.stroke_history import StrokeHistory
from FLARESegLib.correction import scribbles
from FLARESegLib.correction.stroke_segments import Start, StrokeSegments, start_steps
from FLARESegLib.qt.background import hand_on, in_background
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.run import temporary_folder
from FLARESegLib.run.exchange import read_raw_labels, write_raw
from FLARESegLib.run.facts import SCAN
from FLARESegLib.run.failures import error_of
from FLARESegLib.run.workplace import Workplace
from FLARESegLib.scene.results import result_facts
from FLARESegLib.scene.volumes import node_geometry, voxels

REACH_MM = 70.0
"""Around the strokes: all that `correct_by_strokes` looks at for a large organ."""

QUIET_S = 0.15
"""A stroke is over when nothing was drawn for so long."""

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Part:
    """What the worker needs, copied out of the scene."""

    box: Box
    """Which part of the CT."""
    geometry: Geometry
    """Its grid."""
    image: npt.NDArray[np.generic]
    """HU."""
    labels: Labels
    """Organ ids before the first stroke."""
    strokes: Labels
    """1 belongs, 2 does not."""


class StrokeSession:
    """Corrects one organ until it is closed.

    Parameters
    ----------
    place : Workplace
        Its worker solves.
    segmentation, volume : MRML nodes
        The result, and its CT.
    target : Organ
        The organ that strokes are about.
    protected : callable
        Returns the keys of the organs that must lose no voxel, now.
    """

    def __init__(
        self, place: Workplace, segmentation: Any, volume: Any, target: Organ,
        protected: Callable[[], tuple[str, ...]],
    ) -> None:  # fmt: skip
        self.changed = Signal()
        """Called when there are other strokes, the organ was solved, or something failed."""
        self.organ = target
        self.history = StrokeHistory()
        self.problem: Exception | None = None
        """Why the last strokes changed nothing."""
        self.busy = False
        """Whether strokes are being solved."""
        self.with_scores: bool | None = None
        """Whether the last strokes were followed with the network's scores; None: not known."""
        self.scratch: Any = None
        self._place, self._protected = place, protected
        self._segmentation, self._volume = segmentation, volume
        self._segments: StrokeSegments | None = None  # None: somebody has changed them
        self._edits = 0
        self._wanted, self._solved = StrokeHistory(), StrokeHistory()
        self._folder: Path | None = None
        self._stop = threading.Event()
        self._observed: list[tuple[Any, int]] = []
        self._quiet = False  # our own changes are no edits

    def open(self, names: dict[str, str], then: Callable[[], None]) -> None:
        """Read the labels in short steps, make the scratch segmentation, call `then`."""

        def opened(start: Start) -> None:
            self._segments = self._from(start)
            self.scratch = scribbles.make_scribbles(self._volume, names)
            self._observe(self.scratch, self._drawn)
            self._observe(self._segmentation, self._edited)
            then()

        self._read_labels(opened)

    def close(self) -> None:
        """Remove the scratch segmentation and the files; what was solved stays."""
        self._stop.set()
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []
        scratch, self.scratch = self.scratch, None
        scribbles.remove_scribbles(scratch)
        segments, self._segments = self._segments, None
        if segments is not None:
            segments.tidy()
        folder, self._folder = self._folder, None
        if folder is not None:
            temporary_folder.remove_folder(folder, self._place.loop)

    def undo(self) -> None:
        """Take the last stroke back."""
        self._show(self.history.undo())

    def solve_again(self) -> None:
        """Follow the strokes once more: the network's scores are there now."""
        if self._alive() and self.history.strokes:
            self._wanted = replace(self.history)
            self._solve()
            self.changed.emit()

    def redo(self) -> None:
        """Bring the stroke back that was taken back last."""
        self._show(self.history.redo())

    # Edits.

    def _observe(self, node: Any, listener: Callable[..., None]) -> None:
        source = node.GetSegmentation()
        event = slicer.vtkSegmentation.SourceRepresentationModified
        self._observed.append((source, source.AddObserver(event, listener)))

    def _drawn(self, *_: Any) -> None:
        """Look at the strokes once nothing more is drawn."""
        if self._quiet:
            return
        self._edits += 1
        edits = self._edits
        self._place.loop.call_later(QUIET_S, lambda: edits == self._edits and self._read())

    def _edited(self, *_: Any) -> None:
        """Somebody has changed the result itself: strokes start anew from what there is now."""
        if self._quiet or self._stop.is_set():
            return
        self.history = self._wanted = self._solved = StrokeHistory()
        self._segments = None
        self._with_quiet(lambda: scribbles.show_strokes(self.scratch, self._volume, self.history))
        self.changed.emit()

    def _read(self) -> None:
        if self._alive():
            belongs, outside = scribbles.drawn(self.scratch, self._volume)
            shape = node_geometry(self._volume).shape
            new = scribbles.with_drawn(self.history, self.organ.id, belongs, outside, shape)
            if new is not self.history:
                self._take(new)

    def _show(self, history: StrokeHistory) -> None:
        """Show and solve another history."""
        if history is self.history or not self._alive():
            return
        self._with_quiet(lambda: scribbles.show_strokes(self.scratch, self._volume, history))
        self._take(history)

    def _take(self, history: StrokeHistory) -> None:
        self.history = self._wanted = history
        self.problem = None
        self._solve()
        self.changed.emit()

    # Solving.

    def _solve(self) -> None:
        """Have the wanted strokes solved, if nothing is being solved."""
        if self.busy or not self._alive() or self._wanted is self._solved:
            return
        if self._segments is None:
            self._read_start()
            return
        history = self._wanted
        if not history.strokes:
            self._apply(history, self._segments.restore)
            return
        self.busy = True
        part = self._part(history)
        in_background(
            self._place.loop,
            lambda: self._write(part),
            lambda writing: self._written(history, part, writing),
        )

    def _read_start(self) -> None:
        """Read the labels again, which somebody has changed by hand."""
        self.busy = True

        def read(start: Start) -> None:
            self.busy = False
            self._segments = self._from(start)
            self._solve()

        self._read_labels(read)

    def _read_labels(self, then: Callable[[Start], None]) -> None:
        """Read the segments in short steps; call `then` with them."""
        walk(
            self._place.loop,
            start_steps(self._segmentation, self._volume),
            lambda reading: hand_on(reading, then, self._fail),
            lambda: not self._stop.is_set(),
        )

    def _from(self, start: Start) -> StrokeSegments:
        return StrokeSegments(self._segmentation, self._volume, start)

    def _part(self, history: StrokeHistory) -> Part:
        """Copy what the worker needs."""
        assert self._segments is not None
        geometry = node_geometry(self._volume)
        places = np.concatenate([stroke.voxels for stroke in history.strokes])
        low, high = places.min(axis=0), places.max(axis=0) + 1
        margin = [int(np.ceil(REACH_MM / s)) for s in geometry.spacing_mm]
        marked = Box(tuple(map(int, low)), tuple(map(int, high)))
        if self.organ == LESION:  # it may go as a whole
            marked = marked.union(self._segments.lesions_at(places))
        box = marked.grow((margin[0], margin[1], margin[2]), geometry.shape)
        strokes = np.zeros(box.shape, np.uint8)
        for stroke in history.strokes:
            strokes[tuple((stroke.voxels - box.start).T)] = 1 if stroke.belongs else 2
        image = voxels(self._volume)[box.slices].copy()
        labels = self._segments.start.labels[box.slices].copy()
        return Part(box, geometry.crop(box), image, labels, strokes)

    def _write(self, part: Part) -> None:
        """Write the files; in a thread."""
        if self._folder is None:
            self._folder = temporary_folder.make_folder(self._place.temporary)
        for name in ("image", "labels", "strokes"):
            path = self._folder / f"{name}.nrrd"
            write_raw(path, getattr(part, name), part.geometry, self._stop)

    def _written(self, history: StrokeHistory, part: Part, writing: Future[None]) -> None:
        if self._alive():
            hand_on(writing, lambda _: self._ask(history, part), self._fail)

    def _ask(self, history: StrokeHistory, part: Part) -> None:
        assert self._folder is not None
        names = ("image", "labels", "strokes", "output")
        request: dict[str, Any] = {name: str(self._folder / f"{name}.nrrd") for name in names}
        keys = [key for key in self._protected() if key != self.organ.key]
        request |= {"command": "correct", "organ": self.organ.key, "protected": keys}
        scan = result_facts(self._segmentation).get(SCAN)
        if scan:
            request["scan"] = scan
        self._place.worker.request(request, lambda answer: self._hear(history, part, answer))

    def _hear(self, history: StrokeHistory, part: Part, answer: dict[str, Any]) -> None:
        if not self._alive() or answer["event"] == "progress":
            return
        if answer["event"] != "corrected":
            self._fail(error_of(answer) if answer["event"] == "error" else None)
            return
        self.with_scores = bool(answer["with_scores"])
        in_background(
            self._place.loop,
            lambda: read_raw_labels(Path(answer["file"]), part.box.shape),
            lambda reading: self._arrived(history, part, reading),
        )

    def _arrived(self, history: StrokeHistory, part: Part, reading: Future[Labels]) -> None:
        self.busy = False
        if not self._alive():
            return
        if history is self._wanted:
            segments = self._segments
            assert segments is not None
            hand_on(
                reading,
                lambda new: self._apply(history, lambda: segments.write(new, part.box)),
                self._fail,
            )
        else:
            self._solve()

    def _apply(self, history: StrokeHistory, write: Callable[[], None]) -> None:
        """Bring what strokes made into the scene."""
        self._with_quiet(write)
        self._solved = history
        self.changed.emit()

    def _fail(self, error: Exception | None) -> None:
        self.busy = False
        self.problem = error
        self._solved = self._wanted
        self.changed.emit()

    def _alive(self) -> bool:
        """Whether it is open, and its nodes are in the scene."""
        nodes = (self._segmentation, self._volume, self.scratch)
        return not self._stop.is_set() and all(n is not None and n.GetScene() for n in nodes)

    def _with_quiet(self, work: Callable[[], None]) -> None:
        """Do what is no edit of a person."""
        self._quiet = True
        try:
            work()
        finally:
            self._quiet = False


def stroke_target(key: str) -> Organ | None:
    """Return what strokes can be about: an organ, or lesions; None for anything else."""
    return organ(key) if key in {target.key for target in (*ORGANS, LESION)} else None
