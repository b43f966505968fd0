"""The correction section: edit, review organ by organ, hand the case on, see what was handed on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import Future
from html import escape
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from flare_core.anatomy.organs import organ
from flare_core.errors import FlareError
from FLARESegLib.correction.editor import Editor
from FLARESegLib.correction.history_table import HistoryTable
from FLARESegLib.correction.patient import patient_key
from FLARESegLib.correction.remembered import Remembered
from FLARESegLib.correction.review_table import ReviewTable
from FLARESegLib.correction.strokes_panel import StrokesPanel
from FLARESegLib.qt import dialogs
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.scene.results import ABSENT, CASE, result_facts
from FLARESegLib.scene.segment_identity import extra_names, make_lesion, organ_segment_ids
from FLARESegLib.statistics.measures import Measured, measured_organs

if TYPE_CHECKING:
    from flare_core.cases.store import LabelVersion
    from FLARESegLib.correction.submission import Submission
    from FLARESegLib.run.workplace import Workplace


class CorrectionPanel:
    """Corrects one segmentation at a time and adds it to the training set.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    place : Workplace
        Calls later; its worker follows strokes.
    on : callable
        Returns the server that a person has agreed to, as a worker's request says it, or None.
    """

    def __init__(self, ui: Any, place: Workplace, on: Callable[[], dict[str, Any] | None]) -> None:
        self._ui = ui
        self._loop = place.loop
        self._segmentation: Any = None
        self._volume: Any = None
        self._busy = False
        self._measured = Measured((), None)
        self._present: frozenset[str] | None = None  # organs with a voxel; None: not known yet
        self._showing = 0
        self.review = ReviewTable(ui.reviewTable)
        self.history = HistoryTable(ui.historyTable)
        self.editor = Editor(ui.editorFrame)
        self.strokes = StrokesPanel(ui, place, self.editor, self.review, on)
        self._remembered = Remembered(ui)
        self.review.ticked.connect(self.update)
        ui.editButton.connect("clicked(bool)", self.edit)
        ui.addButton.connect("clicked(bool)", self.add)
        ui.reviewTable.connect("cellDoubleClicked(int,int)", lambda row, column: self.edit())
        ui.authorEdit.connect("textChanged(QString)", lambda text: self.update())
        ui.patientEdit.connect("textChanged(QString)", lambda text: self.update())
        ui.extrasLabel.connect("linkActivated(QString)", self._store_as_lesion)
        ui.storeEdit.connect("currentPathChanged(QString)", lambda path: self.show_history())
        self.update()

    @property
    def folder(self) -> Path:
        """The training set's folder."""
        return Path(self._ui.storeEdit.currentPath).expanduser()

    def show(self, segmentation: Any, volume: Any) -> None:
        """Work on this segmentation; None: on none."""
        if segmentation is not self._segmentation:
            self.strokes.close()
            self.editor.close()
        self._segmentation, self._volume = segmentation, volume
        self._measured, self._present = Measured((), None), None
        organs = () if segmentation is None else measured_organs(segmentation)
        absent = () if segmentation is None else result_facts(segmentation).get(ABSENT, ())
        self.review.fill(organs, absent=absent)
        self.strokes.show(segmentation, volume)
        self._say("")
        self._show_patient()
        self._show_extras()
        self.show_history()
        self.update()

    def refresh(self) -> None:
        """Follow segments that were added, removed or renamed; ticks stay where they are."""
        if self._segmentation is None or self._segmentation.GetScene() is None:
            return
        organs = measured_organs(self._segmentation)
        if tuple(target.key for target in organs) != self.review.keys:
            self.review.fill(organs, self.review.reviewed, self.review.absent)
            if self._present is not None:
                self.review.show_changes(self._measured.changes, self._present)
        self._show_extras()
        self.update()

    def show_measured(self, measured: Measured) -> None:
        """Show what was changed; organs that came or went get or lose their row."""
        before, self._measured = self._measured.problem, measured
        there = organ_segment_ids(self._segmentation)
        voxels = {row.organ for row in measured.rows if row.measure == "volume" and row.value > 0}
        self._present = None if measured.problem else frozenset(voxels & set(there))
        self.refresh()
        self.review.show_changes(measured.changes, self._present or ())
        if measured.problem or self._ui.correctionMessage.text == before:  # else: other news stays
            self._say(measured.problem)
        self.update()

    def enter(self) -> None:
        """Take up the editor where it was left."""
        self.editor.resume()

    def exit(self) -> None:
        """Put the editor's tools down."""
        self.editor.leave()

    def cleanup(self) -> None:
        """Close the editor; strokes leave nothing behind."""
        self.strokes.cleanup()
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
        self.strokes.close()
        segments = organ_segment_ids(self._segmentation)
        key = self.review.chosen or next(iter(segments), "")
        self.editor.open(self._segmentation, self._volume, segments.get(key, ""))

    def add(self, checked: bool = False) -> None:
        """Ask once, then write the case into the training set without holding Slicer up."""
        if self._why_not() or not dialogs.confirm(self.summary(), _("Add to training set")):
            return
        self._remembered.save()
        self._set_busy(True)
        segmentation, reviewed = self._segmentation, self.review.reviewed
        facts = {
            "author": self._ui.authorEdit.text,
            "absent": self.review.absent,
            "patient": self._ui.patientEdit.text,
            "volumeNode": self._volume,
            "note": self._ui.noteEdit.text,
        }

        def steps(importing: Future[ModuleType]) -> Generator[float, None, Submission]:
            submission = importing.result()  # in a step: what goes wrong there is told
            return (yield from submission.submission_steps(segmentation, reviewed, **facts))

        def take(importing: Future[ModuleType]) -> None:
            walk(self._loop, steps(importing), lambda future: self._store(future, segmentation))

        in_background(self._loop, _submission, take)

    def summary(self) -> str:
        """Return what will be written, for the person to agree to."""
        absent = self.review.absent
        reviewed = [key for key in self.review.reviewed if key not in absent]
        others = [key for key in self.review.keys if key not in (*reviewed, *absent)]
        changed = [
            f"{organ(c.organ).name} ({c.changed_ml:.1f} mL)"
            for c in self._measured.changes or ()
            if c.organ in reviewed and c.changed_voxels
        ]
        patient = self._ui.patientEdit.text.strip()
        lines = [
            _("CT: {name}").format(name=self._volume.GetName()),
            _("Patient: {code}").format(code=patient or _("as before")),
            _("Training set: {folder}").format(folder=self.folder),
            _("Reviewed: {names}").format(names=_names(reviewed)),
            _("Changed by hand: {names}").format(names=", ".join(changed) or _("nothing")),
        ]
        if absent:
            text = _("This patient does not have, and models learn that: {names}")
            lines.append(text.format(names=_names(absent)))
        text = _("Not reviewed, so stored as not annotated: {names}")
        lines.append(text.format(names=_names(others)))
        extras = extra_names(self._segmentation).values()
        if extras:
            text = _("No organ, so in the scene only and not stored: {names}")
            lines.append(text.format(names=", ".join(extras)))
        return "\n".join(lines)

    def show_history(self) -> None:
        """Show what the training set has of this CT; it is read in a thread."""
        self._showing += 1
        number, folder = self._showing, self.folder
        name = "" if self._segmentation is None else result_facts(self._segmentation).get(CASE, "")
        if not name:
            self.history.fill(())
            return
        in_background(
            self._loop,
            lambda: stored_versions(folder, name),
            lambda future: self._show_versions(number, future),
        )

    def _show_versions(self, number: int, reading: Future[tuple[LabelVersion, ...]]) -> None:
        if number != self._showing:  # another CT or folder was chosen meanwhile
            return
        try:
            self.history.fill(reading.result())
        except (FlareError, OSError) as error:
            self.history.fill(())
            self._say(error_text(error))

    def _show_patient(self) -> None:
        """Suggest the pseudonym that DICOM gives; a CT without one needs the person's code."""
        known = "" if self._volume is None else patient_key(self._volume)
        self._ui.patientEdit.text = known

    def _show_extras(self) -> None:
        """Say which segments are no organ, and offer to store them as lesions."""
        node = self._segmentation
        names = {} if node is None or node.GetScene() is None else extra_names(node)
        self._ui.extrasLabel.setText(extras_text(names))
        self._ui.extrasLabel.setVisible(bool(names))

    def _store_as_lesion(self, link: str) -> None:
        """Make a lesion of the segment whose link was clicked."""
        number = unquote(link)
        if self._segmentation is not None and number in extra_names(self._segmentation):
            make_lesion(self._segmentation, number)
            self.refresh()

    def _why_not(self) -> str:
        """Return why the case cannot be added now; empty if it can."""
        if self._segmentation is None or self._volume is None:
            return _("Segment a CT first.")
        if self._busy:
            return _("It is being written.")
        if not self.review.reviewed:
            return _("Tick the organs that you have reviewed.")
        if not self._ui.authorEdit.text.strip():
            return _("Enter your name.")
        stored = bool(result_facts(self._segmentation).get(CASE))
        if not self._ui.patientEdit.text.strip() and not stored:
            return _("Enter a code for the patient: the same for all scans of one, not a name.")
        return why_not_clear(self.review.reviewed, self.review.absent, self._present)

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


