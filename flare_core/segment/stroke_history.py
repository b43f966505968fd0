"""The strokes drawn on one result, in order: take any of them back, undo, redo; solve anew.

Nothing but the strokes and the labels they started from is kept: the corrected labels always follow
from these two, so that taking a stroke back needs no memory of what it had changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import LESION
from flare_core.errors import InputError
from flare_core.imaging.volume import Volume
from flare_core.segment.belief import ClassScores
from flare_core.segment.lesion_strokes import with_lesions, without_lesions
from flare_core.segment.strokes import Mask, StrokeSettings, correct_by_strokes

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke of a person."""

    organ: int
    """Id of the organ that it is about."""
    belongs: bool
    """Whether the voxels are the organ's, or are not."""
    voxels: npt.NDArray[np.int32]
    """(n, 3): z, y, x on the scan's grid."""

    @classmethod
    def of_mask(cls, organ: int, belongs: bool, mask: Mask) -> Stroke:
        """Return a stroke over the true voxels of a mask (Z, Y, X)."""
        return cls(organ, belongs, np.argwhere(mask).astype(np.int32))


@dataclass(frozen=True, eq=False)
class StrokeHistory:
    """Strokes that count, and those that were taken back and can come again."""

    strokes: tuple[Stroke, ...] = ()
    """In the order they were drawn; where two meet, the later one counts."""
    undone: tuple[Stroke, ...] = ()
    """Taken back by `undo`, the last one last."""

    def draw(self, stroke: Stroke) -> StrokeHistory:
        """Return the history with one more stroke; what was undone is gone."""
        return StrokeHistory((*self.strokes, stroke)) if len(stroke.voxels) else self

    def undo(self) -> StrokeHistory:
        """Return the history without its last stroke; itself if there is none."""
        if not self.strokes:
            return self
        return StrokeHistory(self.strokes[:-1], (*self.undone, self.strokes[-1]))

    def redo(self) -> StrokeHistory:
        """Return the history with the stroke that was undone last; itself if there is none."""
        if not self.undone:
            return self
        return StrokeHistory((*self.strokes, self.undone[-1]), self.undone[:-1])

    def without(self, number: int) -> StrokeHistory:
        """Return the history without one stroke, whenever it was drawn.

        Parameters
        ----------
        number : int
            Its place in `strokes`.

        Raises
        ------
        InputError
            If there is no such stroke.
        """
        if not 0 <= number < len(self.strokes):
            raise InputError(
                "stroke", str(number), f"0 to {len(self.strokes) - 1}", "Choose one that is there."
            )
        return replace(self, strokes=self.strokes[:number] + self.strokes[number + 1 :])

    @property
    def organs(self) -> tuple[int, ...]:
        """Ids of the organs that have strokes, in the order of their first."""
        return tuple(dict.fromkeys(stroke.organ for stroke in self.strokes))

    def marked(self, organ: int, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
        """Return what was marked as an organ, and as not it: two masks (Z, Y, X)."""
        belongs, outside = np.zeros(shape, bool), np.zeros(shape, bool)
        for stroke in self.strokes:
            if stroke.organ == organ:
                place = tuple(stroke.voxels.T)
                belongs[place], outside[place] = stroke.belongs, not stroke.belongs
        return belongs, outside


def corrected_labels(
    image: Volume,
    labels: Labels,
    history: StrokeHistory,
    *,
    scores: ClassScores | None = None,
    protected: tuple[int, ...] = (),
    settings: StrokeSettings | None = None,
) -> Labels:
    """Return the labels that strokes make of what was there before any of them.

    Voxels that come to an organ leave the organ they were; voxels that leave one become background.
    Lesions lie over their organs: an organ's strokes leave them there and see the organ whole;
    where a lesion goes, the organ around it is there again.

    Parameters
    ----------
    image : Volume (Z, Y, X), HU
        Any axis order.
    labels : uint8 (Z, Y, X)
        Organ ids before the first stroke; unchanged.
    history : StrokeHistory
    scores : ClassScores, optional
        What the network believed; without them labels and image alone count.
    protected : tuple of int
        Ids of organs that lose no voxel to another, those that were reviewed.
    settings : StrokeSettings, optional

    Raises
    ------
    InputError
        If a stroke lies outside of the scan, or only on protected voxels.
    """
    scan, axes = image.canonical()
    result = np.array(axes.apply(labels), np.uint8)
    for organ in history.organs:
        belongs, outside = (
            np.asarray(axes.apply(m), bool) for m in history.marked(organ, labels.shape)
        )
        if organ == LESION.id:
            result = with_lesions(scan, result, belongs, outside)
            continue
        lesions = result == LESION.id
        organs = without_lesions(result) if lesions.any() else result
        solved = correct_by_strokes(
            scan, organs == organ, belongs, outside,
            probability=None if scores is None else scores.belief(organ),
            others=(organs != 0) & (organs != organ),
            protected=np.isin(organs, [other for other in protected if other != organ]),
            settings=settings or StrokeSettings(),
        )  # fmt: skip
        part, new = organs[solved.box.slices], solved.mask[solved.box.slices]
        part[(part == organ) & ~new] = 0
        part[new] = organ
        result = np.where(lesions, np.uint8(LESION.id), organs)
    return np.array(axes.undo(result), np.uint8)
