"""Clean-up of a finished label map: sides first, then stray pieces, as the organ table says.

1. `correct_sides`: a piece of a paired organ that lies clearly on the other side of the body
   becomes the organ of that side.  Networks that look at small patches mix kidneys up.
2. `keep_components`: of each organ, only the connected pieces its `CleanUp` rule believes stay.
   Size alone does not choose: a pool of fluid or a mass in the pelvis may be larger than the liver.
3. `drop_specks`: what is left of an organ is reported as an organ, or is too little to be one.

Sides come before pieces: the largest piece called "right kidney" may be the left one.
Pieces are connected through faces, edges and corners (26 neighbours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_core.anatomy.organs import (
    ALL_TARGETS,
    BACKGROUND_ID,
    RIGHT,
    CleanUp,
    Organ,
    counterpart,
    organ,
)
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

Slices = tuple[slice, slice, slice]
Labels = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)

VESSEL_MARGIN_MM = 15.0
"""How far beyond the middle between aorta and vena cava a piece must be centred.

On 21 real scans adrenal glands, the innermost paired organs, were centred 19 to 36 mm to the right
of it and 33 to 56 mm to the left, kidneys 31 to 96 mm."""

TRUNK_MARGIN_MM = 30.0
"""The same for the middle between liver and spleen, a coarser guess (about 20 mm too far left)."""

WINDOW_MM = 40.0
"""Vessels count this far above and below a piece's centre (scoliosis, winding aortas)."""

WHOLLY = 0.95
"""Share of a piece's voxels that must lie beyond the middle; a horseshoe kidney stays whole."""

LIVER_SPLEEN_MM = 20.0
"""Least distance, liver to the right of spleen, that shows the usual situs."""

VESSELS_MM = 5.0
"""The same for the vena cava to the right of the aorta."""

WORTH_A_NOTE_ML = 0.1
"""Smaller pieces change sides silently."""

MIRRORED = (
    "The liver lies to the left of the spleen (situs inversus, or a mirrored scan): "
    "right and left organs were left as they are."
)

CUT_SHARE = 0.1
"""Share of `Organ.least_ml` that is enough of an organ that the scan's edge cuts."""

SOLID = (
    "liver", "spleen", "pancreas", "right_kidney", "left_kidney",
    "right_adrenal_gland", "left_adrenal_gland",
)  # fmt: skip
"""Organs that are denser than fluid, unless full of fat."""

FLUID_HU = (-10.0, 28.0)
"""Mean of ascites, urine and cysts. A fatty liver may have the same: only beside a denser piece
does this speak against one."""

DENSER_HU = 20.0
"""How much denser that other piece must be."""

HIGH_UP = ("liver", "spleen", "right_adrenal_gland", "left_adrenal_gland")
"""Organs whose middle lies above the lower end of the kidneys."""

UNLIKELY = 0.1
"""Worth of a piece of the density of fluid, or in the wrong place, beside one that is neither."""

RIVAL = 0.1
"""A piece of less than this share of the largest is no rival of it."""

MOST_AT_ONCE = 50_000_000
"""Voxels of all organs' boxes up to which several organs are worked on at a time: in each box every
voxel takes about five bytes, and long scans have no memory to spare."""

_NOWHERE: Floats = np.empty((0, 3))

LARGE_BOX = 500_000
"""Voxels from which on every fourth voxel in plane is enough to find an organ's centre."""


def clean_up(
    labels: Volume,
    organs: Sequence[Organ] = ALL_TARGETS,
    *,
    image: Volume | None = None,
    threads: int = 1,
) -> tuple[Volume, tuple[str, ...]]:
    """Return a cleaned label map and notes for the person about pieces that changed sides.

    Parameters
    ----------
    labels : Volume
        Organ ids (Z, Y, X), any axis order: sides are decided in patient space.
    organs : sequence of Organ
        Organs to clean; voxels of others stay as they are.
    image : Volume, optional
        HU on the same grid: density helps to choose among pieces.
    threads : int
        Organs worked on at a time.
    """
    sided, notes = correct_sides(labels, organs)
    kept = keep_components(sided, organs, image=image, threads=threads)
    return drop_specks(kept, organs), notes