def stored_versions(folder: Path, name: str) -> tuple[LabelVersion, ...]:
    """Return the label versions of a case, newest first; none if it is not in the training set.

    Raises
    ------
    InputError
        If the folder is there and is no case store.
    """
    from flare_core.cases.store import open_store

    if not folder.is_dir():
        return ()
    with open_store(folder) as store:
        known = {record.name for record in store.cases(text=name)}
        return tuple(reversed(store.versions(name))) if name in known else ()


def why_not_clear(
    reviewed: Sequence[str], absent: Sequence[str], present: Collection[str] | None
) -> str:
    """Return which organ's ticks and voxels contradict each other; empty if none's do.

    Parameters
    ----------
    reviewed, absent : sequence of str
        Keys of the ticked organs.
    present : collection of str, or None
        Keys of the organs that have a voxel; None if nobody has looked yet.
    """
    if present is None:
        return ""
    for key in reviewed:
        name = organ(key).name
        if key in absent and key in present:
            return _("{organ} is ticked as absent, but has voxels.").format(organ=name)
        if key not in absent and key not in present:
            return _(
                "{organ} has no voxel. Tick Absent if this patient does not have it, or untick "
                "Reviewed."
            ).format(organ=name)
    return ""


def extras_text(names: Mapping[str, str]) -> str:
    """Return what the panel says of segments that are no organ, as HTML; segment ID -> name.

    Examples
    --------
    >>> extras_text({})
    ''
    """
    if not names:
        return ""
    offer = _("store as lesion")
    links = ", ".join(
        f'{escape(name)} (<a href="{quote(number)}">{offer}</a>)' for number, name in names.items()
    )
    return _("No organ, so in the scene only and not stored: {segments}").format(segments=links)


def _names(keys: Sequence[str]) -> str:
    return ", ".join(organ(key).name for key in keys) or _("none")


def _submission() -> ModuleType:
    """Import what writes to the training set: a fifth of a second, so not in Qt's thread."""
    from FLARESegLib.correction import submission

    return submission
