"""The correction section: edit, review organ by organ, hand the case on, see what was handed on."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.organs import organ
from flare_core.errors import FlareError, InputError
from FLARESegLib.correction.editor import Editor
from FLARESegLib.correction.history_table import HistoryTable
from FLARESegLib.correction.remembered import Remembered
from FLARESegLib.correction.review_table import ReviewTable
from FLARESegLib.qt import dialogs
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.event_loop import EventLoop
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.statistics.measures import Measured, measured_organs

if TYPE_CHECKING:
    from flare_core.cases.store import LabelVersion
    from FLARESegLib.correction.submission import Submission


class CorrectionPanel:
    """Corrects one segmentation at a time and adds it to the training set.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    loop : EventLoop
        Calls later.
    """

    def __init__(self, ui: Any, loop: EventLoop) -> None:
        self._ui = ui
        self._loop = loop
        self._segmentation: Any = None
        self._volume: Any = None
        self._busy = False
        self._measured = Measured((), None)
        self.review = ReviewTable(ui.reviewTable)
        self.history = HistoryTable(ui.historyTable)
        self.editor = Editor(ui.editorFrame)
        self._remembered = Remembered(ui)
        self.review.ticked.connect(self.update)
        ui.editButton.connect("clicked(bool)", self.edit)
        ui.addButton.connect("clicked(bool)", self.add)
        ui.reviewTable.connect("cellDoubleClicked(int,int)", lambda row, column: self.edit())
        ui.authorEdit.connect("textChanged(QString)", lambda text: self.update())
        ui.storeEdit.connect("currentPathChanged(QString)", lambda path: self.show_history())
        self.update()

    @property
    def folder(self) -> Path:
        """The training set's folder."""
        return Path(self._ui.storeEdit.currentPath).expanduser()

    def show(self, segmentation: Any, volume: Any) -> None:
        """Work on this segmentation; None: on none."""
        if segmentation is not self._segmentation:
            self.editor.close()
        self._segmentation, self._volume = segmentation, volume
        self._measured = Measured((), None)
        self.review.fill(() if segmentation is None else measured_organs(segmentation))
        self._say("")
        self.show_history()
        self.update()

    def show_measured(self, measured: Measured) -> None:
        """Show what was changed; organs that came or went get or lose their row."""
        self._measured = measured
        there = organ_segment_ids(self._segmentation)
        organs = measured_organs(self._segmentation)
        if tuple(target.key for target in organs) != self.review.keys:
            self.review.fill(organs, self.review.reviewed)
        voxels = {row.organ for row in measured.rows if row.measure == "volume" and row.value > 0}
        self.review.show_changes(measured.changes, voxels & set(there))
        self._say(measured.problem)
        self.update()

    def enter(self) -> None:
        """Take up the editor where it was left."""
        self.editor.resume()

    def exit(self) -> None:
        """Put the editor's tools down."""
        self.editor.leave()

    def cleanup(self) -> None:
        """Close the editor."""
        self.editor.close()

    def update(self) -> None:
        """Offer what can be done now, and say why the rest cannot."""
        there = self._segmentation is not None
        self._ui.editButton.setEnabled(there and not self._busy)
        why_not = self._why_not()
        self._ui.addButton.setEnabled(not why_not)
        self._ui.addButton.setToolTip(
            why_not
            or _(
                "Writes the CT, the labels and what you reviewed as a new version; nothing is lost."
            )
        )

    def edit(self, checked: bool = False) -> None:
        """Open the editor on the organ whose row is selected, else on the first."""
        if self._segmentation is None:
            return
        segments = organ_segment_ids(self._segmentation)
        key = self.review.chosen or next(iter(segments), "")
        self.editor.open(self._segmentation, self._volume, segments.get(key, ""))

    def add(self, checked: bool = False) -> None:
        """Ask once, then write the case into the training set without holding Slicer up."""
        from FLARESegLib.correction.submission import submission_steps

        if self._why_not() or not dialogs.confirm(self.summary(), _("Add to training set")):
            return
        self._remembered.save()
        self._set_busy(True)
        steps = submission_steps(
            self._segmentation,
            self.review.reviewed,
            author=self._ui.authorEdit.text,
            volumeNode=self._volume,
            note=self._ui.noteEdit.text,
        )
        walk(self._loop, steps, lambda future: self._store(future, self._segmentation))

    def summary(self) -> str:
        """Return what will be written, for the person to agree to."""
        reviewed = self.review.reviewed
        others = [key for key in self.review.keys if key not in reviewed]
        changed = [
            f"{organ(c.organ).name} ({c.changed_ml:.1f} mL)"
            for c in self._measured.changes or ()
            if c.organ in reviewed and c.changed_voxels
        ]
        return "\n".join(
            (
                _("CT: {name}").format(name=self._volume.GetName()),
                _("Training set: {folder}").format(folder=self.folder),
                _("Reviewed: {names}").format(names=_names(reviewed)),
                _("Changed by hand: {names}").format(names=", ".join(changed) or _("nothing")),
                _("Not reviewed, so stored as not annotated: {names}").format(names=_names(others)),
            )
        )

    def show_history(self) -> None:
        """Show what the training set has of this CT."""
        if self._segmentation is None:
            self.history.fill(())
            return
        try:
            self.history.fill(stored_versions(self.folder, self._segmentation))
        except InputError as error:
            self.history.fill(())
            self._say(error_text(error))

    def _why_not(self) -> str:
        """Return why the case cannot be added now; empty if it can."""
        if self._segmentation is None or self._volume is None:
            return _("Segment a CT first.")
        if self._busy:
            return _("It is being written.")
        if not self.review.reviewed:
            return _("Tick the organs that you have reviewed.")
        return "" if self._ui.authorEdit.text.strip() else _("Enter your name.")

    def _store(self, reading: Future[Submission], segmentation: Any) -> None:
        from FLARESegLib.correction.submission import store_submission

        folder = self.folder
        try:
            submission = reading.result()
        except FlareError as error:
            self._end(error_text(error))
            return
        in_background(
            self._loop,
            lambda: store_submission(folder, submission),
            lambda future: self._stored(future, segmentation),
        )

    def _stored(self, writing: Future[LabelVersion], segmentation: Any) -> None:
        from FLARESegLib.correction.submission import remember_submission

        try:
            version = writing.result()
        except (FlareError, OSError) as error:
            self._end(error_text(error))
            return
        if segmentation.GetScene() is not None:
            remember_submission(segmentation, version)
        self._end(
            _("Added as version {number} of case {case}.").format(
                number=version.number, case=version.case
            )
        )
        self.show_history()

    def _end(self, text: str) -> None:
        self._set_busy(False)
        self._say(text)

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        if busy:
            self._say(_("Writing..."))
        self.update()

    def _say(self, text: str) -> None:
        self._ui.correctionMessage.setText(text)


def stored_versions(folder: Path, segmentation: Any) -> tuple[LabelVersion, ...]:
    """Return the label versions of a segmentation's case, newest first; none if it has no case.

    Raises
    ------
    InputError
        If the folder is there and is no case store.
    """
    from flare_core.cases.store import open_store
    from FLARESegLib.correction.submission import CASE
    from FLARESegLib.scene.results import result_facts

    name = result_facts(segmentation).get(CASE, "")
    if not name or not folder.is_dir():
        return ()
    with open_store(folder) as store:
        known = {record.name for record in store.cases(text=name)}
        return tuple(reversed(store.versions(name))) if name in known else ()


def _names(keys: tuple[str, ...] | list[str]) -> str:
    return ", ".join(organ(key).name for key in keys) or _("none")
