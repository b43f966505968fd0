"""Statistics of the result on the screen, and what was changed of it: after a run, and after edits.

Labels are taken out of the scene in short steps in Qt's thread; measuring happens in another one.
Nothing is done while a person is at work: only after a moment without an edit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import slicer
from flare_core.errors import FlareError
from FLARESegLib.correction.corrections import count_changes, kept_for, label_steps
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.scene.result_segments import BINARY
from FLARESegLib.scene.results import ABSENT, ASKED, result_facts
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids
from FLARESegLib.scene.volumes import copy_steps

if TYPE_CHECKING:
    from flare_core.anatomy.organs import Organ
    from flare_core.imaging.volume import Volume
    from flare_core.segment.lesion_list import Lesion
    from flare_core.segment.statistics import StatisticsRow
    from FLARESegLib.correction.corrections import OrganChange

QUIET_S = 1.5
"""How long nothing may be edited before it is measured again."""


ROUNDED = 0.01
"""Differences that come from the worker's rounding: mL and HU."""

SOON_S = 0.1
"""How soon names and rows follow an edit; many events come at once."""

State = tuple[tuple[str, str, int, int], ...]
"""Of each segment: its ID, which organ it is, its label value, when its voxels last changed; at the
end a line for each doubt (`Identified.doubts`)."""


@dataclass(frozen=True)
class Measured:
    """What is known of a segmentation."""

    rows: tuple[StatisticsRow, ...]
    """Statistics; empty for what cannot be measured."""
    changes: tuple[OrganChange, ...] | None
    """What a person changed; None where no model's output was kept."""
    problem: str = ""
    """Why it cannot be measured, in words; empty if it was."""
    lesions: tuple[Lesion, ...] = ()
    """The lesions, from head to foot."""


