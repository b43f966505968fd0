"""The section of the cases: find, open, correct, accept, reject, keep aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from FLARESegLib.qt import dialogs
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.translation import _

from flare_core.cases.store import STATUSES
from flare_core.errors import FlareError
from flare_core.wording import by_count
from FLARETrainLib.cases import changes as case_changes
from FLARETrainLib.cases.rows import (
    HELD_OUT,
    CaseFilter,
    CaseRow,
    Listing,
    arranged,
    counts,
    page_of,
    read_listing,
    with_places,
)
from FLARETrainLib.cases.table import CaseTable
from FLARETrainLib.cases.texts import status_text
from FLARETrainLib.cases.thumbnails import Thumbnails
from FLARETrainLib.run.error_words import error_words

FILTERS = ("", *STATUSES, HELD_OUT)


class CasesPanel:
    """Shows the training set and what can be done with a case.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    logic : FLARETrainLogic
        Gives loop and home.
    folder : callable
        Returns the training set's folder.
    """

    def __init__(self, ui: Any, logic: Any, folder: Callable[[], Path]) -> None:
        self.opening = Signal()
        """Called with a case's name and whether it is to be corrected."""
        self.changed = Signal()
        """Called with the `Listing` when the training set was read."""
        self._ui, self._loop, self._folder = ui, logic.loop, folder
        self.thumbnails = Thumbnails(logic.loop, logic.home.cache / "thumbnails")
        self.table = CaseTable(ui.caseTable, self.thumbnails)
        self.listing = Listing(exists=False)
        self.filter = CaseFilter()
        self._following: list[dict[str, Any]] = []
        self._reading = self._again = self._closed = self._busy = False
        for status in FILTERS:
            ui.statusBox.addItem(status_text(status) if status else _("All"))
        self.say("")
        self._connect()

    def _connect(self) -> None:
        ui = self._ui
        self.table.chosen.connect(self.update)
        self.table.activated.connect(lambda name: self.opening.emit(name, False))
        self.table.sorted.connect(self._sort)
        ui.searchEdit.connect("textChanged(QString)", self._search)
        ui.statusBox.connect("currentIndexChanged(int)", self._filter)
        ui.refreshButton.connect("clicked(bool)", lambda on: self.reload())
        ui.previousButton.connect("clicked(bool)", lambda on: self._turn(-1))
        ui.nextButton.connect("clicked(bool)", lambda on: self._turn(+1))
        ui.openButton.connect("clicked(bool)", lambda on: self._open(correct=False))
        ui.correctButton.connect("clicked(bool)", lambda on: self._open(correct=True))
        ui.acceptButton.connect("clicked(bool)", lambda on: self.decide("accepted"))
        ui.rejectButton.connect("clicked(bool)", lambda on: self.decide("rejected"))
        ui.keepAsideButton.connect("clicked(bool)", lambda on: self.keep_aside())

    def reload(self) -> None:
        """Read the training set without holding Slicer up."""
        if self._reading:
            self._again = True
            return
        self._reading = True
        folder = self._folder()
        in_background(self._loop, lambda: read_listing(folder), self._read)

    def show_following(self, rows: list[dict[str, Any]]) -> None:
        """Show in which order to look at cases."""
        self._following = rows
        self.listing = with_places(self.listing, rows)
        self.refill()

    def refill(self) -> None:
        """Show the rows that are wanted."""
        found = arranged(self.listing.rows, self.filter)
        rows, page, pages = page_of(found, self.filter.page)
        self.filter = replace(self.filter, page=page)
        self.table.show(rows, self.filter)
        self._ui.caseTable.setVisible(bool(self.listing.rows))
        self._ui.pageLabel.setText(_("Page {page} of {pages}").format(page=page + 1, pages=pages))
        for name in ("previousButton", "nextButton", "pageLabel"):
            getattr(self._ui, name).setVisible(pages > 1)
        self._ui.previousButton.setEnabled(page > 0)
        self._ui.nextButton.setEnabled(page + 1 < pages)
        self._ui.countLabel.setText(self._count(len(found)))
        self.update()

    def update(self) -> None:
        """Offer what can be done with the selected cases, and say why the rest cannot."""
        rows, ui = self.table.selected, self._ui
        writable = not self.listing.read_only and not self._busy
        one = len(rows) == 1 and not self._busy
        labelled = bool(rows) and all(row.record.latest is not None for row in rows)
        ui.openButton.setEnabled(one)
        ui.correctButton.setEnabled(one)
        ui.acceptButton.setEnabled(labelled and writable)
        ui.rejectButton.setEnabled(labelled and writable)
        why_not = self._why_not_aside(rows)
        ui.keepAsideButton.setEnabled(bool(rows) and writable and not why_not)
        ui.keepAsideButton.setToolTip(
            why_not
            or _("Keep the patients of the selected cases aside, to compare models on their scans.")
        )

    def _why_not_aside(self, rows: Sequence[CaseRow]) -> str:
        """Return why the patients of these rows cannot be kept aside; empty if they can."""
        if self.listing.hold_out:
            return _("Patients were kept aside before; that is for good.")
        patients = tuple(dict.fromkeys(row.record.patient for row in rows))
        records = (row.record for row in self.listing.rows)
        bare = case_changes.unlabelled(patients, records)
        if bare:
            return _(
                "No scan of {patients} was labelled by a person: correct one in FLARESeg first."
            ).format(patients=", ".join(bare))
        return ""

    def decide(self, status: str) -> None:
        """Accept or reject the selected cases."""
        names, author = self.table.names, self._ui.authorEdit.text.strip()
        reason, folder = self._ui.reasonEdit.text.strip(), self._folder()
        if not names:
            return
        if not author:
            self.say(_("Enter your name first; it is stored with your decision."))
            return
        self._change(
            lambda: case_changes.decide(folder, names, status, author=author, reason=reason),
            lambda count: _("{count} set to {status}.").format(
                count=count, status=status_text(status)
            ),
        )

    def keep_aside(self) -> None:
        """Freeze the patients of the selected cases as the hold-out, if the person agrees."""
        rows, folder = self.table.selected, self._folder()
        if not rows:
            return
        patients = len({row.record.patient for row in rows})
        question = _(
            "Keep {patients} aside, once and for all? New models are compared with old ones on "
            "their scans and never learn from them."
        ).format(patients=patients_text(patients))
        if not dialogs.confirm(question, _("Keep aside")):
            return
        names = [row.record.name for row in rows]
        author = self._ui.authorEdit.text.strip()
        self._change(
            lambda: case_changes.keep_aside(folder, names, author=author),
            lambda kept: _("Kept aside: {patients}.").format(patients=patients_text(len(kept))),
        )

    def say(self, text: str) -> None:
        """Show a message."""
        self._ui.caseMessage.setText(text)
        self._ui.caseMessage.setVisible(bool(text))

    def set_busy(self, busy: bool) -> None:
        """Offer nothing while something is under way."""
        self._busy = busy
        self.update()

    def cleanup(self) -> None:
        """End everything."""
        self._closed = True
        self.thumbnails.close()

    def _change(self, work: Callable[[], Any], text: Callable[[Any], str]) -> None:
        """Change the store in a thread, then read it again."""

        def end(future: Future[Any]) -> None:
            if self._closed:
                return
            self.set_busy(False)
            try:
                self.say(text(future.result()))
            except (FlareError, OSError) as error:
                self.say(error_words(error))
            self.reload()

        self.set_busy(True)
        in_background(self._loop, work, end)

    def _read(self, future: Future[Listing]) -> None:
        self._reading = False
        if self._closed:
            return
        if self._again:
            self._again = False
            self.reload()
            return
        try:
            self.listing = with_places(future.result(), self._following)
        except (FlareError, OSError) as error:
            self.listing = Listing(exists=False)
            self.say(error_words(error))
        self.refill()
        self.changed.emit(self.listing)

    def _count(self, shown: int) -> str:
        """Return the line above the table."""
        if not self.listing.exists:
            return _(
                "There is no training set in this folder yet. Add a case below, submit a "
                "correction in FLARESeg, or import a folder with: flare cases import."
            )
        found = counts(self.listing.rows)
        text = cases_text(shown, len(self.listing.rows))
        parts = [f"{found[s]} {status_text(s)}" for s in STATUSES if s in found]
        if parts:
            text = f"{text}: {', '.join(parts)}"
        if HELD_OUT in found:  # not one of the statuses: whatever it is, it may be held out too
            text = _("{text}; {count} of them held out").format(text=text, count=found[HELD_OUT])
        return _("{text}; read only").format(text=text) if self.listing.read_only else text

    def _open(self, *, correct: bool) -> None:
        names = self.table.names
        if len(names) == 1:
            self.opening.emit(names[0], correct)

    def _sort(self, column: str) -> None:
        again = column == self.filter.column and not self.filter.descending
        self.filter = replace(self.filter, column=column, descending=again, page=0)
        self.refill()

    def _search(self, text: str) -> None:
        self.filter = replace(self.filter, text=text, page=0)
        self.refill()

    def _filter(self, index: int) -> None:
        self.filter = replace(self.filter, status=FILTERS[max(0, index)], page=0)
        self.refill()

    def _turn(self, by: int) -> None:
        self.filter = replace(self.filter, page=self.filter.page + by)
        self.refill()


def cases_text(shown: int, total: int) -> str:
    """Return how many cases there are, and how many of them are shown.

    Examples
    --------
    >>> cases_text(1, 1), cases_text(3, 3), cases_text(1, 3)
    ('1 case', '3 cases', '1 of 3 cases')
    """
    if shown != total:
        return _("{shown} of {count} cases").format(shown=shown, count=total)
    return by_count(total, _("1 case"), _("{count} cases"))


def patients_text(count: int) -> str:
    """Return a number of patients in words.

    Examples
    --------
    >>> patients_text(1), patients_text(2)
    ('1 patient', '2 patients')
    """
    return by_count(count, _("1 patient"), _("{count} patients"))