def drop_specks(labels: Volume, organs: Sequence[Organ] = ALL_TARGETS) -> Volume:
    """Return a label map without organs of less than their `least_ml`: those are not found.

    An organ that the scan's edge cuts may be smaller: `CUT_SHARE` of that is enough.
    """
    boxes = organ_boxes(labels.array)
    gone = []
    for target in organs:
        if target.id in boxes and target.least_ml:
            box = boxes[target.id]
            ml = np.count_nonzero(labels.array[box] == target.id) * labels.geometry.voxel_ml
            cut = touches_border(box, labels.geometry.shape)
            if ml < target.least_ml * (CUT_SHARE if cut else 1):
                gone.append(target.id)
    if not gone:
        return labels
    kept = np.arange(256, dtype=labels.array.dtype)
    kept[gone] = BACKGROUND_ID
    return labels.with_array(kept[labels.array])


def keep_components(
    labels: Volume,
    organs: Sequence[Organ] = ALL_TARGETS,
    *,
    image: Volume | None = None,
    threads: int = 1,
) -> Volume:
    """Return a label map with only the pieces each organ's rule keeps; the rest is background."""
    array = labels.array.copy()
    boxes = organ_boxes(array)
    floor_mm = _kidneys_end_mm(labels, boxes)

    def keep(target: Organ) -> None:  # each changes its own voxels alone
        box = boxes[target.id]
        _drop_strays(array[box], target, _Judge(labels.geometry, box, image, floor_mm))

    picky = [each for each in organs if each.id in boxes and each.clean_up.keep != "all"]
    with ThreadPoolExecutor(at_once(boxes, threads)) as pool:
        for _ in pool.map(keep, picky):
            pass
    return labels.with_array(array)


@dataclass(frozen=True, eq=False)
class _Judge:
    """What besides its size speaks for or against a piece of an organ."""

    geometry: Geometry
    """Of the label map."""
    box: Slices
    """The organ's place in it."""
    image: Volume | None
    """HU on the same grid."""
    floor_mm: float
    """Height of the kidneys' lower end, LPS z; minus infinity where none is known."""

    def worth(
        self, pieces: npt.NDArray[np.int32], voxels: npt.NDArray[np.int64], target: Organ
    ) -> Floats:
        """Return the size of each piece (count,), less for rivals that are unlikely."""
        worth = voxels.astype(np.float64)
        rivals = np.flatnonzero(voxels >= RIVAL * voxels.max())
        if len(rivals) < 2:
            return worth
        doubts = self._low(pieces, rivals, target) | self._fluid(pieces, rivals, target)
        if not doubts.all():
            worth[rivals[doubts]] *= UNLIKELY
        return worth

    def _low(
        self, pieces: npt.NDArray[np.int32], rivals: npt.NDArray[np.int64], target: Organ
    ) -> npt.NDArray[np.bool_]:
        """Whether each piece lies below the kidneys, if its organ never does."""
        if target.key not in HIGH_UP:
            return np.zeros(len(rivals), np.bool_)
        middles = [np.argwhere(pieces == number).mean(axis=0) for number in rivals]
        corner = [side.start for side in self.box]
        heights = self.geometry.voxel_to_lps(np.array(middles) + corner)[:, 2]
        return np.asarray(heights < self.floor_mm)

    def _fluid(
        self, pieces: npt.NDArray[np.int32], rivals: npt.NDArray[np.int64], target: Organ
    ) -> npt.NDArray[np.bool_]:
        """Whether each piece is as dense as fluid, beside one that is denser."""
        if self.image is None or target.key not in SOLID:
            return np.zeros(len(rivals), np.bool_)
        part = self.image.array[self.box]
        hu = np.array([part[pieces == number].mean(dtype=np.float64) for number in rivals])
        low, high = FLUID_HU
        return np.asarray((hu > low) & (hu < high) & (hu < hu.max() - DENSER_HU))


def _kidneys_end_mm(labels: Volume, boxes: Mapping[int, Slices]) -> float:
    """Return the LPS z of the lower end of the kidneys, minus infinity without any."""
    ends = []
    for key in ("right_kidney", "left_kidney"):
        points = _places_of(labels, boxes, organ(key).id)
        if len(points) * labels.geometry.voxel_ml >= organ(key).least_ml or len(points) > 1000:
            ends.append(float(np.quantile(points[:, 2], 0.05)))
    return min(ends, default=-math.inf)


