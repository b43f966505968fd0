"""The section that shows old against new, and lets a person promote a model or go back."""

from __future__ import annotations

from typing import Any

import qt
from FLARESegLib.qt import dialogs
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.table_style import fit, set_titles
from FLARESegLib.qt.translation import _
from FLARESegLib.qt.word_colours import word_colour

from flare_core.errors import FlareError
from FLARETrainLib.comparison.rows import (
    ComparedOrgan,
    cells,
    compared,
    finds_nothing,
    model_title,
    tip,
)
from FLARETrainLib.run.error_words import error_words
from FLARETrainLib.run.processes import Answer
from FLARETrainLib.run.watch import WatchedRun

ROUNDED = 0.0005
"""A change of DSC below is none in the three digits that are shown."""
CHANGE, REMARK, FEW = 3, 4, 5
"""Columns of the table; those from `FEW` on do not fit into a dock and are told by the tip."""


class ComparisonPanel:
    """Shows the verdict on the newest round's model.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARETrainLogic
        Promotes and rolls back.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.models_changed = Signal()
        """Called when another model is in use."""
        self._ui, self._logic = ui, logic
        self._view: WatchedRun | None = None
        self._shown: Any = None
        self._busy = self._closed = False
        ui.promoteButton.connect("clicked(bool)", lambda on: self.promote())
        ui.rollBackButton.connect("clicked(bool)", lambda on: self.roll_back())
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._view = self._shown = None
        self._ui.comparisonTable.setRowCount(0)
        self._ui.comparisonTable.setVisible(False)
        self._ui.verdictLabel.setText(_("Here old and new model are compared once a round ends."))
        self._say("")
        self.update()

    def show(self, view: WatchedRun) -> None:
        """Show what a look at the run has found."""
        self._view = view
        newest = view.verdicts[-1] if view.verdicts else None
        if newest is not None and newest != self._shown:
            number, verdict = newest
            text = _("Round {round}: {reason}")
            reason = verdict.get("reason", "")
            self._ui.verdictLabel.setText(text.format(round=number, reason=reason))
            self._fill(compared(verdict))
        if newest != self._shown:
            self._shown = newest
        self.update()

    def update(self) -> None:
        """Offer what can be done now."""
        ui, name = self._ui, self._view.state.name if self._view else ""
        in_use = self._logic.in_use(name) if name else ""
        ready = bool(self._view and self._view.verdicts) and not self._busy
        nothing = ready and finds_nothing(self._view.verdicts[-1][1])
        ui.promoteButton.setEnabled(ready and not nothing and not self._is_in_use(in_use))
        ui.promoteButton.setToolTip(
            _("This model finds nothing; it cannot be put into use.")
            if nothing
            else _("Put the newest round's model into use; FLARESeg offers it from then on.")
        )
        ui.rollBackButton.setEnabled(
            bool(name) and not self._busy and self._logic.can_roll_back(name)
        )
        if in_use:
            title = model_title(in_use)
            text = _("In use as {name}: {model}").format(name=name, model=title)
        else:
            text = _("No model of this name is in use yet.") if ready else ""
        ui.inUseLabel.setText(text)
        ui.inUseLabel.setVisible(bool(text))

    def promote(self) -> None:
        """Put the newest round's model into use; a worse one only if the person insists."""
        if self._view is None or not self._view.verdicts:
            return
        number, verdict = self._view.verdicts[-1]
        fit_to = bool(verdict.get("promote"))
        if not fit_to:
            question = _(
                "It was judged worse: {reason}\nPut it into use anyway? You can roll back."
            ).format(reason=verdict.get("reason", ""))
            if not dialogs.confirm(question, _("Promote")):
                return
        self._set_busy(True)
        self._say(_("Installing the new model..."))
        self._logic.promote(self._view.folder, number, self._promoted, anyway=not fit_to)

    def roll_back(self) -> None:
        """Use the model that was used before."""
        if self._view is None:
            return
        try:
            model = self._logic.roll_back(self._view.state.name)
        except (FlareError, OSError) as error:
            self._say(error_words(error))
            return
        self._say(_("In use again: {model}").format(model=model_title(model)))
        self.update()
        self.models_changed.emit()

    def cleanup(self) -> None:
        """Hear no more of what was asked for."""
        self._closed = True

    def _promoted(self, answer: Answer) -> None:
        if self._closed:
            return
        self._set_busy(False)
        if not answer.good:
            self._say(answer.errors)
            return
        self._say(_("Promoted. FLARESeg offers it in its list of models."))
        self.models_changed.emit()

    def _is_in_use(self, in_use: str) -> bool:
        """Whether the newest verdict's model is the one in use."""
        if self._view is None or not self._view.verdicts:
            return False
        number = self._view.verdicts[-1][0]
        promoted = dict(self._view.promotions).get(number, {})
        return bool(in_use) and promoted.get("model") == in_use

    def _fill(self, rows: tuple[ComparedOrgan, ...]) -> None:
        table = self._ui.comparisonTable
        titles = (
            _("Organ"), _("DSC old"), _("new"), _("Change"), _("Against it"), _("NSD old"),
            _("new"), _("Cases"), _("Surely between"),
        )  # fmt: skip
        set_titles(table, titles)
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(cells(row)):
                item = _item(row, column, text, bold=number == 0)
                if column == CHANGE and row.change is not None and abs(row.change) >= ROUNDED:
                    how = word_colour("good" if row.change > 0 else "bad", table)
                    item.setForeground(qt.QBrush(qt.QColor(how)))
                table.setItem(number, column, item)
        for column in range(FEW, len(titles)):
            table.setColumnHidden(column, True)
        fit(table, stretch=REMARK)

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self.update()

    def _say(self, text: str) -> None:
        self._ui.comparisonMessage.setText(text)
        self._ui.comparisonMessage.setVisible(bool(text))


def _item(row: ComparedOrgan, column: int, text: str, *, bold: bool) -> Any:
    """Return a cell: numbers to the right, the means in bold."""
    item = qt.QTableWidgetItem(text)
    item.setToolTip(tip(row))
    if column not in (0, REMARK):
        item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
    if bold:
        font = qt.QFont(item.font())
        font.setBold(True)
        item.setFont(font)
    return item
