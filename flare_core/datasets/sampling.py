"""Which case, and where in it: class-centred patches.

As FLARE23's winner: draw an organ evenly, then a case that has it, then a patch around one of its
voxels. Small organs are then seen as often as the liver. Some patches lie anywhere, so that the
network also learns what is no organ at all.

Labels may be partial: an organ is only looked for in the cases that annotate it. (FLARE23's second
team drew batches of one labelled set, for a batch had one loss; here every patch has its own, so
sets may be mixed, or not: `PatchSampler.draw`.) Cases without any annotation are drawn apart, as
often as asked, anywhere in the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import ALL_TARGETS, LESION, organ
from flare_core.datasets.cache import Sample
from flare_core.errors import InputError
from flare_core.wording import many

ALL_KEYS = tuple(each.key for each in ALL_TARGETS)
"""Everything that a patch can be centred on."""

REMNANT = 0.05
"""Share of an organ's largest volume among the cases below which a case does not count as holding
it: what the scan's edge left over, or a few voxels a labeller put where a gallbladder once was."""


@dataclass(frozen=True)
class PatchLocation:
    """Where one patch is cut."""

    sample: Sample
    """From which scan."""
    centre: npt.NDArray[np.float64]
    """The middle of the patch (z, y, x) as a voxel index: between two voxels if the patch has an
    even number of them."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Samples that are drawn from together."""

    samples: list[Sample]
    """For patches anywhere."""
    holders: dict[int, list[Sample]]
    """Organ id -> those of the samples that hold it, for patches around it."""