def correct_sides(
    labels: Volume, organs: Sequence[Organ] = ALL_TARGETS
) -> tuple[Volume, tuple[str, ...]]:
    """Give pieces of paired organs that lie on the wrong side to the organ of the right side.

    Nothing changes unless the label map itself shows the usual situs (liver to the right of the
    spleen, or vena cava to the right of the aorta, and no landmark against it): in situs inversus
    and in scans with a mirrored header, "wrong" is the finding, not the error.  A piece changes
    sides only if nearly all of it lies beyond the middle and its centre does so by a margin.  A
    kidney that has truly crossed to the other side is named after the side it lies on.

    Returns
    -------
    Volume, tuple of str
        The label map (the same object if nothing changed) and what was done, for the person.
    """
    boxes = organ_boxes(labels.array)
    pairs = [target for target in organs if target.modifier is not None and target.id in boxes]
    if not pairs:
        return labels, ()
    landmarks = _Landmarks.of(labels, boxes)
    if landmarks.mirrored:
        return labels, (MIRRORED,)
    if not landmarks.usual:
        return labels, ()
    strays = [(target, _strays(labels, boxes[target.id], target, landmarks)) for target in pairs]
    array = labels.array.copy()
    notes = [
        _change_side(labels.with_array(array), boxes[target.id], target, stray)
        for target, stray in strays
        if stray.any()
    ]
    return (labels.with_array(array) if notes else labels), tuple(filter(None, notes))


def touches_border(box: Slices, shape: tuple[int, int, int]) -> bool:
    """Whether a bounding box reaches any face of a grid of this shape.

    Examples
    --------
    >>> touches_border((slice(0, 3), slice(2, 4), slice(2, 4)), (9, 9, 9))
    True
    >>> touches_border((slice(1, 8), slice(2, 4), slice(2, 4)), (9, 9, 9))
    False
    """
    return any(part.start == 0 or part.stop == n for part, n in zip(box, shape, strict=True))


def organ_boxes(array: Labels) -> dict[int, Slices]:
    """Return the bounding box of every label value above 0 in `array` (Z, Y, X)."""
    place = _filled(array)  # most of a scan is none, and this is told eight times as fast
    found = ndimage.find_objects(array[place]) if array[place].size else []
    return {number: _moved(box, place) for number, box in enumerate(found, 1) if box is not None}


def at_once(boxes: Mapping[int, Slices], threads: int) -> int:
    """Return how many organs to work on at a time, at least 1.

    Examples
    --------
    >>> small, large = (slice(0, 9),) * 3, (slice(0, 900),) * 3
    >>> at_once({1: small, 2: small}, 2), at_once({1: small, 2: large}, 2)
    (2, 1)
    """
    voxels = sum(math.prod(side.stop - side.start for side in box) for box in boxes.values())
    return max(1, threads) if voxels <= MOST_AT_ONCE else 1


def _filled(array: Labels) -> Slices:
    """Return the bounding box of all that is not 0 in `array` (Z, Y, X) of whole numbers."""
    slices = _span(np.array([plane.any() for plane in array], np.bool_))
    plane = np.bitwise_or.reduce(array[slices], axis=0)
    return slices, _span(plane.any(axis=1)), _span(plane.any(axis=0))


def _span(there: npt.NDArray[np.bool_]) -> slice:
    """Return from the first to the last true entry."""
    places = np.flatnonzero(there)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


def _moved(box: Slices, place: Slices) -> Slices:
    """Return a box inside another as one of the whole array."""
    z, y, x = (slice(a.start + b.start, a.stop + b.start) for a, b in zip(box, place, strict=True))
    return z, y, x


def _drop_strays(part: Labels, target: Organ, judge: _Judge) -> None:
    """Turn the pieces of `target` that its rule does not keep into background, in place."""
    pieces, count = ndimage.label(part == target.id, ALL_NEIGHBOURS)
    if count < 2:
        return
    voxels = np.zeros(count + 1, np.int64)
    for plane in pieces:  # plane by plane: bincount widens to 8 bytes a voxel
        voxels += np.bincount(plane.ravel(), minlength=count + 1)
    voxels[0] = 0
    dropped = ~_kept(judge.worth(pieces, voxels, target), target.clean_up)
    dropped[0] = False
    for here, plane in zip(part, pieces, strict=True):
        here[dropped[plane]] = BACKGROUND_ID


