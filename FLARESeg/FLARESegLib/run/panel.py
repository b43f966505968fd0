"""Apply and Cancel: starts a run with the person's choices and follows it to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt import dialogs
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _
from FLARESegLib.run.all_times import AllTimes, Listeners
from FLARESegLib.run.messages import error_text, four_parts_text
from FLARESegLib.run.place_box import PlaceBox
from FLARESegLib.run.view import RunDisplay
from FLARESegLib.scene.time_points import time_points_of

if TYPE_CHECKING:
    from FLARESegLib.run.run import Run, RunProgress, RunResult
    from FLARESegLib.run.settings_box import SettingsBox


class RunPanel:
    """Connects the Apply button with the logic.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARESegLogic
        Runs.
    chosen : SettingsBox
        What the person has chosen.
    """

    def __init__(self, ui: Any, logic: Any, chosen: SettingsBox) -> None:
        self.finished = Signal()
        """Called with volume node, segmentation node and `RunResult`."""
        self.all_times_finished = Signal()
        """Called after it with segmentation node, `TimePoints` and the rows of each time point."""
        self.view = RunDisplay(ui)
        self._ui = ui
        self._logic = logic
        self._chosen = chosen
        self._run: Run | AllTimes | None = None
        self._began = 0.0
        self._closed = False
        self.place = PlaceBox(ui)
        """Where runs are computed."""
        self.place.changed.connect(self.update)
        ui.applyButton.connect("clicked(bool)", self.apply_or_cancel)
        logic.workplace.worker.on_log.connect(self.view.log)

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._run is not None

    @property
    def why_not(self) -> str:
        """Why what is chosen cannot be started; empty if it can."""
        parameters = self._chosen.parameters
        if parameters is None or parameters.inputVolume is None:
            return _("Choose a CT volume first.")
        settings = self._chosen.settings
        if not settings.model:
            return _("No model is installed; install FLARESeg again.")
        problem = settings.problem  # what a program or an older scene has put into the node
        return self.place.problem if problem is None else four_parts_text(*problem.parts)

    def update(self) -> None:
        """Offer what can be done now."""
        parameters = self._chosen.parameters
        times = time_points_of(parameters.inputVolume) if parameters is not None else None
        self._ui.allTimesBox.setVisible(times is not None)
        if times is not None:
            text = _("all {count} time points, not the shown one alone")
            self._ui.allTimesBox.setText(text.format(count=len(times.values)))
        if not self.busy:
            self.view.show_ready(self.why_not)

    def apply_or_cancel(self, checked: bool = False) -> None:
        """Start, or stop what was started."""
        if self._run is not None:
            self.view.show_stopping()
            if not self._run.cancel():
                self.view.show_too_late()
        else:
            self.start()

    def start(self) -> None:
        """Start a run with what is chosen."""
        parameters = self._chosen.parameters
        if parameters is None or self.why_not:
            self.view.say(self.why_not, "bad")
            return
        if not self.place.agreed():
            self.view.say(_("Not started; nothing has left this computer."))
            return
        volume, on = parameters.inputVolume, self.place.on
        times = time_points_of(volume) if self._ui.allTimesBox.checked else None
        told = Listeners(self._progress, lambda node: self._end(volume, node), self._fail)
        self.view.show_started()
        self._began = time.monotonic()
        try:
            self._logic.installDependencies(dialogs.agree)
            if times is not None:
                self._run = AllTimes(self._logic, volume, times, self._chosen.settings, told, on=on)
                return
            self._run = self._logic.segmentAsync(
                volume,
                parameters.outputSegmentation,
                self._chosen.settings,
                onProgress=told.onProgress,
                onFinished=told.onFinished,
                onFailed=told.onFailed,
                on=on,
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
        self.view.show_done(self._summary(run.result, seconds), run.result.notes)
        for note in run.result.notes:
            self.view.log(note)
        # Later, as Qt's thread has just been busy with the last step of the run
        self._logic.workplace.loop.call_later(0, lambda: self._tell(volume, segmentation, run))

    def _tell(self, volume: Any, segmentation: Any, run: Run | AllTimes) -> None:
        if self._closed or segmentation.GetScene() is None:
            return
        self.finished.emit(volume, segmentation, run.result)
        if isinstance(run, AllTimes):
            rows = [each.rows for each in run.results]
            self.all_times_finished.emit(segmentation, run.times, rows)

    def _fail(self, error: BaseException) -> None:
        self._run = None
        if self._closed:
            return
        self.update()
        self.view.show_error(error)
        self._ui.logSection.collapsed = not is_puzzling(error)

    def _summary(self, result: RunResult, seconds: float) -> str:
        """Return what a person reads at the end: how many, and what is not there."""
        from flare_core.anatomy.organs import organ
        from flare_core.wording import by_count

        volumes = {row["organ"]: row["value"] for row in result.rows if row["measure"] == "volume"}
        missing = [organ(key).name.lower() for key, value in volumes.items() if not value]
        organs = by_count(len(volumes) - len(missing), _("1 organ"), _("{count} organs"))
        parts = [_("{organs} in {seconds:.0f} s.").format(organs=organs, seconds=seconds)]
        if missing:
            parts.append(_("Not found: {names}.").format(names=", ".join(missing)))
        return " ".join(parts)


def is_puzzling(error: BaseException) -> bool:
    """Whether the log says more than the message does, so that it should be open."""
    kind = getattr(error, "kind", "")
    return kind in ("worker_died", "internal", "install", "missing") or error_text(error) == str(
        error
    )
