"""START HERE: the panel, put together of its parts.

cases_panel (find, open, decide) and add_panel change the training set; training_panel starts a run;
run_panel follows it; comparison_panel shows old against new. Nothing is submitted by training, and
nothing is trained by submitting.

Invariant: between `exit` or `scene_closes` and the next `enter` the panel holds no node and
observes nothing, but a run goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from FLARESegLib.correction.remembered import Remembered
from FLARESegLib.qt.translation import _

import slicer
from FLARETrainLib.cases.add_panel import AddPanel
from FLARETrainLib.cases.opener import CaseOpener
from FLARETrainLib.cases.panel import CasesPanel
from FLARETrainLib.comparison.panel import ComparisonPanel
from FLARETrainLib.parameters import parameter_node
from FLARETrainLib.run.panel import RunPanel
from FLARETrainLib.run.training_panel import TrainingPanel
from FLARETrainLib.run.watch import WatchedRun

CORRECTS = "FLARESeg"
"""The module in which labels are corrected."""


class Panel:
    """The module's panel.

    Parameters
    ----------
    ui : object
        Widgets of FLARETrain.ui by name.
    logic : FLARETrainLogic
        Runs.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.ui, self.logic = ui, logic
        self._remembered = Remembered(ui)
        self.cases = CasesPanel(ui, logic, self.folder)
        self.adding = AddPanel(ui, logic.loop, self.folder)
        self.training = TrainingPanel(ui, logic, self.folder)
        self.run = RunPanel(ui, logic)
        self.comparison = ComparisonPanel(ui, logic)
        self.opener = CaseOpener(logic.loop, self.cases.say, self.cases.set_busy)
        self._asked_for: tuple[Path, tuple[int, str]] | None = None
        self._entered = False
        self._connect()

    def folder(self) -> Path:
        """Return the training set's folder."""
        return Path(self.ui.storeEdit.currentPath).expanduser()

    def enter(self) -> None:
        """Take up the scene, the training set and the newest run."""
        self._entered = True
        self.training.choices.attach(parameter_node())
        self.adding.update()
        self.cases.reload()
        self.run.fill()

    def exit(self) -> None:
        """Let go of the scene; a run goes on, and is looked at again on entering."""
        self._entered = False
        self._remembered.save()
        self.training.choices.detach()
        self.run.leave()

    def scene_closes(self) -> None:
        """Let go of every node."""
        self.opener.forget()
        self.training.choices.detach()
        self.run.scene_closes()

    def cleanup(self) -> None:
        """End everything; the widgets are about to vanish."""
        self.opener.forget()
        for part in (self.cases, self.adding, self.run, self.comparison):
            part.cleanup()
        self.training.choices.detach()

    def _connect(self) -> None:
        self.cases.opening.connect(self.open)
        self.cases.changed.connect(self.training.show_listing)
        self.adding.added.connect(lambda name: self.cases.reload())
        self.training.started.connect(self._started)
        self.run.chosen.connect(lambda folder: self.comparison.clear())
        self.run.seen.connect(self._seen)
        self.comparison.models_changed.connect(self.training.choices.refill_teachers)
        self.ui.storeEdit.connect("currentPathChanged(QString)", self._folder_chosen)

    def open(self, name: str, correct: bool = False) -> None:
        """Open a case into the scene; to be corrected, FLARESeg goes on with it."""
        self._remembered.save()
        self.cases.table.select((name,))

        def then(volume: Any, segmentation: Any) -> None:
            self.cases.reload()  # it has been seen
            if correct:
                self._correct(volume, segmentation)

        self.opener.open(self.folder(), name, then)

    def _correct(self, volume: Any, segmentation: Any) -> None:
        """Show FLARESeg with this segmentation and this training set."""
        panel = correction_panel()
        if panel is None:
            self.cases.say(_("The module FLARESeg is not loaded; it holds the corrections."))
        else:
            panel.correct(volume, segmentation, self.folder(), self.ui.authorEdit.text.strip())

    def _started(self, folder: Path) -> None:
        self._remembered.save()
        self.run.fill(choose=folder)

    def _folder_chosen(self, path: str) -> None:
        if self._entered:
            self.cases.say("")
            self.cases.reload()

    def _seen(self, view: WatchedRun) -> None:
        """Show old against new, and ask once for each new list of what to look at next."""
        self.comparison.show(view)
        listed = view.state.listed
        if listed and (view.folder, listed) != self._asked_for and self._is_mine(view):
            self._asked_for = (view.folder, listed)
            self.logic.next_cases(view.folder, self.cases.show_following)
            self.cases.reload()

    def _is_mine(self, view: WatchedRun) -> bool:
        """Whether a run learns from the training set that is shown."""
        store = view.state.store
        return bool(store) and Path(store) == self.folder().resolve()


def correction_panel() -> Any:
    """Show the module FLARESeg and return its panel; None where it is not loaded."""
    if not hasattr(slicer.modules, CORRECTS.lower()):
        return None
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule(CORRECTS)
    return getattr(slicer.util.getModuleWidget(CORRECTS), "panel", None)