def _kept(worth: Floats, rule: CleanUp) -> npt.NDArray[np.bool_]:
    """Return which pieces of this worth `rule` keeps; of two largest ones, the first."""
    if rule.keep == "largest":
        return np.arange(worth.size) == worth.argmax()
    return worth >= rule.fraction * worth.max()


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """Unpaired organs that tell right from left, as LPS points (N, 3) in mm; empty if absent."""

    aorta: Floats
    """Aorta."""
    cava: Floats
    """Inferior vena cava."""
    liver: Floats
    """Liver."""
    spleen: Floats
    """Spleen."""

    @classmethod
    def of(cls, labels: Volume, boxes: Mapping[int, Slices]) -> _Landmarks:
        """Look the landmarks up in a label map."""
        keys = ("aorta", "inferior_vena_cava", "liver", "spleen")
        return cls(*(_places_of(labels, boxes, organ(key).id) for key in keys))

    @property
    def mirrored(self) -> bool:
        """Whether the liver lies to the left of the spleen."""
        return _leftwards_mm(self.liver, self.spleen) < -LIVER_SPLEEN_MM

    @property
    def usual(self) -> bool:
        """Whether a landmark shows the usual situs and none speaks against it."""
        trunk = _leftwards_mm(self.liver, self.spleen) / LIVER_SPLEEN_MM
        vessels = _leftwards_mm(self.cava, self.aorta) / VESSELS_MM
        return max(trunk, vessels) >= 1 and min(trunk, vessels) > -1

    def middle(self, height_mm: float) -> tuple[float, float] | None:
        """Return the x (LPS, mm) between right and left near `height_mm`, and its margin in mm."""
        if len(self.aorta) and len(self.cava):
            return _between(_near(self.aorta, height_mm), _near(self.cava, height_mm)), (
                VESSEL_MARGIN_MM
            )
        if len(self.liver) and len(self.spleen):
            return _between(self.liver, self.spleen), TRUNK_MARGIN_MM
        return None


def _places_of(labels: Volume, boxes: Mapping[int, Slices], number: int) -> Floats:
    """Return LPS points (N, 3) of an organ's voxels, thinned in plane if it is large."""
    if number not in boxes:
        return _NOWHERE
    box = boxes[number]
    part = labels.array[box] == number
    return _to_lps(_places(part), box, labels.geometry)


def _places(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the true voxels (N, 3) of a mask, of a large one every fourth in plane."""
    if mask.size > LARGE_BOX and (thin := np.argwhere(mask[:, ::4, ::4])).size:
        return thin * (1, 4, 4)
    return np.argwhere(mask)


def _to_lps(voxels: npt.NDArray[np.int64], box: Slices, geometry: Geometry) -> Floats:
    """Return the LPS points of voxels that are counted from the corner of `box`."""
    return geometry.voxel_to_lps(voxels + [part.start for part in box])


def _leftwards_mm(start: Floats, end: Floats) -> float:
    """Return how far `end` is centred to the patient's left of `start`; 0 if one is absent."""
    if not len(start) or not len(end):
        return 0.0
    return float(end[:, 0].mean() - start[:, 0].mean())


def _between(one: Floats, other: Floats) -> float:
    """Return the x halfway between two centres."""
    return float(one[:, 0].mean() + other[:, 0].mean()) / 2


def _near(points: Floats, height_mm: float) -> Floats:
    """Return the points within the window around a height; all of them if none is."""
    near = points[np.abs(points[:, 2] - height_mm) <= WINDOW_MM]
    return near if len(near) else points


def _strays(
    labels: Volume, box: Slices, target: Organ, landmarks: _Landmarks
) -> npt.NDArray[np.bool_]:
    """Mark the voxels of `target` in `box` that belong to pieces on the wrong side."""
    pieces, count = ndimage.label(labels.array[box] == target.id, ALL_NEIGHBOURS)
    wrong = np.zeros(count + 1, dtype=bool)
    for number, part in enumerate(ndimage.find_objects(pieces), 1):
        voxels = _places(pieces[part] == number) + [axis.start for axis in part]
        wrong[number] = _on_wrong_side(_to_lps(voxels, box, labels.geometry), target, landmarks)
    return wrong[pieces]


def _on_wrong_side(piece: Floats, target: Organ, landmarks: _Landmarks) -> bool:
    """Whether a piece (LPS points (N, 3)) of `target` lies clearly on the other side."""
    found = landmarks.middle(float(piece[:, 2].mean()))
    if found is None:
        return False
    middle_mm, margin_mm = found
    wrong_way = 1.0 if target.modifier == RIGHT else -1.0  # x grows to the patient's left
    beyond = wrong_way * (piece[:, 0] - middle_mm)
    return bool(beyond.mean() > margin_mm and np.mean(beyond > 0) >= WHOLLY)


def _change_side(labels: Volume, box: Slices, target: Organ, stray: npt.NDArray[np.bool_]) -> str:
    """Rename voxels of `target` in place to the organ of the other side; return the note."""
    other = counterpart(target)
    if other is None or other.modifier is None:
        return ""
    labels.array[box][stray] = other.id
    volume_ml = int(stray.sum()) * labels.geometry.voxel_ml
    if volume_ml < WORTH_A_NOTE_ML:
        return ""
    side = other.modifier.meaning.lower()
    return (
        f"{volume_ml:.1f} mL labelled {target.name.lower()} lay on the patient's {side} "
        f"and became {other.name.lower()}."
    )
