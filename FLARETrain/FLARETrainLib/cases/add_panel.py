"""The section that makes a loaded volume a case of the training set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from FLARESegLib.correction.patient import patient_key
from FLARESegLib.qt.background import in_background
from FLARESegLib.qt.signals import Signal
from FLARESegLib.qt.stepwise import walk
from FLARESegLib.qt.translation import _
from FLARESegLib.scene.results import result_of
from FLARESegLib.scene.segment_identity import extra_names

from flare_core.errors import FlareError
from FLARETrainLib.cases.adding import Stored, addition_steps, store_addition
from FLARETrainLib.run.error_words import error_words


class AddPanel:
    """Adds the chosen volume, with its segmentation, without holding Slicer up.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    loop : EventLoop
        Calls later.
    folder : callable
        Returns the training set's folder.
    """

    def __init__(self, ui: Any, loop: Any, folder: Callable[[], Path]) -> None:
        self.added = Signal()
        """Called with the name of a case that was added."""
        self._ui, self._loop, self._folder = ui, loop, folder
        self._busy = self._closed = False
        self._left_out: tuple[str, ...] = ()  # names of segments that are no organ
        ui.addButton.connect("clicked(bool)", self.add)
        ui.reviewedBox.connect("toggled(bool)", lambda on: self.update())
        ui.authorEdit.connect("textChanged(QString)", lambda text: self.update())
        ui.patientEdit.connect("textChanged(QString)", lambda text: self.update())
        ui.segmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update()
        )
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._volume_chosen)
        self._say("")
        self.update()

    def update(self) -> None:
        """Offer what can be done now, and say why not."""
        ui, why_not = self._ui, self._why_not()
        labelled = ui.segmentationSelector.currentNode() is not None
        ui.reviewedBox.setEnabled(labelled)
        ui.addButton.setEnabled(not why_not)
        ui.addButton.setToolTip(
            why_not or _("Copies the CT, and the labels, into the training set.")
        )

    def add(self, checked: bool = False) -> None:
        """Write the case."""
        if self._why_not():
            return
        ui, folder = self._ui, self._folder()
        steps = addition_steps(
            ui.volumeSelector.currentNode(),
            ui.segmentationSelector.currentNode(),
            name=ui.nameEdit.text,
            author=ui.authorEdit.text.strip(),
            patient=ui.patientEdit.text,
            reviewed=ui.reviewedBox.checked,
        )
        node = ui.segmentationSelector.currentNode()
        self._left_out = tuple(extra_names(node).values()) if node is not None else ()
        self._set_busy(True)
        self._say(_("Writing..."))
        walk(self._loop, steps, lambda future: self._write(folder, future))

    def cleanup(self) -> None:
        """Hear no more of what is being written."""
        self._closed = True

    def _write(self, folder: Path, reading: Future[Any]) -> None:
        if self._closed:
            return
        try:
            addition = reading.result()
        except FlareError as error:
            self._end(error_words(error))
            return
        in_background(self._loop, lambda: store_addition(folder, addition), self._written)

    def _written(self, writing: Future[Stored]) -> None:
        if self._closed:
            return
        try:
            stored = writing.result()
        except (FlareError, OSError) as error:
            self._end(error_words(error))
            return
        self._ui.nameEdit.text = ""
        text = stored_text(stored)
        if self._left_out:
            left = _("No organ, so not stored: {names}.").format(names=", ".join(self._left_out))
            text = f"{text} {left}"
        self._end(text)
        self.added.emit(stored.case)

    def _why_not(self) -> str:
        """Return why nothing can be added now; empty if it can."""
        ui = self._ui
        if self._busy:
            return _("It is being written.")
        if ui.volumeSelector.currentNode() is None:
            return _("Choose a CT volume first.")
        if not ui.patientEdit.text.strip():
            return _("Enter a code for the patient: the same for all scans of one, not a name.")
        labelled = ui.segmentationSelector.currentNode() is not None
        if labelled and ui.reviewedBox.checked and not ui.authorEdit.text.strip():
            return _("Enter your name: you say that you have reviewed the labels.")
        return ""

    def _volume_chosen(self, volume: Any) -> None:
        """Choose the volume's own segmentation with it."""
        result = result_of(volume) if volume is not None else None
        self._ui.segmentationSelector.setCurrentNode(result)
        self._ui.reviewedBox.checked = False
        self._ui.patientEdit.text = patient_key(volume) if volume is not None else ""
        self.update()

    def _end(self, text: str) -> None:
        self._set_busy(False)
        self._say(text)

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self.update()

    def _say(self, text: str) -> None:
        self._ui.addMessage.setText(text)
        self._ui.addMessage.setVisible(bool(text))


def stored_text(stored: Stored) -> str:
    """Return what became of an addition, in words.

    Examples
    --------
    >>> stored_text(Stored("una", True, None))
    'Added as case una.'
    >>> stored_text(Stored("una", False, 2))
    'This scan is case una already; its labels are version 2 there.'
    """
    if stored.new:
        return _("Added as case {name}.").format(name=stored.case)
    if stored.version is None:
        return _("This scan is case {name} already; nothing was added.").format(name=stored.case)
    return _("This scan is case {name} already; its labels are version {number} there.").format(
        name=stored.case, number=stored.version
    )
