"""What a label map holds, and which planes show it best.

Steps: count every label in every slice, list the organs with their volume, then choose planes.
All of it works on a canonical volume (axes towards Superior, Posterior, Left) and reads each
label once, inside the box that holds any.

Then choose the part of the planes to show: the body around the organs, without air and table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core.anatomy.organs import Organ, organ
from flare_core.imaging.geometry import Box, Geometry, Index
from flare_core.imaging.volume import Volume
from flare_core.segment.lesion_list import Lesion
from flare_core.segment.statistics import outside_range

Counts = npt.NDArray[np.int64]

SAMPLES = 250_000
"""Voxels that are enough to know where an organ's middle is; more would only cost time."""

FEWEST = 4
"""Slices to show at least, where the scan has them, and otherwise a multiple: whole rows."""


@dataclass(frozen=True)
class OrganFinding:
    """One organ of a label map."""

    organ: Organ
    """Which organ."""
    volume_ml: float
    """Volume of its voxels, mL; 0 if it was looked for and not found."""
    cut: bool
    """Whether it touches a face of the scan, so that a part of it may be outside."""

    @property
    def verdict(self) -> str:
        """``low``, ``high`` or nothing: the volume against the usual range of adults.

        A cut organ is never called small: the missing part is outside the scan.
        """
        usual = self.organ.volume_range_ml
        if usual is None or self.volume_ml == 0:
            return ""
        if outside_range(self.volume_ml, usual, cut=self.cut) != 1:
            return ""
        return "high" if self.volume_ml > usual[1] else "low"


@dataclass(frozen=True, eq=False)
class Survey:
    """Every label of a canonical label map, counted."""

    box: Box
    """The smallest box around all labels; the grid's inner half in y and x if there is none."""
    counts: Counts
    """Voxels of each label value in each slice, (Z, 256)."""
    centres: npt.NDArray[np.float64]
    """Middle of each label in voxels z, y, x, (256, 3); NaN where the value is absent."""
    faces: frozenset[int]
    """Label values that touch a face of the grid."""

    @property
    def present(self) -> tuple[int, ...]:
        """Label values found, background left out."""
        return tuple(int(value) for value in np.flatnonzero(self.counts[:, 1:].any(axis=0)) + 1)


def survey(labels: Volume) -> Survey:
    """Count the labels of a canonical uint8 label map (Z, Y, X)."""
    array = labels.array
    box = Box.of_mask(array)
    if box is None:
        empty = np.zeros((array.shape[0], 256), np.int64)
        nowhere = np.full((256, 3), np.nan)
        return Survey(_central(labels.geometry.shape), empty, nowhere, frozenset())
    # A copy of the box alone: other axis orders than (z, y, x) would make every slice slow.
    core = np.ascontiguousarray(array[box.slices])
    return Survey(box, _slice_counts(core, box, array.shape[0]), _centres(core, box), _faces(array))


def findings(
    labels: Survey, organs: Sequence[Organ], voxel_ml: float, lesions: Sequence[Lesion] = ()
) -> tuple[OrganFinding, ...]:
    """Return one row per organ of `organs`, in that order, absent ones with 0 mL.

    An organ's volume is with the lesions that are part of it.
    """
    volumes = labels.counts.sum(axis=0) * voxel_ml
    for lesion in lesions:
        if lesion.within:
            volumes[organ(lesion.organ).id] += lesion.volume_ml
    return tuple(
        OrganFinding(each, float(volumes[each.id]), each.id in labels.faces) for each in organs
    )


