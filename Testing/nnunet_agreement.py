"""What our engine and nnU-Net's own predictor say of one image, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_core.anatomy.organs import ALL_TARGETS, organ
from flare_core.imaging.geometry import Box
from flare_core.imaging.volume import Volume
from flare_core.models.package import Package
from flare_core.segment.runtime import Runtime
from flare_core.segment.stage import LoadedStage, load_stage, run_stage

WANTED = 0.999
"""Least share of equal voxels, and least DSC of an organ."""

FEW = 2
"""Voxels in which even an organ of a few dozen may differ: one rounding at its surface."""


@dataclass(frozen=True)
class Agreement:
    """How far two label maps are the same."""

    equal: float
    """Share of equal voxels."""
    labelled: float
    """Share of voxels in which nnU-Net found an organ: 0 would be a comparison of nothing."""
    dsc: dict[str, float]
    """By organ, of those that one of the two found."""
    different: dict[str, int]
    """Voxels in one of the two only, by organ."""

    @property
    def holds(self) -> bool:
        """Whether the labels are nnU-Net's."""
        organs = all(self.dsc[key] >= WANTED or self.different[key] <= FEW for key in self.dsc)
        return bool(self.labelled > 0 and self.equal >= WANTED and organs)


def agreement(mine: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Compare two maps of organ ids."""
    dsc, different = {}, {}
    for each in ALL_TARGETS:
        a, b = mine == each.id, theirs == each.id
        both = int(a.sum()) + int(b.sum())
        if both:
            dsc[each.key] = 2 * int((a & b).sum()) / both
            different[each.key] = int((a ^ b).sum())
    return Agreement(float(np.mean(mine == theirs)), float(np.mean(theirs > 0)), dsc, different)


def loaded(package: Package, precision: str = "float32") -> LoadedStage:
    """Return the package's organ stage, ready to run on one thread of the CPU."""
    stage = load_stage(package, "organs", Runtime("cpu", precision, 1))
    assert stage is not None
    return stage


def our_labels(stage: LoadedStage, image: Volume) -> np.ndarray:
    """Return organ ids in the image's own axes, of the whole image."""
    canonical, axis_map = image.canonical()
    scores = run_stage(stage, canonical, Box.of_shape(canonical.geometry.shape))
    return axis_map.undo(scores.labels_on(canonical.geometry).array)


def their_labels(package: Package, found: np.ndarray) -> np.ndarray:
    """Return nnU-Net's labels as our organ ids; what is no organ of ours becomes 0."""
    told = package.card.provenance
    table = np.zeros(256, np.uint8)
    for name, key in told["labels"].items():
        if not key.startswith(("background", "other")):
            table[told["values"][name]] = organ(key).id
    return table[found]
