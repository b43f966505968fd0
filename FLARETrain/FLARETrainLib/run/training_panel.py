"""The section that starts a training: a process of its own, which Slicer need not wait for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _

from flare_core.errors import FlareError
from FLARETrainLib.cases.rows import Listing
from FLARETrainLib.run.choices import Choices
from FLARETrainLib.run.error_words import error_words

BY_PEOPLE = ("expert", "corrected")
"""Kinds of labels that a person made."""


class TrainingPanel:
    """Connects the start button with the logic.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARETrainLogic
        Starts.
    folder : callable
        Returns the training set's folder.
    """

    def __init__(self, ui: Any, logic: Any, folder: Callable[[], Path]) -> None:
        self.started = Signal()
        """Called with the folder of a run that was started."""
        self.choices = Choices(ui, logic.home)
        self._ui, self._logic, self._folder = ui, logic, folder
        self._listing = Listing(exists=False)
        self.choices.changed.connect(self.update)
        ui.startButton.connect("clicked(bool)", self.start)
        self.say("")

    def show_listing(self, listing: Listing) -> None:
        """Look whether this training set can be learned from."""
        self._listing = listing
        self.update()

    def update(self) -> None:
        """Offer to start, or say what is missing."""
        why_not = self._why_not()
        self._ui.startButton.setEnabled(not why_not)
        self._ui.startButton.setToolTip(
            why_not or _("Starts a process of its own. It goes on when Slicer is closed.")
        )
        if why_not or self._ui.startMessage.text in self._hints:
            self.say(why_not)

    def start(self, checked: bool = False) -> None:
        """Start what is chosen."""
        request = self.choices.request(self._folder())
        if request is None or self._why_not():
            return
        try:
            folder = self._logic.start(request)
        except (FlareError, OSError) as error:
            self.say(error_words(error))
            return
        self.say(_("Started. You may close Slicer; the training goes on."))
        self.started.emit(folder)

    def say(self, text: str) -> None:
        """Show a message."""
        self._ui.startMessage.setText(text)
        self._ui.startMessage.setVisible(bool(text))

    @property
    def _hints(self) -> tuple[str, ...]:
        return (_no_store(), _no_hold_out(), _unlabelled_hold_out(), _no_teacher())

    def _why_not(self) -> str:
        """Return why nothing can be started now; empty if it can."""
        if not self.choices.teacher:
            return _no_teacher()
        if not self._listing.rows:
            return _no_store()
        if not self._listing.hold_out:
            return _no_hold_out()
        kept = [row.record for row in self._listing.rows if row.record.held_out]
        labelled = any(record.kind in BY_PEOPLE for record in kept)
        return "" if labelled else _unlabelled_hold_out()


def _no_teacher() -> str:
    return _("No model is installed; install FLARESeg again.")


def _no_store() -> str:
    return _("The training set is empty: add cases first.")


def _no_hold_out() -> str:
    return _(
        "Keep a few labelled patients aside first: select their cases above and press Keep aside. "
        "Without them nobody can tell whether a new model is better."
    )


def _unlabelled_hold_out() -> str:
    return _(
        "Nobody has labelled a scan of the patients that are kept aside: correct one in FLARESeg, "
        "so that models can be compared on it."
    )
