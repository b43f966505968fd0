"""What a person sees of a run: the button, the bar, the message and the log."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from FLARESegLib.qt.translation import _
from FLARESegLib.qt.word_colours import style_of
from FLARESegLib.run.messages import error_text, progress_text

if TYPE_CHECKING:
    from FLARESegLib.run.run import RunProgress

WANTED = ("cancelled", "scene_closed", "node_removed", "shutdown")
"""Kinds of an end that a person brought about, which is no error."""


class RunDisplay:
    """Shows one run at a time."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._stage = ""

    def show_ready(self, why_not: str) -> None:
        """Offer Apply, or say why it cannot be pressed."""
        self._ui.applyButton.setText(_("Apply"))
        self._ui.applyButton.setEnabled(not why_not)
        self._ui.applyButton.setToolTip(why_not or _("Segment the organs of the CT."))
        self._ui.progressBar.setVisible(False)

    def show_started(self) -> None:
        """Offer Cancel, an empty bar and no old message."""
        self._ui.applyButton.setText(_("Cancel"))
        self._ui.applyButton.setEnabled(True)
        self._ui.applyButton.setToolTip(_("Stop; nothing is changed in the scene."))
        self._ui.progressBar.setVisible(True)
        self._ui.progressBar.setValue(0)
        self.say("")

    def show_stopping(self) -> None:
        """Take Cancel back: it was pressed."""
        self._ui.applyButton.setText(_("Stopping..."))
        self._ui.applyButton.setEnabled(False)

    def show_too_late(self) -> None:
        """Say that the run cannot be stopped any more; it is done in a moment."""
        self._ui.applyButton.setText(_("Cancel"))
        self.say(_("Too late to stop: the result is being shown already."))

    def show_done(self, head: str, notes: Sequence[str]) -> None:
        """Show how a run ended, in green, and below it what to know about the scan."""
        colour = style_of("good", self._ui.messageLabel)
        lines = [f'<span style="{colour}">{escape(head)}</span>']
        self.say("<br>".join([*lines, *(escape(note) for note in notes)]))

    def show_progress(self, progress: RunProgress) -> None:
        """Move the bar; log a line when the stage changes."""
        text = progress_text(progress.stage, progress.fraction, progress.seconds_left)
        self._ui.progressBar.setValue(round(1000 * progress.fraction))
        self._ui.progressBar.setFormat(text)
        if progress.stage != self._stage:
            self._stage = progress.stage
            self.log(progress.message or text)

    def show_error(self, error: BaseException) -> None:
        """Say in plain words what went wrong, and log the program's own."""
        words = error_text(error)
        kind = getattr(error, "kind", "")
        self.say(words, "info" if kind in WANTED else "bad")
        self.log(f"{type(error).__name__}: {error}")

    def say(self, text: str, how: str = "info") -> None:
        """Show a message below the bar; ``how`` is "info", "good" or "bad"."""
        self._ui.messageLabel.setStyleSheet(style_of(how, self._ui.messageLabel))
        self._ui.messageLabel.setText(text)

    def log(self, text: str) -> None:
        """Add a line to the log; the oldest go when it is full."""
        self._ui.logView.appendPlainText(text)
