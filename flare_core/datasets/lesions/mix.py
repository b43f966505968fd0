"""Lesions with their surroundings, pasted into scans without one (CutMix with context).

Few scans have annotated lesions. A lesion is copied with a margin of the tissue around it and set
into the same organ, or any other, of a scan that shows none: the network meets each lesion in many
bodies. The margin keeps the contrast between lesion and tissue, which is what is learned.

Source: team citi, FLARE23 (Zhou, Liu and Zheng 2024, "Context-aware CutMix is all you need for
universal organ and cancer segmentation").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.datasets.cache import Sample
from flare_core.datasets.sampling import PatchLocation, pick, pull_inside

MARGIN_MM = 10.0
"""Tissue copied around a lesion."""

Slices = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class MixedLesion:
    """One lesion of a scan."""

    sample: Sample
    """Where it is."""
    box: Slices
    """The lesion and its margin, voxels (z, y, x)."""
    organ_id: int
    """The organ that most of the margin belongs to; 0 if no organ is known there."""


class LesionMix:
    """Pastes lesions of some samples into others.

    Parameters
    ----------
    samples : sequence of Sample
        Lesions are taken from those that annotate and hold them.
    patch : (int, int, int)
        Voxels z, y, x; a lesion that does not fit into half of it is left where it is.
    """

    def __init__(self, samples: Sequence[Sample], patch: tuple[int, int, int]) -> None:
        self.patch = patch
        drawable = [sample for sample in samples if sample.case.weight > 0]
        self.lesions = [each for sample in drawable for each in lesions_of(sample, patch)]

    def paste(self, location: PatchLocation, random: np.random.Generator) -> PatchLocation:
        """Return the location with a lesion pasted into its scan, and the patch moved to show it.

        A scan with lesions of its own, or without an organ to put one in, stays as it is.
        """
        host = location.sample
        places = [key for key in host.places if key != LESION.id]
        if not self.lesions or LESION.id in host.places or not places:
            return location
        donors = list(dict.fromkeys(each.sample for each in self.lesions))
        donor = pick(donors, random)
        mine = [each for each in self.lesions if each.sample is donor]
        lesion = mine[int(random.integers(len(mine)))]
        organ_id = lesion.organ_id if lesion.organ_id in places else int(random.choice(places))
        target = _place(host, lesion, organ_id, random)
        mixed = _mixed(host, lesion, target)
        centre = np.array([(s.start + s.stop - 1) / 2 for s in target])
        centre += random.uniform(-0.25, 0.25, 3) * self.patch
        return PatchLocation(
            mixed, pull_inside(centre, host.image.shape, np.asarray(self.patch, float))
        )


def lesions_of(sample: Sample, patch: tuple[int, int, int]) -> list[MixedLesion]:
    """Return the lesions of a sample that fit, with their margin, into half a patch."""
    if LESION.key not in sample.case.annotated or LESION.id not in sample.places:
        return []
    margin = [round(MARGIN_MM / mm) for mm in sample.spacing_mm]
    pieces, _ = ndimage.label(sample.labels == LESION.id)
    found = []
    for part in ndimage.find_objects(pieces):
        box = tuple(
            slice(max(0, s.start - m), min(n, s.stop + m))
            for s, m, n in zip(part, margin, sample.image.shape, strict=True)
        )
        if all(2 * (s.stop - s.start) <= n for s, n in zip(box, patch, strict=True)):
            found.append(MixedLesion(sample, box, _surroundings(sample.labels[box])))
    return found


def _surroundings(labels: npt.NDArray[np.uint8]) -> int:
    """Return the organ with most voxels in a box; 0 if there is none."""
    sizes = np.bincount(labels.ravel(), minlength=256)
    organs = [each.id for each in ORGANS]
    best = organs[int(np.argmax(sizes[organs]))]
    return best if sizes[best] else 0


def _place(host: Sample, lesion: MixedLesion, organ_id: int, random: np.random.Generator) -> Slices:
    """Return where the lesion's box goes: around a voxel of the organ, inside the scan."""
    centre = random.choice(host.places[organ_id])
    target = []
    for middle, part, n in zip(centre, lesion.box, host.image.shape, strict=True):
        size = min(part.stop - part.start, n)
        start = int(np.clip(middle - size // 2, 0, n - size))
        target.append(slice(start, start + size))
    return tuple(target)


def _mixed(host: Sample, lesion: MixedLesion, target: Slices) -> Sample:
    """Return a copy of the host with the box pasted.

    The donor's organ labels come along if it annotates all that the host does; otherwise the host's
    stay, for the box lies inside one of its organs. Lesions are annotated in the mix, as the host
    shows none that anybody marked.
    """
    source = tuple(
        slice(s.start, s.start + t.stop - t.start) for s, t in zip(lesion.box, target, strict=True)
    )
    image, labels = host.image.copy(), host.labels.copy()
    image[target] = lesion.sample.image[source]
    theirs = lesion.sample.labels[source]
    if set(host.case.annotated) <= set(lesion.sample.case.annotated):
        known = [0, LESION.id, *(organ(key).id for key in host.case.annotated)]
        labels[target] = np.where(np.isin(theirs, known), theirs, 0)
    else:
        labels[target] = np.where(theirs == LESION.id, LESION.id, labels[target])
    annotated = tuple(dict.fromkeys((*host.case.annotated, LESION.key)))
    case = replace(host.case, annotated=annotated)
    return replace(host, case=case, image=image, labels=labels, edited=None, soft=None)