def axial_planes(labels: Survey, number: int, wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """Choose up to `number` slices, spread over the organs, from superior to inferior.

    Steps are shorter where there are more organs: a long aorta alone needs few pictures. Then an
    organ that no slice shows takes over the nearest slice that hides no other organ by moving, and
    each slice of `wanted` takes the place of the nearest one that is not wanted itself.
    """
    depth = labels.counts.shape[0]
    start, stop = _at_least(labels.box.start[0], labels.box.stop[0], FEWEST, depth)
    weights = 1 + np.count_nonzero(labels.counts[start:stop, 1:], axis=1)
    reached = np.cumsum(weights)
    number = min(number, stop - start)
    number -= number % FEWEST if number > FEWEST else 0
    goals = (np.arange(number) + 0.5) / number * reached[-1]
    chosen = _distinct((start + np.searchsorted(reached, goals)).tolist(), stop)
    for value in labels.present:
        if not labels.counts[chosen, value].any():
            _show(value, chosen, labels.counts)
    for plane in wanted:
        others = [slot for slot, z in enumerate(chosen) if z not in wanted]
        if plane not in chosen and others:
            chosen[min(others, key=lambda slot: abs(chosen[slot] - plane))] = plane
    return tuple(sorted(set(chosen), reverse=True))


def long_planes(labels: Survey, axis: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Choose coronal (`axis` 1) or sagittal (`axis` 2) planes through the organs' middles.

    Parameters
    ----------
    shares : sequence of float, 0 to 1
        Each plane leaves this share of the organs in front of it (or to the right of it). Every
        organ counts once, whatever its size: otherwise the liver would decide alone.
    """
    first, last = labels.box.start[axis], labels.box.stop[axis] - 1
    middles = labels.centres[np.isfinite(labels.centres[:, axis]), axis]
    even = [first + share * (last - first) for share in shares]
    if middles.size == 0:
        return _rounded(even)
    planes = [float(plane) for plane in np.quantile(middles, shares)]
    far_enough = np.diff(planes).min() * 12 >= last - first if len(planes) > 1 else True
    return _rounded(planes if far_enough else even)


def _central(shape: Index) -> Box:
    """Return where a body most likely is, if no label tells."""
    depth, height, width = shape
    return Box((0, height // 4, width // 4), (depth, height - height // 4, width - width // 4))


def _distinct(rising: list[int], stop: int) -> list[int]:
    """Move equal slices apart, first upwards, then down from `stop`."""
    for slot in range(1, len(rising)):
        rising[slot] = max(rising[slot], rising[slot - 1] + 1)
    for slot in range(len(rising)):
        rising[-1 - slot] = min(rising[-1 - slot], stop - 1 - slot)
    return rising


def _rounded(planes: Sequence[float]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(round(plane) for plane in planes))


def _show(value: int, chosen: list[int], counts: Counts) -> None:
    """Move one of `chosen` to the slice with most of label `value`, unless that hides a label."""
    best = int(counts[:, value].argmax())
    for slot in sorted(range(len(chosen)), key=lambda each: abs(chosen[each] - best)):
        moved = [*chosen[:slot], best, *chosen[slot + 1 :]]
        if not (counts[chosen].any(axis=0) & ~counts[moved].any(axis=0)).any():
            chosen[slot] = best
            return


def _at_least(start: int, stop: int, length: int, limit: int) -> tuple[int, int]:
    """Widen ``[start, stop)`` to `length` where the grid of `limit` slices allows it."""
    missing = max(0, length - (stop - start))
    start = max(0, start - (missing + 1) // 2)
    return max(0, min(start, limit - length)), min(limit, max(stop, start + length))


def _slice_counts(core: npt.NDArray[np.generic], box: Box, depth: int) -> Counts:
    """Count slice by slice: counting the block at once would widen it to 8 bytes a voxel."""
    counts = np.zeros((depth, 256), np.int64)
    voxels = core.shape[1] * core.shape[2]
    for number, plane in enumerate(core, start=box.start[0]):
        counts[number] = np.bincount(plane.ravel(), minlength=256)
    counts[:, 0] = voxels - counts[:, 1:].sum(axis=1)
    return counts


def _centres(core: npt.NDArray[np.generic], box: Box) -> npt.NDArray[np.float64]:
    """Return each label's mean position from a sparse grid of samples."""
    steps = _strides(core.shape)
    sparse = core[tuple(slice(step // 2, None, step) for step in steps)]
    positions = np.nonzero(sparse)
    values = sparse[positions]
    number = np.bincount(values, minlength=256).astype(float)
    number[number == 0] = np.nan
    columns = [
        first + step // 2 + step * np.bincount(values, at, minlength=256) / number
        for at, step, first in zip(positions, steps, box.start, strict=True)
    ]
    return np.stack(columns, axis=1)


def _strides(shape: Sequence[int]) -> Index:
    """Return the same stride for every axis, never longer than an axis."""
    step = max(1, round((np.prod(shape) / SAMPLES) ** (1 / 3)))
    z, y, x = (min(step, size) for size in shape)
    return z, y, x


def _faces(array: npt.NDArray[np.generic]) -> frozenset[int]:
    """Return the label values in the first and last plane of every axis."""
    planes = [np.moveaxis(array, axis, 0)[end] for axis in range(3) for end in (0, -1)]
    counts = np.sum([np.bincount(plane.ravel(), minlength=256) for plane in planes], axis=0)
    return frozenset((np.flatnonzero(counts[1:]) + 1).tolist())


BODY_HU = -300.0
"""Between fat and the air around the body."""
COARSE_MM = 3.0
"""Pixel size at which the body is looked for."""
THIN_MM = 21.0
"""What is thinner than this (table, blanket, tubes) is not the body."""
AROUND_BODY_MM = 6.0
ABOVE_ORGANS_MM = 25.0
"""Shown above and below the organs."""
LEAST_MM = 200.0
"""Least height of the coronal and sagittal pictures, where the scan has it."""


def field_of_view(scan: Volume, organs: Box, slices: Sequence[int]) -> Box:
    """Return the box to show of a canonical scan.

    Parameters
    ----------
    scan : Volume (Z, Y, X), HU
        Only the planes `slices` are read.
    organs : Box
        Stays inside the result.
    slices : sequence of int
        The axial planes that will be shown.
    """
    geometry = scan.geometry
    body = _body(scan, slices)
    around = organs if body is None else body.union(organs)
    height = (organs.stop[0] - organs.start[0]) * geometry.spacing_mm[0]
    above = max(ABOVE_ORGANS_MM, (LEAST_MM - height) / 2)
    margin = _voxels((above, AROUND_BODY_MM, AROUND_BODY_MM), geometry)
    whole = Box((organs.start[0], *around.start[1:]), (organs.stop[0], *around.stop[1:]))
    return whole.grow(margin, geometry.shape)


def _body(scan: Volume, slices: Sequence[int]) -> Box | None:
    """Return the box (in y and x) around the body in some axial planes, or None if all is air."""
    steps = [max(1, int(COARSE_MM / mm)) for mm in scan.geometry.spacing_mm[1:]]
    planes = np.stack([scan.array[z, :: steps[0], :: steps[1]] for z in slices])
    solid = planes > BODY_HU
    cores = solid
    radii = []
    for axis, step in zip((1, 2), steps, strict=True):
        reach = int(THIN_MM / 2 / (step * scan.geometry.spacing_mm[axis]))
        radii.append(reach)
        cores = _eroded(cores, axis, reach)
    found = Box.of_mask(cores)
    if found is None:
        return None
    depth, height, width = scan.geometry.shape
    start = [(found.start[a + 1] - radii[a]) * steps[a] for a in (0, 1)]
    stop = [(found.stop[a + 1] + radii[a]) * steps[a] for a in (0, 1)]
    grown = Box((0, start[0], start[1]), (depth, stop[0], stop[1]))
    return grown.intersect(Box.of_shape((depth, height, width)))


def _eroded(mask: npt.NDArray[np.bool_], axis: int, reach: int) -> npt.NDArray[np.bool_]:
    """Keep the pixels with `reach` more on both sides along `axis`; past the edge counts as set."""
    kept = mask
    moved = np.moveaxis(mask, axis, -1)
    size = moved.shape[-1]
    for step in range(1, min(reach, size - 1) + 1):
        inner = np.ones(moved.shape, bool)
        inner[..., step:] &= moved[..., :-step]
        inner[..., :-step] &= moved[..., step:]
        kept = kept & np.moveaxis(inner, -1, axis)
    return kept


def _voxels(margin_mm: tuple[float, float, float], geometry: Geometry) -> Index:
    z, y, x = (
        int(np.ceil(max(0.0, mm) / step))
        for mm, step in zip(margin_mm, geometry.spacing_mm, strict=True)
    )
    return z, y, x
