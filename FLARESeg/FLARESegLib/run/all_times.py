"""All time points of a CT, one run after the other; to a panel it is one run.

Invariant: whatever ends it, the time point of before is on display, and unless it is done there is
no new segmentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from FLARESegLib.run.facts import RunProgress, RunResult
from FLARESegLib.scene.time_points import Series, TimePoints

if TYPE_CHECKING:
    from flare_core.segment.settings import Settings
    from FLARESegLib.run.run import Run


@dataclass(frozen=True)
class Listeners:
    """Who is told."""

    onProgress: Callable[[RunProgress], None]
    """With how far it is."""
    onFinished: Callable[[Any], None]
    """With the segmentation node."""
    onFailed: Callable[[BaseException], None]
    """With the exception; `Stopped` if somebody stopped it."""


class AllTimes:
    """Segments every time point of a volume.

    Parameters
    ----------
    logic : FLARESegLogic
        Runs one.
    volumeNode : vtkMRMLScalarVolumeNode
        The volume on display.
    times : TimePoints
        Its time points.
    settings : Settings
        What to look for, with which model, how.
    told : Listeners
        Who is told.
    on : dict, optional
        Which server computes.
    """

    def __init__(
        self, logic: Any, volumeNode: Any, times: TimePoints, settings: Settings, told: Listeners,
        *, on: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.times = times
        self.results: list[RunResult] = []
        """One of each time point, in their order."""
        self._logic, self._volume, self._settings, self._told = logic, volumeNode, settings, told
        self._on = on
        self._series = Series(volumeNode, times)
        self._shown = times.shown
        self._run: Run | None = None
        self._stop_for = ""  # why no further time point is wanted
        self._began = time.monotonic()
        self._next()

    @property
    def result(self) -> RunResult | None:
        """The result of the time point on display, with the notes of all; None before the end."""
        if len(self.results) < len(self.times.values):
            return None
        notes = dict.fromkeys(note for each in self.results for note in each.notes)
        return replace(self.results[self._shown], notes=tuple(notes))

    def cancel(self, reason: str = "cancelled") -> bool:
        """Stop, at once or after the time point that is being shown; False if it is the last."""
        if self._run is not None and self._run.cancel(reason):
            return True
        done = len(self.results) + (self._run is not None)
        if done == len(self.times.values):
            return False
        self._stop_for = reason
        return True

    def _next(self) -> None:
        """Segment the next time point, or end."""
        number = len(self.results)
        if number == len(self.times.values):
            self._complete()
            return
        self.times.show(number)
        self._run = self._logic.segmentAsync(
            self._volume,
            self._series.segmentation,
            self._settings,
            onProgress=self._progress,
            onFinished=self._one_done,
            onFailed=self._failed,
            on=self._on,
        )

    def _one_done(self, segmentation: Any) -> None:
        run, self._run = self._run, None
        assert run is not None
        assert run.result is not None
        self._series.keep(len(self.results))
        self.results.append(run.result)
        self._logic.workplace.loop.call_later(0, self._go_on)

    def _go_on(self) -> None:
        """Take the next one, unless the scene was closed since, or no more is wanted."""
        from FLARESegLib.run.failures import Stopped

        if self._volume.GetScene() is None or self._series.segmentation.GetScene() is None:
            self._failed(Stopped("node_removed"))
        elif self._stop_for:
            self._failed(Stopped(self._stop_for))
        else:
            self._next()

    def _complete(self) -> None:
        self._series.finish()
        self.times.show(self._shown)
        self._told.onFinished(self._series.segmentation)

    def _failed(self, error: BaseException) -> None:
        self._run = None
        if self._volume.GetScene() is not None:
            self._series.drop()
            self.times.show(self._shown)
        self._told.onFailed(error)

    def _progress(self, progress: RunProgress) -> None:
        """Tell one run's progress as a part of all."""
        done, count = len(self.results), len(self.times.values)
        fraction = (done + progress.fraction) / count
        seconds = time.monotonic() - self._began
        left = seconds / fraction - seconds if done else None
        self._told.onProgress(replace(progress, fraction=fraction, seconds_left=left))
