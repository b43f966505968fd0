"""Apply and Cancel: starts a run with the person's choices and follows it to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt import dialogs
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.run.view import RunView

if TYPE_CHECKING:
    from collections.abc import Callable

    from FLARESegLib.run.run import Run, RunProgress, RunResult


@dataclass(frozen=True)
class Request:
    """What is to be segmented, and how."""

    volume: Any
    """The CT's volume node; None if there is none."""
    segmentation: Any
    """The segmentation node to update; None leaves it to the logic."""
    model: str
    """Name of a model; empty if none is installed."""
    organs: tuple[str, ...]
    """Keys of organs; empty is all."""
    device: str
    """``auto``, ``cpu`` or ``cuda``."""
    fast: bool
    """Quicker and a little less exact."""
    home: str | None = None
    """Folder of installed models; None: the default one."""

    @property
    def why_not(self) -> str:
        """Why this cannot be started; empty if it can."""
        if self.volume is None:
            return _("Choose a CT volume first.")
        return "" if self.model else _("No model is installed; install FLARESeg again.")


class RunPanel:
    """Connects the Apply button with the logic.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARESegLogic
        Runs.
    request : callable
        Returns what the person has chosen.
    """

    def __init__(self, ui: Any, logic: Any, request: Callable[[], Request]) -> None:
        self.finished = Signal()
        """Called with volume node, segmentation node and `RunResult`."""
        self.view = RunView(ui)
        self._ui = ui
        self._logic = logic
        self._request = request
        self._run: Run | None = None
        self._began = 0.0
        self._closed = False
        ui.applyButton.connect("clicked(bool)", self.apply_or_cancel)
        logic.workplace.worker.on_log.connect(self.view.log)

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._run is not None

    def update(self) -> None:
        """Offer what can be done now."""
        if not self.busy:
            self.view.show_ready(self._request().why_not)

    def apply_or_cancel(self, checked: bool = False) -> None:
        """Start, or stop what was started."""
        if self._run is not None:
            self.view.show_stopping()
            self._run.cancel()
        else:
            self.start()

    def start(self) -> None:
        """Start a run with what is chosen."""
        request = self._request()
        if request.why_not:
            self.view.say(request.why_not, "bad")
            return
        self.view.show_started()
        self._began = time.monotonic()
        try:
            self._logic.installDependencies(dialogs.agree)
            self._run = self._logic.segmentAsync(
                request.volume,
                request.segmentation,
                organs=request.organs or None,
                model=request.model,
                device=request.device,
                fast=request.fast,
                home=request.home,
                onProgress=self._progress,
                onFinished=lambda node: self._end(request.volume, node),
                onFailed=self._fail,
            )
        except Exception as error:  # noqa: BLE001 - the panel's edge: a person must get words
            self._fail(error)

    def cleanup(self) -> None:
        """Stop, and hear no more of it: the widgets are about to vanish."""
        self._closed = True
        self._logic.workplace.worker.on_log.disconnect(self.view.log)
        if self._run is not None:
            self._run.cancel()

    def _progress(self, progress: RunProgress) -> None:
        if not self._closed:
            self.view.show_progress(progress)

    def _end(self, volume: Any, segmentation: Any) -> None:
        run, self._run = self._run, None
        if self._closed or run is None or run.result is None:
            return
        self.update()
        seconds = time.monotonic() - self._began
        self.view.say(self._summary(run.result, seconds), "good")
        for note in run.result.notes:
            self.view.log(note)
        # Later, as Qt's thread has just been busy with the last step of the run
        result = run.result
        self._logic.workplace.loop.call_later(0, lambda: self._tell(volume, segmentation, result))

    def _tell(self, volume: Any, segmentation: Any, result: RunResult) -> None:
        if not self._closed and segmentation.GetScene() is not None:
            self.finished.emit(volume, segmentation, result)

    def _fail(self, error: BaseException) -> None:
        self._run = None
        if self._closed:
            return
        self.update()
        self.view.show_error(error)
        self._ui.logSection.collapsed = not is_puzzling(error)

    def _summary(self, result: RunResult, seconds: float) -> str:
        """Return what a person reads at the end: how many, what is not there, what to know."""
        from flare_core.anatomy.organs import organ

        volumes = {row["organ"]: row["value"] for row in result.rows if row["measure"] == "volume"}
        missing = [organ(key).name.lower() for key, value in volumes.items() if not value]
        parts = [
            _("{count} organs in {seconds:.0f} s.").format(
                count=len(volumes) - len(missing), seconds=seconds
            )
        ]
        if missing:
            parts.append(_("Not found: {names}.").format(names=", ".join(missing)))
        return " ".join([*parts, *result.notes])


def is_puzzling(error: BaseException) -> bool:
    """Whether the log says more than the message does, so that it should be open."""
    kind = getattr(error, "kind", "")
    return kind in ("worker_died", "internal", "install", "missing") or error_text(error) == str(
        error
    )