class PatchSampler:
    """Draws patches; holds no state, so any patch of a run can be drawn again, in any order.

    Parameters
    ----------
    samples : sequence of Sample
        A case is drawn in proportion to its weight.
    patch : (int, int, int)
        Size (z, y, x), voxels; centres are jittered by up to a quarter of it.
    organs : sequence of str
        Keys of the organs to centre on; a case that annotates none of them counts as unlabelled.
    centres : sequence of str
        Keys to centre on instead of `organs`, which then only say what is learned.
    centred : float
        Share of class-centred patches among those of labelled cases, 0 to 1.
    unlabelled_share : float
        Share of patches from unlabelled cases, 0 to 1, if there are both kinds.
    full_share : float
        Share, among patches of labelled cases, of those that annotate all `organs`, 0 to 1; 0
        makes no difference between them and partly labelled ones.

    Raises
    ------
    InputError
        If no sample has a weight above 0.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        patch: tuple[int, int, int],
        *,
        organs: Sequence[str] = ALL_KEYS,
        centres: Sequence[str] = (),
        centred: float = 0.8,
        unlabelled_share: float = 0.5,
        full_share: float = 0.0,
    ) -> None:
        drawable = [s for s in samples if s.case.weight > 0]
        if not drawable:
            raise InputError(
                "samples",
                f"{many(len(samples), 'case')}, none with a weight above 0",
                "at least one case to draw from",
                "Add cases, or raise their weights.",
            )
        known = {id(s): set(organs) & set(s.case.annotated) for s in drawable}
        labelled = [s for s in drawable if known[id(s)]]
        full = {id(s) for s in labelled if len(known[id(s)]) == len(set(organs))}
        holders = _holders(labelled, centres or organs)
        self.labelled = Pool(labelled, holders)
        self.unlabelled = Pool([s for s in drawable if not known[id(s)]], {})
        self.sets = [
            _part(self.labelled, lambda sample, keys=keys: known[id(sample)] == keys)  # type: ignore[misc]
            for keys in sorted({frozenset(known[id(s)]) for s in labelled}, key=sorted)
        ]
        self.full = _part(self.labelled, lambda sample: id(sample) in full)
        self.partly = _part(self.labelled, lambda sample: id(sample) not in full)
        self.patch = np.asarray(patch, float)
        self.centred, self.unlabelled_share = centred, unlabelled_share
        self.full_share = full_share

    def draw(
        self, random: np.random.Generator, batch: np.random.Generator | None = None
    ) -> PatchLocation:
        """Return a patch; all chance comes from `random`, or from it and `batch`.

        `batch` begins alike for all patches of a batch, so that their cases annotate the same
        organs; such a set of cases is drawn by its size.
        """
        pool = self._pool(random) if batch is None else self._set(batch)
        if pool.holders and random.random() < self.centred:
            organ_id = int(random.choice(sorted(pool.holders)))
            sample = pick(pool.holders[organ_id], random)
            centre = random.choice(sample.places[organ_id]).astype(float)
            centre += random.uniform(-0.25, 0.25, 3) * self.patch
        else:
            sample = pick(pool.samples, random)
            size = np.asarray(sample.image.shape, float)
            centre = random.uniform(0.0, 1.0, 3) * size - 0.5
        return PatchLocation(sample, pull_inside(centre, sample.image.shape, self.patch))

    def _pool(self, random: np.random.Generator) -> Pool:
        """Return the unlabelled, the fully labelled, the partly labelled or all labelled cases."""
        if not self.labelled.samples:
            return self.unlabelled
        if self.unlabelled.samples and random.random() < self.unlabelled_share:
            return self.unlabelled
        if self.full_share and self.full.samples and self.partly.samples:
            return self.full if random.random() < self.full_share else self.partly
        return self.labelled

    def _set(self, random: np.random.Generator) -> Pool:
        """Return the unlabelled cases, or those that annotate the same organs."""
        pool = self._pool(random)
        if pool not in (self.labelled, self.partly):
            return pool
        among = [s for s in self.sets if any(one is s.samples[0] for one in pool.samples)]
        sizes = np.array([len(each.samples) for each in among], float)
        return among[int(random.choice(len(among), p=sizes / sizes.sum()))]


def _part(pool: Pool, belongs: Callable[[Sample], bool]) -> Pool:
    """Return the part of a pool that belongs."""
    holders = {k: [s for s in rows if belongs(s)] for k, rows in pool.holders.items()}
    samples = [s for s in pool.samples if belongs(s)]
    return Pool(samples, {k: rows for k, rows in holders.items() if rows})


def pick(samples: Sequence[Sample], random: np.random.Generator) -> Sample:
    """Return one of the samples, drawn by weight."""
    weights = np.array([s.case.weight for s in samples], float)
    return samples[int(random.choice(len(samples), p=weights / weights.sum()))]


def _holders(samples: Sequence[Sample], organs: Sequence[str]) -> dict[int, list[Sample]]:
    """Return organ id -> samples that annotate it and hold more than a remnant of it."""
    volumes: dict[int, list[tuple[float, Sample]]] = {}
    for sample in samples:
        annotated = {organ(key).id for key in sample.case.annotated if key in organs}
        for organ_id in annotated & set(sample.places):
            volumes.setdefault(organ_id, []).append((sample.volumes_ml[organ_id], sample))
    holders = {}
    for organ_id, rows in volumes.items():
        share = 0.0 if organ_id == LESION.id else REMNANT
        least = share * max(size for size, _ in rows)
        holders[organ_id] = [sample for size, sample in rows if size >= least]
    return holders


def pull_inside(
    centre: npt.NDArray[np.float64], shape: tuple[int, ...], patch: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Move a centre so that the patch hangs over the scan's edge as little as it can.

    The patch then begins at a whole voxel: what is not augmented is not blurred either.

    Examples
    --------
    >>> pull_inside(np.array([1.2, 7.9, 3.0]), (10, 10, 4), np.array([4.0, 5.0, 6.0])).tolist()
    [1.5, 7.0, 1.5]
    """
    room = np.asarray(shape) - patch  # negative where the scan is smaller than the patch
    start = np.clip(np.rint(centre - (patch - 1) / 2), 0, np.maximum(room, 0))
    start = np.where(room < 0, np.floor(room / 2), start)
    return start + (patch - 1) / 2
