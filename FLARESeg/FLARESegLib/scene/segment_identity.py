"""Which organ a segment is, whatever the person deleted, reordered, renamed or added.

A segment says so three times: in its name and in its terminology, which the person sees and can
change, and in a tag that this module writes and nobody sees. The tag remembers what the segment
was; whichever of the other two has been changed since says what it is now. Label values and the
order of segments say nothing: Slicer changes both when segments are separated, merged or deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

import vtk

import slicer
from flare_core.anatomy.organs import LESION, Organ, organ
from flare_core.anatomy.terminology import organ_of_terminology, terminology_text
from flare_core.errors import InputError

ORGAN_TAG = "FLARESeg.organ"
"""Tag of a segment that holds the organ's key."""

UNSET_TYPES = ("", "85756007")
"""Type codes that say nothing: none, and Tissue, which every new segment of Slicer has."""


@dataclass(frozen=True)
class Identified:
    """Which segment is which organ."""

    segments: dict[str, str]
    """Organ key -> segment ID, in the order of the segmentation."""
    extras: tuple[str, ...]
    """IDs of the segments that are no organ of ours, or copies of one."""
    doubts: tuple[str, ...]
    """Sentences about segments whose name and code contradict, or that are twice there."""
    lesions: tuple[str, ...] = ()
    """IDs of all segments that are lesions; a patient may have many, an organ is there once."""


def identify(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Identified:
    """Find the organs among the segments of a node.

    Of several segments that are the same organ, the one that has the organ's name is it.
    """
    found: dict[str, list[str]] = {}
    extras: list[str] = []
    doubts: list[str] = []
    segmentation = segmentationNode.GetSegmentation()
    for number in segment_ids(segmentationNode):
        try:
            target = organ_of_segment(segmentation.GetSegment(number))
        except InputError as contradiction:
            doubts.append(f"{contradiction.parts[0]}: {contradiction.parts[1]}")
            target = None
        if target is None:
            extras.append(number)
        else:
            found.setdefault(target.key, []).append(number)
    lesions = found.get(LESION.key, [])
    chosen = {}
    for key, numbers in found.items():
        if key == LESION.key:
            chosen[key] = numbers[0]
            continue
        chosen[key], doubt = _one_of(segmentation, organ(key), numbers)
        extras += [number for number in numbers if number != chosen[key]]
        doubts += doubt
    return Identified(chosen, tuple(extras), tuple(doubts), tuple(lesions))


def extra_names(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Return segment ID -> name of the segments that are no organ of ours, the empty ones too."""
    segmentation = segmentationNode.GetSegmentation()
    extras = identify(segmentationNode).extras
    return {number: segmentation.GetSegment(number).GetName() or number for number in extras}


def make_lesion(segmentationNode: slicer.vtkMRMLSegmentationNode, number: str) -> None:
    """Say that a segment is a lesion; its name, such as ``Metastasis``, stays as it is.

    A name that names an organ would contradict the code, so it gets ``Lesion`` before it.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(number)
    named = _by_name(segment)
    write_identity(segment, LESION)
    if named is not None and named != LESION:
        segment.SetName(f"{LESION.name} ({segment.GetName()})")


def organ_segment_ids(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Return organ key -> segment ID."""
    return identify(segmentationNode).segments


def segment_ids(segmentationNode: slicer.vtkMRMLSegmentationNode) -> tuple[str, ...]:
    """Return the IDs of all segments, in their order."""
    segmentation = segmentationNode.GetSegmentation()
    return tuple(segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments()))


def organ_of_segment(segment: slicer.vtkSegment) -> Organ | None:
    """Return the organ that a segment is, or None.

    Raises
    ------
    InputError
        If its name says one organ and its terminology another, and nothing tells which to believe.
    """
    named, coded, specific = _by_name(segment), _by_code(segment), _has_code(segment)
    written = written_organ(segment)
    if written is not None:
        named = named if named != written else None
        changed = specific and coded != written
        if not changed:
            return named or written
        specific = True
    if named is None:
        return coded
    if specific and coded != named:
        raise InputError(
            f"segment {segment.GetName()!r}",
            f"called {named.name} and coded as {terminology_of(segment).split('~')[2]}",
            "the same organ in name and terminology",
            "Correct its name, or double-click its colour and choose the terminology.",
        )
    return named


def written_organ(segment: slicer.vtkSegment) -> Organ | None:
    """Return the organ that this module wrote into the segment, or None."""
    key = tag_of(segment, ORGAN_TAG)
    try:
        return organ(key) if key else None
    except InputError:  # written by a version that knows more organs
        return None


def write_identity(segment: slicer.vtkSegment, target: Organ) -> None:
    """Write an organ's key and codes into a segment."""
    segment.SetTag(ORGAN_TAG, target.key)
    text = terminology_text(target)
    if hasattr(segment, "SetTerminology"):  # Slicer 5.9 and newer
        segment.SetTerminology(text)
    else:
        segment.SetTag(segment.GetTerminologyEntryTagName(), text)


def terminology_of(segment: slicer.vtkSegment) -> str:
    """Return a segment's terminology text, empty if it has none."""
    return tag_of(segment, segment.GetTerminologyEntryTagName())


def tag_of(segment: slicer.vtkSegment, name: str) -> str:
    """Return a tag's value, empty if the segment does not have it."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _one_of(
    segmentation: slicer.vtkSegmentation, target: Organ, numbers: list[str]
) -> tuple[str, list[str]]:
    """Choose among segments that are the same organ; say so if none stands out."""
    if len(numbers) == 1:
        return numbers[0], []
    names = {number: segmentation.GetSegment(number).GetName() for number in numbers}
    called = [number for number, name in names.items() if name == target.name]
    if len(called) == 1:
        return called[0], []
    listed = ", ".join(repr(name) for name in names.values())
    return numbers[0], [f"{len(numbers)} segments are the {target.name.lower()}: {listed}"]


def _by_name(segment: slicer.vtkSegment) -> Organ | None:
    """Return the organ that the segment's name names; a number is no name."""
    name = (segment.GetName() or "").strip()
    if not name or name.isdigit():
        return None
    try:
        return organ(name)
    except InputError:
        return None


def _by_code(segment: slicer.vtkSegment) -> Organ | None:
    """Return the organ that the segment's terminology names."""
    return organ_of_terminology(terminology_of(segment))


def _has_code(segment: slicer.vtkSegment) -> bool:
    """Whether the terminology says anything that a person or a program chose."""
    parts = terminology_of(segment).split("~")
    fields = parts[2].split("^") if len(parts) > 2 else []
    return len(fields) > 1 and fields[1] not in UNSET_TYPES
