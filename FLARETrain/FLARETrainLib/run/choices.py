"""What is to be trained: the widgets, kept alike with the parameter node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import vtk
from FLARESegLib.models.box import ModelBox
from FLARESegLib.models.choices import model_choices
from FLARESegLib.qt.signals import Signal

from FLARETrainLib.parameters import FLARETrainParameterNode
from FLARETrainLib.run.request import RunRequest
from FLARETrainLib.run.strategies import STRATEGIES

STUDENT_KEY = "FLARETrain/Student"


class Choices:
    """Connects the widgets of the training section with the parameter node.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    home : Home
        Where models are.
    """

    def __init__(self, ui: Any, home: Any) -> None:
        self.changed = Signal()
        """Called when anything was chosen."""
        self.parameters: FLARETrainParameterNode | None = None
        self._ui, self._home = ui, home
        self._teachers = ModelBox(ui.teacherBox)
        self._gui_tag: Any = None
        self._observer: int | None = None
        for row, (title, about) in enumerate(STRATEGIES.values()):
            ui.strategyBox.addItem(title())
            ui.strategyBox.setItemData(row, about(), qt.Qt.ToolTipRole)
        ui.studentEdit.currentPath = str(qt.QSettings().value(STUDENT_KEY) or "")
        ui.teacherBox.connect("currentIndexChanged(int)", self._teacher_chosen)
        ui.strategyBox.connect("currentIndexChanged(int)", self._strategy_chosen)

    def attach(self, parameters: FLARETrainParameterNode) -> None:
        """Show what this node holds, and keep it alike from now on."""
        self.detach()
        self.refill_teachers(parameters.teacher)
        self.parameters = parameters
        self._gui_tag = parameters.connectGui(self._ui)
        self._observer = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self._modified)
        self._show()
        self.changed.emit()

    def detach(self) -> None:
        """Let go of the node."""
        parameters, self.parameters = self.parameters, None
        if parameters is not None:
            parameters.disconnectGui(self._gui_tag)
            parameters.RemoveObserver(self._observer)

    def refill_teachers(self, chosen: str = "") -> None:
        """Show the models that are installed now."""
        chosen = chosen or self._teachers.name
        blocked = self._ui.teacherBox.blockSignals(True)
        self._teachers.fill(model_choices(self._home))
        self._teachers.choose(chosen)
        self._ui.teacherBox.blockSignals(blocked)

    def request(self, store: Path) -> RunRequest | None:
        """Return the run that is wanted; None while no node is shown."""
        chosen = self.parameters
        if chosen is None:
            return None
        student = self._ui.studentEdit.currentPath.strip()
        qt.QSettings().setValue(STUDENT_KEY, student)
        return RunRequest(
            chosen.modelName.strip(),
            store,
            self._teachers.name,
            strategy=chosen.strategy,
            minutes=chosen.minutes,
            rounds=chosen.rounds,
            student=Path(student) if student else None,
            promote=chosen.promote,
        )

    @property
    def teacher(self) -> str:
        """Name of the chosen teacher; empty if no model is installed."""
        return self._teachers.name

    def _modified(self, caller: Any, event: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        """Show what a program, or Slicer's binding, has put into the node."""
        assert self.parameters is not None
        names = list(STRATEGIES)
        wanted = self.parameters.strategy if self.parameters.strategy in names else names[0]
        if self._ui.strategyBox.currentIndex != names.index(wanted):
            self._ui.strategyBox.setCurrentIndex(names.index(wanted))
        self._ui.strategyBox.setToolTip(STRATEGIES[wanted][1]())
        if self._teachers.name != self.parameters.teacher:
            self._teachers.choose(self.parameters.teacher)

    def _teacher_chosen(self, row: int) -> None:
        self._teachers.choose(self._teachers.name)  # its card on the box itself
        if self.parameters is not None:
            self.parameters.teacher = self._teachers.name

    def _strategy_chosen(self, row: int) -> None:
        if self.parameters is not None:
            self.parameters.strategy = list(STRATEGIES)[row]
