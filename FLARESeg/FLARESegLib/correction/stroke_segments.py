"""What strokes make of the labels, brought into the segments.

An organ's segment contains its lesions, and each lesion is a segment of its own over it
(`scene.lesion_segments`). So organs are written without what lies over them, and lesion voxels go
to the lesion they touch; a piece that touches none is a new lesion, which goes again when its
strokes are taken back.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import slicer
from flare_core.anatomy.organs import LESION, ORGANS, organ
from flare_core.imaging.geometry import Box
from FLARESegLib.correction.current_labels import label_steps, voxels_of
from FLARESegLib.correction.scribbles import box_around, set_part
from FLARESegLib.qt.translation import _
from FLARESegLib.scene.lesion_segments import made_by_us
from FLARESegLib.scene.organ_layer import find_steps
from FLARESegLib.scene.result_segments import add_segment
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Flat = npt.NDArray[np.int64]
"""Voxels as numbers in the CT's array, in order."""
NOWHERE = Box((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class Start:
    """The segments before the first stroke."""

    labels: Labels
    """Organ ids (Z, Y, X) on the CT's grid, lesions over their organs."""
    organs: Labels
    """The same without lesions: what organs have under them."""
    lesions: dict[str, Flat]
    """Segment ID of each lesion -> its voxels."""
    boxes: dict[int, Box]
    """Organ id -> where the organ is in `organs`; one without a voxel is not in it."""


def start_steps(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Generator[float, None, Start]:
    """Return what strokes start from after short steps; yield the share done.

    Raises
    ------
    InputError
        As `current_labels`.
    """
    labels = yield from label_steps(segmentationNode, volumeNode)
    array = labels.array
    lesions = {}
    for number in identify(segmentationNode).lesions:
        lesions[number] = _flat(voxels_of(segmentationNode, number, volumeNode), array.shape)
        yield 0.9
    organs = array
    if any(len(places) for places in lesions.values()):
        organs = (yield from label_steps(segmentationNode, volumeNode, lesions=False)).array
    boxes = yield from find_steps(organs, ORGANS)
    return Start(array, organs, lesions, boxes)


class StrokeSegments:
    """Writes what strokes make into a segmentation, as often as they change.

    Parameters
    ----------
    segmentation, volume : MRML nodes
        The result, and its CT.
    start : Start
        Its segments before the first stroke.
    """

    def __init__(self, segmentation: object, volume: object, start: Start) -> None:
        self.start = start
        self._segmentation, self._volume = segmentation, volume
        self._organs = start.organs.copy()  # as they were written last
        self._lesions = dict(start.lesions)
        self._drawn: list[str] = []  # segments of new lesions
        self._touched = NOWHERE

    def write(self, part: Labels, box: Box) -> None:
        """Bring what strokes made of a box into the segments.

        Parameters
        ----------
        part : uint8 (z, y, x)
            Organ ids in the box, lesions over their organs; outside it all is as at the start.
        box : Box
            On the CT's grid.
        """
        here = self._touched = self._touched.union(box)
        new = self.start.labels[here.slices].copy()
        sides = zip(box.start, box.stop, here.start, strict=True)
        new[tuple(slice(a - first, b - first) for a, b, first in sides)] = part
        lesion = new == LESION.id
        self._write_organs(np.where(lesion, self.start.organs[here.slices], new), here)
        self._write_lesions(lesion, here)

    def restore(self) -> None:
        """Bring the segments back as they were before the first stroke."""
        self.write(self.start.labels[self._touched.slices], self._touched)

    def lesions_at(self, places: npt.NDArray[np.int32]) -> Box:
        """Return the box around those lesions of the start that have one of these voxels (n, 3)."""
        marked = _flat(places, self.start.labels.shape)
        hit = [each for each in self.start.lesions.values() if np.isin(marked, each).any()]
        return box_around([self._voxels(each) for each in hit])

    def tidy(self) -> None:
        """Remove the segments of lesions that strokes left no voxel of."""
        if self._segmentation.GetScene() is None:
            return
        segmentation = self._segmentation.GetSegmentation()
        for number, places in self._lesions.items():
            emptied = not len(places) and len(self.start.lesions.get(number, ()))
            if emptied and segmentation.GetSegment(number) is not None:
                segmentation.RemoveSegment(number)

    def _write_organs(self, after: Labels, here: Box) -> None:
        """Write the organs that differ in a box, those that shrink first.

        Outside the box all is as at the start, so an organ is in its box of then and in this one.
        """
        before = self._organs[here.slices]
        differ = before != after
        old, new = before[differ], after[differ]
        before[differ] = new
        gains = {k: int(np.count_nonzero(new == k)) for k in np.unique(np.append(old, new))}
        there = organ_segment_ids(self._segmentation)
        keys = {target.id: target.key for target in ORGANS}
        for k in sorted(gains, key=lambda k: gains[k]):
            number = there.get(keys.get(int(k), ""))
            if number is not None:
                box = self.start.boxes.get(int(k), NOWHERE).union(here)
                part = self._organs[box.slices] == k
                set_part(self._segmentation, number, part, box, self._volume)

    def _write_lesions(self, lesion: Mask, here: Box) -> None:
        """Give each lesion its voxels; make, change and remove those that strokes drew."""
        was = self.start.labels[here.slices] == LESION.id
        if not (lesion.any() or was.any() or self._drawn):
            return
        gone = _flat(np.argwhere(was & ~lesion) + np.array(here.start), self.start.labels.shape)
        # a person may have deleted one: its ID is free
        there = identify(self._segmentation).lesions
        self._drawn = [number for number in self._drawn if number in there]
        old = set(there) - set(self._drawn)
        kept = {n: v for n, v in self.start.lesions.items() if n in old}
        wanted = {n: np.setdiff1d(v, gone, True) for n, v in kept.items()}
        known = {n: self._lesions[n] for n in self._drawn}
        fresh: dict[str, Flat] = {}
        for piece in self._pieces(lesion & ~was, here):
            around = self._around(piece)
            touched = _most_in(around, wanted)
            if touched:
                wanted[touched] = np.union1d(wanted[touched], piece)
                continue
            mine = _most_in(piece, {n: v for n, v in known.items() if n not in fresh})
            fresh[mine or self._add(piece)] = piece
        for number in known.keys() - fresh.keys():
            self._drawn.remove(number)
            del self._lesions[number]
            self._segmentation.GetSegmentation().RemoveSegment(number)
        for number, places in (wanted | fresh).items():
            if not np.array_equal(places, self._lesions[number]):
                self._lesions[number] = places
                self._put(number, places)

    def _add(self, piece: Flat) -> str:
        """Add a segment for a lesion that was drawn; return its ID."""
        ids = self.start.organs.ravel()[piece]
        ids = ids[ids > 0]
        host = organ(int(np.bincount(ids).argmax())).name.lower() if len(ids) else ""
        count = len(identify(self._segmentation).lesions) - len(made_by_us(self._segmentation)) + 1
        number = add_segment(self._segmentation, LESION, slicer.vtkOrientedImageData())
        name = _("Drawn lesion {number}").format(number=count)
        segment = self._segmentation.GetSegmentation().GetSegment(number)
        segment.SetName(f"{name} ({host})" if host else name)
        self._drawn.append(number)
        self._lesions[number] = np.zeros(0, np.int64)
        return number

    def _pieces(self, mask: Mask, here: Box) -> list[Flat]:
        """Return the voxels of each connected piece of a mask in a box."""
        from flare_core.segment.lesions import connected  # scipy; see `organ_layer`

        found = []
        for piece in connected(mask):
            first = [low + side.start for low, side in zip(here.start, piece.box, strict=True)]
            places = np.argwhere(piece.mask) + np.array(first)
            found.append(_flat(places, self.start.labels.shape))
        return found

    def _around(self, piece: Flat) -> Flat:
        """Return the voxels beside a piece, and its own."""
        shape = self.start.labels.shape
        z, y, x = np.unravel_index(piece, shape)
        steps = (-1, 0, 1)
        beside = [
            np.ravel_multi_index((z + dz, y + dy, x + dx), shape, mode="clip")
            for dz in steps for dy in steps for dx in steps
        ]  # fmt: skip
        return np.unique(np.concatenate(beside))

    def _put(self, number: str, places: Flat) -> None:
        """Give a segment these voxels."""
        voxels = self._voxels(places)
        box = box_around([voxels])
        part = np.zeros(box.shape, bool)
        part[tuple((voxels - box.start).T)] = True
        set_part(self._segmentation, number, part, box, self._volume)

    def _voxels(self, places: Flat) -> npt.NDArray[np.int64]:
        """Return numbered voxels as z, y, x (n, 3)."""
        return np.stack(np.unravel_index(places, self.start.labels.shape), axis=-1)


def _flat(places: npt.NDArray[np.signedinteger], shape: tuple[int, ...]) -> Flat:
    """Return voxels (n, 3) as numbers, in order."""
    return np.sort(np.ravel_multi_index(tuple(places.astype(np.int64).T), shape))


def _most_in(piece: Flat, among: dict[str, Flat]) -> str:
    """Return which has the most voxels of a piece; empty if none has one."""
    shared = {n: int(np.isin(piece, v, assume_unique=True).sum()) for n, v in among.items()}
    best = max(shared, key=lambda n: shared[n], default="")
    return best if best and shared[best] else ""