class ResultMeasures:
    """Watches one segmentation at a time."""

    def __init__(self, loop: EventLoop) -> None:
        self.measured = Signal()
        """Called with the segmentation node and what was `Measured`."""
        self.edited = Signal()
        """Called soon after segments were added, removed, renamed or drawn in."""
        self._loop = loop
        self._known: dict[str, tuple[State, Measured]] = {}
        self._segmentation: Any = None
        self._volume: Any = None
        self._observed: list[tuple[Any, int]] = []
        self._edits = 0
        self._telling = False

    def remember(
        self,
        segmentation: Any,
        rows: tuple[StatisticsRow, ...],
        lesions: tuple[Lesion, ...] = (),
    ) -> None:
        """Take the numbers of a run for those of its segmentation, which nobody has changed yet."""
        self._edits += 1  # the edits so far were the run's
        self._keep(segmentation, Measured(rows, (), lesions=lesions))

    def forget(self) -> None:
        """Forget all numbers: the scene is closed, and its IDs will be used again."""
        self.watch(None, None)
        self._known = {}

    def watch(self, segmentation: Any, volume: Any) -> None:
        """Tell the numbers of this segmentation, now and after each edit; None: of no one."""
        self._unobserve()
        self._edits += 1
        self._segmentation, self._volume = segmentation, volume
        if segmentation is None:
            return
        self._observe(segmentation)
        known = self._known_of(segmentation)
        if known is not None:
            self.measured.emit(segmentation, known)
        elif volume is not None and segmentation.GetSegmentation().GetNumberOfSegments():
            self._measure(self._edits)

    def _keep(self, segmentation: Any, measured: Measured) -> None:
        self._known[segmentation.GetID()] = (state_of(segmentation), measured)

    def _known_of(self, segmentation: Any) -> Measured | None:
        """Return the numbers of a segmentation if nothing that counts was changed since."""
        state, known = self._known.get(segmentation.GetID(), ((), None))
        return known if state == state_of(segmentation) else None

    def _observe(self, segmentation: Any) -> None:
        kind, source = slicer.vtkSegmentation, segmentation.GetSegmentation()
        events = (
            kind.SourceRepresentationModified,
            kind.SegmentAdded,
            kind.SegmentRemoved,
            kind.SegmentModified,  # a new name or code
        )
        changed = segmentation.SegmentationChangedEvent  # another time point is on display
        self._observed = [(source, source.AddObserver(event, self._edited)) for event in events]
        self._observed.append((segmentation, segmentation.AddObserver(changed, self._replaced)))

    def _unobserve(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _replaced(self, *_: Any) -> None:
        """Watch the segments that a node has got instead of others."""
        if self._segmentation is not None:
            self._unobserve()
            self._observe(self._segmentation)
            self._edited()

    def _edited(self, *_: Any) -> None:
        self._edits += 1
        edits = self._edits
        self._loop.call_later(QUIET_S, lambda: self._measure(edits))
        if not self._telling:
            self._telling = True
            self._loop.call_later(SOON_S, self._tell_edited)

    def _tell_edited(self) -> None:
        self._telling = False
        if self._segmentation is not None:
            self.edited.emit()

    def _measure(self, edits: int) -> None:
        """Measure, unless there was another edit since, one of the nodes is gone, or all is known.

        A segment is modified by its surface and its colour too.
        """
        node, volume = self._segmentation, self._volume
        gone = node is None or volume is None or not (node.GetScene() and volume.GetScene())
        if edits != self._edits or gone or self._known_of(node) is not None:
            return
        walk(
            self._loop,
            _read_steps(node, volume),
            lambda future: self._work(future, edits),
            lambda: edits == self._edits,
        )

    def _work(self, reading: Future[Callable[[], Measured]], edits: int) -> None:
        """Measure what was read in a thread."""
        try:
            work = reading.result()
        except FlareError as error:  # an organ twice, a transform that bends, no voxels ...
            self._tell(Measured((), None, str(error)), edits)
            return
        in_background(self._loop, work, lambda future: self._tell(future.result(), edits))

    def _tell(self, measured: Measured, edits: int) -> None:
        """Tell the numbers, if they are still those of what is on the screen."""
        if edits == self._edits and self._segmentation is not None:
            _, before = self._known.get(self._segmentation.GetID(), ((), None))
            if before is not None:
                rows = with_confidence(measured.rows, before.rows)
                measured = replace(measured, rows=rows)
            self._keep(self._segmentation, measured)
            self.measured.emit(self._segmentation, measured)


def _read_steps(segmentation: Any, volume: Any) -> Generator[float, None, Callable[[], Measured]]:
    """Take everything out of the scene that measuring needs; return the work for a thread."""
    labels = yield from label_steps(segmentation, volume)
    image = yield from copy_steps(volume)
    organs = measured_organs(segmentation)
    try:
        kept = kept_for(segmentation, labels.geometry.shape)
    except FlareError:
        return lambda: measure(image, labels, organs, None)
    return lambda: measure(image, labels, organs, kept.whole())


def measure(image: Volume, labels: Volume, organs: tuple[Organ, ...], kept: Any) -> Measured:
    """Measure organs, and compare with a kept label map; touches no node."""
    from flare_core.segment.lesion_list import list_lesions
    from flare_core.segment.statistics import organ_statistics

    rows = organ_statistics(image, labels, organs)
    lesions = list_lesions(image, labels)
    if kept is None:
        return Measured(rows, None, lesions=lesions)
    changes = count_changes(kept, labels.array, labels.geometry.voxel_ml)
    return Measured(rows, changes, lesions=lesions)


def with_confidence(
    rows: Sequence[StatisticsRow], before: Sequence[StatisticsRow]
) -> tuple[StatisticsRow, ...]:
    """Return rows with the model's confidence in the organs that nobody has changed since.

    What a person has drawn, the model has no opinion of.
    """
    old = {(row.organ, row.measure): row for row in before}
    new = {(row.organ, row.measure): row for row in rows}

    def same(key: str) -> bool:
        pairs = [(old.get((key, m)), new.get((key, m))) for m in ("volume", "hu_mean")]
        return all(a and b and abs(a.value - b.value) < ROUNDED for a, b in pairs)

    return tuple(
        old.get((row.organ, row.measure), row)
        if row.measure == "confidence" and same(row.organ)
        else row
        for row in rows
    )


def state_of(segmentation: Any) -> State:
    """Return what changes whenever the labels do; two equal ones mean that nothing was edited."""
    source, found = segmentation.GetSegmentation(), identify(segmentation)
    keys = {number: key for key, number in found.segments.items()}
    keys |= dict.fromkeys(found.lesions, "lesion")
    state = []
    for number in source.GetSegmentIDs():
        segment = source.GetSegment(number)
        image = segment.GetRepresentation(BINARY)
        made = image.GetMTime() if image is not None else 0
        state.append((number, keys.get(number, ""), segment.GetLabelValue(), made))
    return (*state, *(("", doubt, 0, 0) for doubt in found.doubts))


def measured_organs(segmentation: Any) -> tuple[Organ, ...]:
    """Return the organs to measure: those looked for, those there, and those said to be absent."""
    from flare_core.anatomy.organs import ALL_TARGETS

    facts = result_facts(segmentation)
    keys = {*facts.get(ASKED, ()), *facts.get(ABSENT, ()), *organ_segment_ids(segmentation)}
    return tuple(target for target in ALL_TARGETS if target.key in keys)
