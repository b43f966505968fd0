"""The section of the runs: where one stands, its curves, stop and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _
from FLARESegLib.scene import views

import slicer
from flare_core.errors import FlareError
from FLARETrainLib.run.curve_nodes import chart_of, draw_dsc, draw_loss
from FLARETrainLib.run.error_words import error_words
from FLARETrainLib.run.processes import Answer
from FLARETrainLib.run.texts import numbers_line, status_line
from FLARETrainLib.run.watch import RunWatch, WatchedRun


class RunPanel:
    """Follows the chosen run.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARETrainLogic
        Stops and resumes.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.seen = Signal()
        """Called with a `WatchedRun` after every look at the run."""
        self.chosen = Signal()
        """Called with the folder of a run, or None, when another one is looked at."""
        self._ui, self._logic = ui, logic
        self._runs: tuple[Path, ...] = ()
        self._view: WatchedRun | None = None
        self._drawn: tuple[int, ...] = ()
        self._asked = ""
        self._left: Path | None = None  # the run that was looked at when the panel was left
        self.watch = RunWatch(logic.loop)
        self.watch.seen.connect(self._show)
        ui.runBox.connect("currentIndexChanged(int)", self._run_chosen)
        ui.stopButton.connect("clicked(bool)", lambda on: self.stop())
        ui.resumeButton.connect("clicked(bool)", lambda on: self.resume())
        ui.lossButton.connect("clicked(bool)", lambda on: self._plot(draw_loss))
        ui.dscButton.connect("clicked(bool)", lambda on: self._plot(draw_dsc))
        self._clear()

    def fill(self, choose: Path | None = None) -> None:
        """Show the runs there are; look at `choose`, else at the one before, else the newest."""
        wanted = choose or self.watch.folder or self._left
        self._runs = self._logic.runs()
        box = self._ui.runBox
        blocked = box.blockSignals(True)
        box.clear()
        for folder in self._runs:
            box.addItem(folder.name)
        if self._runs:
            box.setCurrentIndex(self._runs.index(wanted) if wanted in self._runs else 0)
        box.blockSignals(blocked)
        self._run_chosen(box.currentIndex)

    def stop(self) -> None:
        """Ask the run to stop."""
        folder = self.watch.folder
        if folder is not None:
            self._asked = _("Asked to stop; it ends where nothing is lost.")
            self._ui.stopButton.setEnabled(False)
            self._logic.stop(folder, self._stop_answered)

    def resume(self) -> None:
        """Go on with the run."""
        folder = self.watch.folder
        if folder is None:
            return
        self._ui.resumeButton.setEnabled(False)
        try:
            self._logic.resume(folder)
        except (FlareError, OSError) as error:
            self._ui.runLabel.setText(error_words(error))
            return
        self.watch.watch(folder)

    def scene_closes(self) -> None:
        """The charts go with the scene."""
        self._drawn = ()

    def leave(self) -> None:
        """Look at nothing while the panel is not shown; `fill` takes it up again."""
        self._left = self.watch.folder or self._left
        self.watch.watch(None)

    def cleanup(self) -> None:
        """End everything; the run itself goes on."""
        self.watch.close()

    def _run_chosen(self, row: int) -> None:
        folder = self._runs[row] if 0 <= row < len(self._runs) else None
        if folder is not None and folder == self.watch.folder:
            return
        self._clear()
        self.watch.watch(folder)
        self.chosen.emit(folder)

    def _clear(self) -> None:
        self._view, self._drawn, self._asked = None, (), ""
        self._ui.progressBar.setValue(0)
        self._ui.runLabel.setText("" if self._runs else _("Nothing was trained yet."))
        for name in ("numbersLabel", "problemText"):
            getattr(self._ui, name).setVisible(False)
        for name in ("stopButton", "resumeButton", "lossButton", "dscButton"):
            getattr(self._ui, name).setEnabled(False)

    def _show(self, view: WatchedRun) -> None:
        self._logic.reap()
        self._view = view
        ui, state = self._ui, view.state
        if not state.active:
            self._asked = ""
        ui.progressBar.setValue(round(1000 * view.fraction))
        ui.runLabel.setText(" ".join(part for part in (status_line(view), self._asked) if part))
        numbers = numbers_line(view)
        ui.numbersLabel.setText(numbers)
        ui.numbersLabel.setVisible(bool(numbers))
        ui.stopButton.setEnabled(state.status == "running" and not self._asked)
        resumable = ("stopped", "interrupted", "failed", "ready")
        ui.resumeButton.setEnabled(state.status in resumable)
        ui.lossButton.setEnabled(any(curve.finite_loss for curve in view.curves))
        ui.dscButton.setEnabled(any(curve.dsc for curve in view.curves))
        self._show_problem(view.problem)
        self._redraw(view)
        self.seen.emit(view)

    def _show_problem(self, text: str) -> None:
        if text != self._ui.problemText.plainText:
            self._ui.problemText.setPlainText(text)
        self._ui.problemText.setVisible(bool(text))

    def _redraw(self, view: WatchedRun) -> None:
        """Let the charts grow, those that somebody has asked for."""
        sizes = tuple(len(curve.loss) + len(curve.dsc) for curve in view.curves)
        if sizes == self._drawn:
            return
        self._drawn = sizes
        for draw, what in ((draw_loss, "loss"), (draw_dsc, "dsc")):
            if chart_of(slicer.mrmlScene, view.folder.name, what) is not None:
                draw(slicer.mrmlScene, view.folder.name, view.curves)

    def _plot(self, draw: Any) -> None:
        if self._view is None:
            return
        chart = draw(slicer.mrmlScene, self._view.folder.name, self._view.curves)
        if chart is not None:
            views.show_chart(chart)

    def _stop_answered(self, answer: Answer) -> None:
        if not answer.good:
            self._asked = ""
            self._ui.runLabel.setText(answer.errors)
