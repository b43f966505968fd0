"""START HERE: one run, from a volume node to a segmentation node, without ever holding Qt's thread.

starting (load code, start the worker) -> exporting (copy in short steps, write in a thread) ->
running (the worker) -> importing (read in a thread, show in short steps) -> done;
or stopping -> cancelled; or failed.

Invariant: whatever ends a run, its temporary folder is removed, its observers are taken off, and
unless it is done the scene is as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import Cancelled, FlareError
from flare_core.segment.settings import Settings
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import STEP_S
from FLARESegLib.qt.signals import Signal
from FLARESegLib.run import temporary_folder
from FLARESegLib.run.exchange import read_raw_labels, write_raw
from FLARESegLib.run.facts import (
    APPLIES_FROM,
    SCAN,
    RunProgress,
    RunResult,
    SceneCode,
    Steps,
    Tools,
)
from FLARESegLib.run.failures import RunFailed, Stopped, error_of
from FLARESegLib.run.worker_process import Answer
from FLARESegLib.scene.watch import SceneWatch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flare_core.imaging.volume import Volume

IDLE, STARTING, EXPORTING, RUNNING = "idle", "starting", "exporting", "running"
IMPORTING, STOPPING = "importing", "stopping"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
FINAL = (DONE, FAILED, CANCELLED)

EXPORT_SHARE, IMPORT_SHARE = 0.05, 0.08
"""Parts of the progress bar, from a warm run of a 110-slice scan."""

INPUT_FILE, LABELS_FILE = "volume.nrrd", "labels.nrrd"


class Run:
    """One run. Make it through `FLARESegLogic.segmentAsync`.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
        The CT.
    segmentationNode : vtkMRMLSegmentationNode or None
        Which segmentation to update; None updates the newest one made from this volume, or makes
        one.
    settings : Settings
        How it is segmented.
    tools : Tools
        What it works with.
    """

    def __init__(
        self, volumeNode: Any, segmentationNode: Any | None, settings: Settings, tools: Tools
    ) -> None:
        self.progressed = Signal()
        """Called with a `RunProgress`."""
        self.finished = Signal()
        """Called with the segmentation node."""
        self.failed = Signal()
        """Called with the exception; `Stopped` if somebody stopped the run."""
        self.volumeNode = volumeNode
        self.segmentationNode = segmentationNode
        self.settings = settings
        self.state = IDLE
        self.error: BaseException | None = None
        self.result: RunResult | None = None
        self._tools = tools
        self._watch = SceneWatch(self.cancel)
        self._stop = threading.Event()
        self._steps: Steps | None = None
        self._threads = 0
        self._request: int | None = None
        self._folder: Path | None = None
        self._code: SceneCode | None = None
        self._volume: Volume | None = None
        self._reason = ""
        self._fraction = 0.0
        self._applies = False  # a segmentation that was there before is being changed
        self._clock = {"start": time.perf_counter()}

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in FINAL

    @property
    def active(self) -> bool:
        """Whether it goes on: neither over nor stopping."""
        return self.state not in (*FINAL, STOPPING)

    def start(self) -> None:
        """Begin; what happens is told through the signals, later."""
        self._enter(STARTING, 0.0)
        self._tools.loop.call_later(0, lambda: self._guard(self._begin))

    def cancel(self, reason: str = "cancelled") -> bool:
        """Stop; `failed` is called with `Stopped` when nothing of the run is left.

        Returns
        -------
        bool
            False if it is too late: the run has ended, is stopping, or has begun to change a
            segmentation that was there before, and will be done in a moment.
        """
        if not self.active or (reason == "cancelled" and self._applies):
            return False
        self._reason, self.state = reason, STOPPING
        request, self._request = self._request, None
        self._stop.set()
        self._close_steps()
        self._watch.stop()
        if request is not None:
            self._tools.worker.cancel(request, self._stopped)
        elif self._threads == 0:
            self._tools.loop.call_later(0, self._stopped)
        self._enter(STOPPING)
        return True

    def stop_now(self, reason: str = "shutdown") -> None:
        """Stop at once, once the worker has ended or never knew of this run."""
        self.cancel(reason)
        self._stopped()

    # The steps, in order.

    def _begin(self) -> None:
        """Watch the scene; start the worker while our own code is loaded."""
        self._watch.start(self.volumeNode, self.segmentationNode)
        self._tools.worker.start()
        self._in_thread(self._tools.load_scene_code, self._export)

    def _export(self, code: SceneCode) -> None:
        """Copy the voxels out of the scene."""
        self._code = code
        self._enter(EXPORTING, 0.0)
        self._walk(code.copy(self.volumeNode), self._write, (0.0, EXPORT_SHARE / 2))

    def _write(self, volume: Volume) -> None:
        """Write them for the worker."""
        self._volume = volume
        self._folder = temporary_folder.make_folder(self._tools.parent_folder)
        path = self._folder / INPUT_FILE
        self._in_thread(
            lambda: write_raw(path, volume.array, volume.geometry, self._stop), self._ask
        )

    def _ask(self, _: None) -> None:
        """Send the request."""
        assert self._folder is not None
        self._clock["asked"] = time.perf_counter()
        self._enter(RUNNING, EXPORT_SHARE)
        there = {} if self._tools.on is None else {"on": self._tools.on}
        request = {
            **there,
            "command": "segment",
            "input": str(self._folder / INPUT_FILE),
            "output": str(self._folder / LABELS_FILE),
            "settings": self.settings.to_dict(),
            "outputs": ["labels"],
        }
        self._request = self._tools.worker.request(request, self._hear)

    def _hear(self, answer: Answer) -> None:
        """Take an answer of the worker."""
        if not self.active:
            return
        event = answer.get("event")
        if event == "progress":
            if answer["stage"] != DONE:  # the worker is; the result follows
                self._pass_on(answer)
            return
        self._request = None
        if event == "result":
            self._guard(lambda: self._read(answer))
        elif event == "error":
            self._fail(error_of(answer))
        else:
            self.stop_now()  # somebody has closed the worker

    def _pass_on(self, answer: Answer) -> None:
        """Tell the worker's progress as a part of the whole run's."""
        share = EXPORT_SHARE + (1 - EXPORT_SHARE - IMPORT_SHARE) * float(answer["fraction"])
        left, words = answer.get("seconds_left"), str(answer.get("message", ""))
        self._tell(RunProgress(str(answer["stage"]), share, left, words))

    def _read(self, answer: Answer) -> None:
        """Read the labels that the worker wrote."""
        assert self._folder is not None
        assert self._volume is not None
        self._clock["answered"] = time.perf_counter()
        self._enter(IMPORTING, 1 - IMPORT_SHARE)
        self.result = RunResult(
            rows=tuple(answer["rows"]),
            notes=tuple(answer["notes"]),
            provenance={**answer["provenance"], SCAN: str(self._folder / INPUT_FILE)},
            timings_s={
                **answer["timings_s"],
                "export": self._clock["asked"] - self._clock["start"],
            },
            lesions=None if answer.get("lesions") is None else tuple(answer["lesions"]),
        )
        path, shape = self._folder / LABELS_FILE, self._volume.geometry.shape
        self._in_thread(lambda: read_raw_labels(path, shape), self._show)

    def _show(self, labels: npt.NDArray[np.uint8]) -> None:
        """Bring the labels into the scene."""
        self._walk(self._showing(labels), self._shown, (1 - IMPORT_SHARE, 1.0))

    def _showing(self, labels: npt.NDArray[np.uint8]) -> Steps:
        """Show the labels in short steps; note when a segmentation of before is being changed."""
        assert self._code is not None
        steps = self._code.show(self, labels)
        try:
            while True:
                share = next(steps)
                self._applies = self.segmentationNode is not None and share >= APPLIES_FROM
                yield share
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    def _shown(self, segmentationNode: Any) -> None:
        """The result is in the scene."""
        assert self.result is not None
        self.segmentationNode = segmentationNode
        self.result.timings_s["import"] = time.perf_counter() - self._clock["answered"]
        self._clean_up()
        self._enter(DONE, 1.0)
        self.finished.emit(segmentationNode)

    # The other ends.

    def _stopped(self) -> None:
        """Nobody uses the files any more."""
        if self.state != STOPPING:
            return
        self._clean_up()
        self.error = Stopped(self._reason)
        self._enter(CANCELLED)
        self.failed.emit(self.error)

    def _fail(self, error: BaseException) -> None:
        if self.over:  # somebody who was told of the end has failed
            return
        request, self._request = self._request, None
        if request is not None:
            self._tools.worker.cancel(request, lambda: None)
        self._stop.set()
        self._clean_up()
        self.error = error
        self._enter(FAILED)
        self.failed.emit(error)

    def _clean_up(self) -> None:
        """Leave nothing behind."""
        self._watch.stop()
        self._close_steps()
        self._volume = None
        folder, self._folder = self._folder, None
        if folder is not None:
            temporary_folder.remove_folder(folder, self._tools.loop)

    def _close_steps(self) -> None:
        """End steps that are under way; they put the scene back as it was."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    # How steps are taken.

    def _enter(self, state: str, fraction: float | None = None) -> None:
        """Go into a state; without a fraction, the work goes no further."""
        self.state = state
        self._tell(RunProgress(state, self._fraction if fraction is None else fraction))

    def _tell(self, progress: RunProgress) -> None:
        self._fraction = progress.fraction
        self.progressed.emit(progress)

    def _guard(self, step: Callable[[], None]) -> None:
        """Do a step; whatever goes wrong ends the run, and a defect is not hidden either."""
        if not self.active:
            return
        try:
            step()
        except Cancelled:  # by the scene code, which noticed that a node is gone
            self.cancel("node_removed")
        except (FlareError, OSError) as error:
            self._fail(error)
        except BaseException as error:
            self._fail(RunFailed("internal", f"Something failed: {type(error).__name__}: {error}"))
            raise

    def _walk(self, steps: Steps, then: Callable[[Any], None], span: tuple[float, float]) -> None:
        """Take the steps of a generator, a few at a time, and go on with what it returns."""
        self._steps = steps
        low, high = span

        def some() -> None:
            end = time.perf_counter() + STEP_S
            share = 0.0
            try:
                while time.perf_counter() < end:
                    share = next(steps)
            except StopIteration as finish:
                self._steps = None
                then(finish.value)
                return
            self._tools.loop.call_later(0, lambda: self._guard(some))
            self._tell(RunProgress(self.state, low + (high - low) * share))

        some()

    def _in_thread(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Work in a thread and go on with the result, unless the run was stopped meanwhile."""
        self._threads += 1

        def end(future: Future[Any]) -> None:
            self._threads -= 1
            if self.state == STOPPING:
                self._stopped()
            else:
                self._guard(lambda: then(future.result()))

        in_background(self._tools.loop, work, end)
