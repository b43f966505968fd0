"""Draw "Belongs" or "Does not belong", and the organ follows in 3D; a lesion that was missed too.

Strokes on lesions need no choice of one: the lesion that a stroke touches grows or goes, and a
stroke that touches none draws a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flare_core.anatomy.organs import LESION
from flare_core.wording import by_count
from FLARESegLib.correction.scribbles import BELONGS, OUTSIDE
from FLARESegLib.qt.translation import _
from FLARESegLib.run.messages import error_text
from FLARESegLib.scene.segment_identity import organ_segment_ids

if TYPE_CHECKING:
    from FLARESegLib.correction.editor import Editor
    from FLARESegLib.correction.kept_scores import KeptScores
    from FLARESegLib.correction.review_table import ReviewTable
    from FLARESegLib.correction.stroke_session import StrokeSession
    from FLARESegLib.run.workplace import Workplace


class StrokesPanel:
    """Corrects by strokes the organ whose row is selected, or the lesions.

    Parameters
    ----------
    ui : object
        The panel's widgets by name.
    place : Workplace
        Where strokes are solved.
    editor : Editor
        Whose Paint tool draws.
    review : ReviewTable
        Which organ is meant, and which ones are reviewed.
    on : callable
        Returns the server that the CT may go to again, if any.
    """

    def __init__(
        self,
        ui: Any,
        place: Workplace,
        editor: Editor,
        review: ReviewTable,
        on: Callable[[], dict[str, Any] | None],
    ) -> None:
        self.session: StrokeSession | None = None
        self.scores: KeptScores | None = None
        """Of the network, for the result that is worked on; None before the first stroke."""
        self._row_before_lesion: str | None = None
        """Whose row was selected when a lesion was to be drawn; None: none is."""
        self._on = on
        self._ui, self._place, self._editor, self._review = ui, place, editor, review
        self._segmentation: Any = None
        self._volume: Any = None
        ui.belongsButton.connect("clicked(bool)", lambda checked: self.draw(BELONGS))
        ui.outsideButton.connect("clicked(bool)", lambda checked: self.draw(OUTSIDE))
        ui.drawLesionButton.connect("clicked(bool)", lambda checked: self.draw_lesion())
        ui.undoStrokeButton.connect("clicked(bool)", lambda checked: self._step("undo"))
        ui.redoStrokeButton.connect("clicked(bool)", lambda checked: self._step("redo"))
        ui.reviewTable.connect("itemSelectionChanged()", self.update)
        self.update()

    def show(self, segmentation: Any, volume: Any) -> None:
        """Work on this segmentation; None: on none."""
        if segmentation is not self._segmentation or volume is not self._volume:
            self.cleanup()
        self._segmentation, self._volume = segmentation, volume
        self.update()

    def cleanup(self) -> None:
        """Put the brush down, and make no scores any more."""
        self.close()
        scores, self.scores = self.scores, None
        if scores is not None:
            scores.close()

    def draw(self, side: str) -> None:
        """Take up the brush for `BELONGS` or `OUTSIDE`."""
        from FLARESegLib.correction.stroke_session import StrokeSession, stroke_target

        key = self._key()
        target = stroke_target(key)
        if target is None:
            self._press("")
            return
        if self.session is not None and self.session.organ == target and self.session.scratch:
            self._paint(side)
            return
        row = self._row_before_lesion
        self.close()
        self._row_before_lesion = row if target == LESION else None
        session = self.session = StrokeSession(
            self._place, self._segmentation, self._volume, target, lambda: self._review.reviewed
        )
        session.changed.connect(self.update)
        if target != LESION:  # lesions are drawn without scores
            self._watch_scores()
        names = {BELONGS: _("Belongs"), OUTSIDE: _("Does not belong")}
        session.open(names, self._when_current(session, lambda: self._paint(side)))
        self._press(side)

    def draw_lesion(self) -> None:
        """Take up the brush for lesions, whether the result has any or not."""
        self._review.choose(LESION.key)
        self._row_before_lesion = self._review.chosen
        self.draw(BELONGS)

    def close(self) -> None:
        """Put the brush down; the strokes go, what they made stays."""
        session, self.session = self.session, None
        self._row_before_lesion = None
        if session is not None:
            self._editor.close()
            session.close()
        self._press("")
        self.update()

    def update(self) -> None:
        """Offer what can be done now, and say what was done."""
        from FLARESegLib.correction.stroke_session import stroke_target

        scored = self._scored()
        if scored is not None and scored.with_scores is False and self.scores:
            self.scores.ensure()  # the worker was ended meanwhile, or has run another CT
        there = self._segmentation is not None and self._volume is not None
        can = there and stroke_target(self._key()) is not None
        self._ui.belongsButton.setEnabled(can)
        self._ui.outsideButton.setEnabled(can)
        self._ui.drawLesionButton.setEnabled(there)
        history = None if self.session is None else self.session.history
        self._ui.undoStrokeButton.setEnabled(history is not None and bool(history.strokes))
        self._ui.redoStrokeButton.setEnabled(history is not None and bool(history.undone))
        self._ui.strokesLabel.setText(self._words())
        self._ui.strokesLabel.setVisible(self.session is not None)

    def _watch_scores(self) -> None:
        """See that the network's scores are there, or are made again."""
        from FLARESegLib.correction.kept_scores import KeptScores

        if self.scores is None:
            self.scores = KeptScores(self._place, self._segmentation, self._volume, self._on)
            self.scores.changed.connect(self.update)
            self.scores.made.connect(self._follow_again)
        self.scores.ensure()

    def _follow_again(self) -> None:
        scored = self._scored()
        if scored is not None:
            scored.solve_again()

    def _scored(self) -> StrokeSession | None:
        """Return the session, if its strokes are followed by the network's scores."""
        session = self.session
        return None if session is None or session.organ == LESION else session

    def _key(self) -> str:
        """Return the organ that is meant: the selected row's, else the first; or lesions."""
        if self._segmentation is None or self._segmentation.GetScene() is None:
            return ""
        if self._row_before_lesion == self._review.chosen:
            return LESION.key
        there = organ_segment_ids(self._segmentation)
        return self._review.chosen or next(iter(there), "")

    def _paint(self, side: str) -> None:
        assert self.session is not None
        self._editor.paint(self.session.scratch, self._volume, side)
        self._press(side)
        self.update()

    def _press(self, side: str) -> None:
        """Show which brush is taken up."""
        self._ui.belongsButton.setChecked(side == BELONGS)
        self._ui.outsideButton.setChecked(side == OUTSIDE)

    def _step(self, name: str) -> None:
        if self.session is not None:
            getattr(self.session, name)()

    def _when_current(self, session: StrokeSession, call: Callable[[], None]) -> Callable[[], None]:
        return lambda: call() if self.session is session else None

    def _words(self) -> str:
        session = self.session
        if session is None:
            return ""
        if session.problem is not None:
            return error_text(session.problem)
        name, count = session.organ.name, len(session.history.strokes)
        if session.busy:
            words = _("{organ}: following your strokes...").format(organ=name)
        elif count:
            strokes = by_count(count, _("1 stroke"), _("{count} strokes"))
            words = _("{organ}: {strokes}.").format(organ=name, strokes=strokes)
        elif session.organ == LESION:
            words = _(
                "Lesion: draw along the longest diameter of one that was missed or is too small; "
                "with Does not belong over one that is none."
            )
        else:
            words = _("{organ}: draw in any slice over what is wrong.").format(organ=name)
        return f"{words} {self._words_of_scores()}".strip()

    def _words_of_scores(self) -> str:
        """Say that strokes reach less far, and why; empty if they do not."""
        scores = self.scores if self._scored() is not None else None
        if scores is not None and scores.fraction is not None:
            percent = round(100 * scores.fraction)
            return _(
                "What the network believed is being worked out again ({percent} %); until then "
                "strokes reach less far, afterwards they are followed once more."
            ).format(percent=percent)
        if scores is not None and scores.problem is not None:
            return _(
                "Strokes reach less far: what the network believed cannot be worked out again. "
                "{reason}"
            ).format(reason=error_text(scores.problem))
        return ""
