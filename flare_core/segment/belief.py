"""What the network believed of each organ, kept small: for whoever corrects what it made.

Scores stay at the network's resolution, in float16; nothing is resampled until an organ is asked
for, and then only where it is needed (`strokes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

if TYPE_CHECKING:
    from flare_core.segment.stage import Scores

MOST_BYTES = 600_000_000
"""Scores of a larger box are not kept: 14 classes of 350 x 250 x 240 voxels have this size."""

LEAST = 1e-4
"""Probability below which float16 says little."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How likely each class is, in the box that the organ stage looked at."""

    probabilities: npt.NDArray[np.float16]
    """(K, Z, Y, X), background first, 0 to 1; canonical axes."""
    organs: tuple[int, ...]
    """Organ id of each class; 0 is background, or what we have no organ for."""
    geometry: Geometry
    """The network's grid."""

    def belief(self, number: int) -> Volume | None:
        """Return how an organ stands against the best other class, float32 (Z, Y, X), 0 to 1.

        Above one half the organ wins. None: the network knows no such organ.

        Parameters
        ----------
        number : int
            The organ's id.
        """
        if number == 0 or number not in self.organs:
            return None
        mine = np.array(self.organs) == number
        ours = self.probabilities[mine].max(axis=0).astype(np.float32) + np.float32(LEAST)
        best = self.probabilities[~mine].max(axis=0).astype(np.float32) + np.float32(LEAST)
        return Volume(ours / (ours + best), self.geometry)


def kept_scores(scores: Scores) -> ClassScores | None:
    """Return a stage's scores in a form to keep; None if they are too large to.

    Parameters
    ----------
    scores : Scores
        The organ stage's, or the mean of its folds'.
    """
    from flare_core.segment.stage import organ_table

    table = organ_table(scores.card)
    if 2 * len(table) * scores.logits[0].numel() > MOST_BYTES:
        return None
    each = scores.class_probabilities().half().cpu().numpy()
    return ClassScores(each, tuple(int(k) for k in table), scores.geometry)
