"""The panel's choices and the parameter node, kept alike.

Slicer binds the widgets whose property ``SlicerParameterName`` names a parameter; model and organs
have no binding of Slicer's and are kept alike here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import vtk

from flare_core.segment.settings import Settings
from FLARESegLib.models.box import ModelBox
from FLARESegLib.models.choices import model_choices
from FLARESegLib.parameters import FLARESegParameterNode, settings_of
from FLARESegLib.qt.signals import Signal
from FLARESegLib.run.organ_box import OrganBox

if TYPE_CHECKING:
    from flare_core.home import Home


class SettingsBox:
    """Connects the widgets with one parameter node at a time.

    Parameters
    ----------
    ui : object
        Widgets of FLARESeg.ui by name.
    home : Home
        Where models are installed.
    """

    def __init__(self, ui: Any, home: Home) -> None:
        self.changed = Signal()
        """Called when any choice has changed, by a person or a program."""
        self.parameters: FLARESegParameterNode | None = None
        self._ui = ui
        self._home = home
        self._wanted = ""  # a model installed while no node was there to keep the choice
        self._models = ModelBox(ui.modelBox)
        self._organs = OrganBox(ui.organBox)
        self._gui_tag: Any = None
        self._observer: int | None = None
        ui.modelBox.connect("currentIndexChanged(int)", self._model_chosen)
        ui.organBox.connect("checkedIndexesChanged()", self._organs_chosen)

    @property
    def settings(self) -> Settings:
        """What is chosen, the defaults without a node; the model is empty if none is installed."""
        if self.parameters is None:
            return Settings()
        chosen = settings_of(self.parameters, str(self._home.path))
        return replace(chosen, model=self._models.name)

    def attach(self, parameters: FLARESegParameterNode) -> None:
        """Show what this node holds, and keep it alike from now on."""
        self.detach()
        if self._wanted:
            parameters.model, self._wanted = self._wanted, ""
        self._fill_models(parameters)
        self.parameters = parameters
        self._gui_tag = parameters.connectGui(self._ui)
        self._observer = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self._modified)
        self._show()
        self.changed.emit()

    def choose_model(self, name: str) -> None:
        """Choose a model that has just been installed."""
        if self.parameters is None:
            self._wanted = name
            return
        self._models.fill(model_choices(self._home))
        self._models.choose(name)
        self._keep_model()

    def forget_model(self, name: str) -> None:
        """Choose the default if this model, which is gone now, was chosen."""
        if self._wanted == name:
            self._wanted = ""
        if self.parameters is not None:
            self._models.fill(model_choices(self._home))
            self._keep_model()

    def detach(self) -> None:
        """Let go of the node."""
        parameters, self.parameters = self.parameters, None
        if parameters is not None:
            parameters.disconnectGui(self._gui_tag)
            parameters.RemoveObserver(self._observer)

    def _fill_models(self, parameters: FLARESegParameterNode) -> None:
        self._models.fill(model_choices(self._home))
        self._models.choose(parameters.model)
        self._organs.fill(self._known, tuple(parameters.organs))

    def _modified(self, caller: Any, event: Any) -> None:
        """Show what a program, or Slicer's binding, has put into the node."""
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        assert self.parameters is not None
        self._ui.sensitivityBox.setEnabled("lesion" in self._known)
        if self._models.name != self.parameters.model:
            self._models.choose(self.parameters.model)
            self._show_organs_of_model()
        if self._organs.chosen != tuple(self.parameters.organs):
            self._organs.choose(tuple(self.parameters.organs))

    @property
    def _known(self) -> tuple[str, ...]:
        """Keys of what the chosen model knows."""
        return self._models.choice.organs if self._models.choice else ()

    def _show_organs_of_model(self) -> None:
        if self._known != self._organs.keys:
            self._organs.fill(self._known, self._organs.chosen)

    def _model_chosen(self, row: int) -> None:
        """Keep the person's choice."""
        self._models.choose(self._models.name)  # its card on the box itself
        self._keep_model()

    def _keep_model(self) -> None:
        """Put the model into the node; organs that it does not know are chosen no more."""
        self._show_organs_of_model()
        if self.parameters is not None:
            self.parameters.model = self._models.name
            self.parameters.organs = list(self._organs.chosen)

    def _organs_chosen(self) -> None:
        if self.parameters is not None:
            self.parameters.organs = list(self._organs.chosen)
