"""How sure a model is of each organ, as a number that tracks how right it is.

1. `evidence_of`: what the organ stage's scores say about each organ. If a voxel is the organ with
   probability p, the overlap to expect of the voxels chosen, N with a sum of p of S inside and T
   everywhere, is DSC = 2 S / (N + T). Scores are at hand anyway; large organs are looked at on
   every second or third voxel, so that this costs a tenth of a second.
2. `expected_dsc`: networks are surer than they are right, by a different amount for each organ; the
   table `TRUST` says by how much. `benchmarks/confidence.py` makes it, and shows how well the
   number follows the true DSC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flare_core.anatomy.organs import Organ, organ
from flare_core.imaging.volume import Volume
from flare_core.segment.postprocess import organ_boxes

if TYPE_CHECKING:  # it imports torch, which whoever only measures labels need not wait for
    from flare_core.segment.stage import Scores

SAMPLE = 150_000
"""Voxels of an organ's box that are looked at, about; more would change the third decimal."""

AROUND = 8
"""Voxels around an organ's box where more of it may be, less likely than not."""

LOW = 0.7
"""Confidence below which an organ is probably wrong."""

TRUST: dict[str, tuple[float, float]] = {
    "liver": (1.03, 2.1),
    "right_kidney": (1.01, 1.9),
    "spleen": (1.04, 2.9),
    "pancreas": (1.06, 2.7),
    "aorta": (1.05, 4.2),
    "inferior_vena_cava": (1.04, 3.1),
    "right_adrenal_gland": (1.03, 4.9),
    "left_adrenal_gland": (1.06, 5.4),
    "gallbladder": (1.12, 5.2),
    "esophagus": (1.07, 5.1),
    "stomach": (1.05, 2.5),
    "duodenum": (1.07, 3.1),
    "left_kidney": (1.15, 6.1),
}
"""Organ key -> (top, slope): the DSC to expect is top - slope (1 - overlap), from 0 to `MOST`."""

MOST = 0.98
"""Nobody is surer: two persons who draw the same liver agree to about this."""

USUAL_TRUST = (1.04, 3.5)
"""The same for other organs."""

FAR_OUTSIDE = 2.5
"""How many times smaller or larger than the usual range a volume must be to speak against it."""

IMPOSSIBLE = 0.5
"""Most confidence in an organ whose volume nobody has."""


@dataclass(frozen=True)
class Evidence:
    """What the scores say about one organ, before clean-up."""

    volume_ml: float
    """Volume at the stage's voxel size."""
    inside: float
    """Mean probability of the organ over its voxels, 0 to 1."""
    overlap: float
    """DSC to expect if the probabilities were right, 0 to 1."""


def evidence_of(scores: Scores, labels: Volume | None = None) -> dict[str, Evidence]:
    """Return organ key -> evidence, of every organ in the stage's best labels.

    Parameters
    ----------
    labels : Volume, optional
        `scores.labels()`, if it is at hand.
    """
    labels = labels or scores.labels()
    boxes = organ_boxes(labels.array)
    found = {}
    for channel, key in scores.card.organ_channels:
        place = boxes.get(organ(key).id)
        if place is None:
            continue
        whole = int(np.count_nonzero(labels.array[place] == organ(key).id))
        z, y, x = _thinned(place, labels.array.shape)
        mask = labels.array[z, y, x] == organ(key).id
        if not mask.any():  # thinner than the step between two voxels looked at
            z, y, x = place
            mask = labels.array[place] == organ(key).id
        part = replace(scores, logits=scores.logits[:, z, y, x])
        p = part.probabilities()[channel].cpu().numpy()  # float32 (Z, Y, X)
        inside = float(p[mask].mean(dtype=np.float64))
        count = int(np.count_nonzero(mask))
        overlap = 2 * inside * count / (count + float(p.sum(dtype=np.float64)))
        found[key] = Evidence(whole * labels.geometry.voxel_ml, inside, min(1.0, overlap))
    return found


def _thinned(
    place: tuple[slice, slice, slice], shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """Return a box, widened, with the step at which about `SAMPLE` voxels of it are looked at."""
    start = [max(0, side.start - AROUND) for side in place]
    stop = [min(n, side.stop + AROUND) for side, n in zip(place, shape, strict=True)]
    size = math.prod(b - a for a, b in zip(start, stop, strict=True))
    step = max(1, math.ceil((size / SAMPLE) ** (1 / 3)))
    z, y, x = (slice(a, b, step) for a, b in zip(start, stop, strict=True))
    return z, y, x


def expected_dsc(target: Organ, evidence: Evidence | None, values: Mapping[str, float]) -> float:
    """Return the DSC to expect of one organ, 0 to 1; NaN without evidence.

    Parameters
    ----------
    values : mapping
        The organ's ``volume`` (mL) and ``touches_border`` (1 if the scan's edge cuts it), as
        `statistics.MEASURES` has them.

    Examples
    --------
    >>> liver = organ("liver")
    >>> sure = Evidence(1400.0, 0.99, 0.97)
    >>> round(expected_dsc(liver, sure, {"volume": 1400.0, "touches_border": 0.0}), 2)
    0.97
    >>> expected_dsc(liver, sure, {"volume": 6000.0, "touches_border": 0.0})  # ascites
    0.5
    """
    if evidence is None:
        return math.nan
    top, slope = TRUST.get(target.key, USUAL_TRUST)
    expected = min(MOST, max(0.0, top - slope * (1 - evidence.overlap)))
    if target.volume_range_ml is not None:
        low, high = target.volume_range_ml
        small = values["volume"] < low / FAR_OUTSIDE and not values["touches_border"]
        if small or values["volume"] > high * FAR_OUTSIDE:
            return min(expected, IMPOSSIBLE)
    return expected
