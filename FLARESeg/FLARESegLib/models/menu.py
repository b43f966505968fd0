"""The button "Get models...": a menu of what can be installed or removed, and a bar below it.

The bar is not the one of a run: a CT can be segmented while a model is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from FLARESegLib.core_path import flare_arguments
from FLARESegLib.models.installer import ModelInstaller, ModelTools
from FLARESegLib.qt import dialogs
from FLARESegLib.qt.translation import _
from FLARESegLib.qt.word_colours import style_of
from FLARESegLib.run.workplace import new_child, python_program


class ModelMenu:
    """Connects the widgets with a `ModelInstaller`.

    Parameters
    ----------
    ui : object
        Widgets of FLARESeg.ui by name.
    tools : ModelTools
        What installing needs.
    """

    def __init__(self, ui: Any, tools: ModelTools) -> None:
        self.installer = ModelInstaller(tools)
        self._ui = ui
        self.menu = qt.QMenu(ui.getModelsButton)
        self.menu.setToolTipsVisible(True)
        self.menu.connect("aboutToShow()", self.fill)
        ui.getModelsButton.setMenu(self.menu)
        ui.modelCancelButton.connect("clicked(bool)", lambda checked: self.installer.cancel())
        self.installer.busy_changed.connect(self._show_busy)
        self.installer.progressed.connect(self._show_progress)
        self.installer.said.connect(self._say)
        self._show_busy(False)
        self._say("", "info")

    def fill(self) -> None:
        """Make the menu anew: what is installed changes."""
        self.menu.clear()
        for model in self.installer.installable():
            title = f"{model.title} ({model.licence})..."
            self._add(self.menu, title, lambda model=model: self.installer.install(model))
            self.menu.actions()[-1].setToolTip(model.summary)
        self.menu.addSeparator()
        self._add(self.menu, _("From file..."), self.installer.add_file)
        self._add(self.menu, _("From nnU-Net folder..."), self.installer.add_folder)
        self.menu.addSeparator()
        remove = self.menu.addMenu(_("Remove"))
        names = self.installer.removable()
        remove.setEnabled(bool(names))
        for name in names:
            self._add(remove, f"{name}...", lambda name=name: self.installer.remove(name))

    def close(self) -> None:
        """End everything; the widgets are about to vanish."""
        self.installer.close()

    def _add(self, menu: Any, title: str, act: Callable[[], None]) -> None:
        """Add a line; what it does comes later, when the menu has closed."""
        loop = self.installer.tools.loop
        menu.addAction(title).connect("triggered()", lambda: loop.call_later(0, act))

    def _show_busy(self, busy: bool) -> None:
        self._ui.getModelsButton.setEnabled(not busy)
        self._ui.modelProgressBar.setVisible(busy)
        self._ui.modelCancelButton.setVisible(busy)
        self._ui.modelCancelButton.setEnabled(True)

    def _show_progress(self, text: str, fraction: float | None, file: str) -> None:
        """Move the bar; without a fraction it is about to stop."""
        if fraction is None:
            self._ui.modelCancelButton.setEnabled(False)
        else:
            self._ui.modelProgressBar.setValue(round(1000 * fraction))
        self._ui.modelProgressBar.setFormat(text)
        self._ui.modelProgressBar.setToolTip(file)

    def _say(self, text: str, how: str) -> None:
        self._ui.modelMessage.setStyleSheet(style_of(how, self._ui.modelMessage))
        self._ui.modelMessage.setText(text)
        self._ui.modelMessage.setVisible(bool(text))


def tools_of(logic: Any) -> ModelTools:
    """Return what installing needs in Slicer."""
    from flare_core.home import open_home
    from flare_core.models.catalogue import PUBLIC
    from flare_core.models.remote_file import remote_size

    loop = logic.workplace.loop
    return ModelTools(
        home=open_home(),
        catalogue=PUBLIC,
        loop=loop,
        new_child=lambda: new_child(loop),
        command=lambda words: (python_program(), flare_arguments(words)),
        size_of=remote_size,
        agree=dialogs.agree,
        choose_file=dialogs.open_file,
        choose_folder=dialogs.open_folder,
        ensure=lambda: logic.installDependencies(dialogs.agree),
    )
