"""A model's labels as one segmentation in the scene: named, coloured, coded, in the right place.

`import_steps` does it in short steps, so that a timer can drive it and nothing freezes; running
again updates the same segments and leaves the person's own ones alone. The steps:

1. look through the label map and copy the organs into one shared layer (`organ_layer`)
2. make or find the segmentation; update, add or remove one organ at a time
3. keep the model's output for comparison (`kept_output`)
4. if there were surfaces, make them anew (`surfaces`)

Stopped in between, a segmentation made here vanishes again; one that was there is finished first.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import Any

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ
from flare_core.errors import Cancelled
from flare_core.imaging.geometry import Box, Index
from FLARESegLib.scene.kept_output import forget_output, keep_steps
from FLARESegLib.scene.lesion_segments import Lesions
from FLARESegLib.scene.organ_colours import drop_unused_colours
from FLARESegLib.scene.organ_layer import Labels, check_labels, find_steps, layer_steps
from FLARESegLib.scene.result_segments import BINARY as BINARY
from FLARESegLib.scene.result_segments import SURFACE, check_editable, segment_changes
from FLARESegLib.scene.surfaces import is_shown_3d, reveal_steps, surface_steps
from FLARESegLib.scene.volumes import check_ct_node, grid_shape, ijk_to_ras, node_geometry

FACT = "FLARESeg."
"""Start of the names of the node attributes that say where a result came from."""
NOT_FOUND = "not_found"
"""Fact: keys of the organs that were looked for and are not there, as a JSON list."""
ASKED = "organs"
"""Fact: keys of the organs that were looked for."""
DATE = "date"
"""Fact: when the labels came into the scene, ISO 8601, UTC."""
CASE, VERSION = "case", "case_version"
"""Facts: where it was submitted (`submission`): the case's name and the version's number."""
ABSENT = "absent"
"""Fact: keys of the organs of which a person said that this patient does not have them."""
STAYING = (CASE, VERSION, ABSENT)
"""Facts that a new run leaves as they are."""

Done = Generator[float, None, slicer.vtkMRMLSegmentationNode]


@dataclass(frozen=True, eq=False)
class _Import:
    """What is put into the scene."""

    volume: slicer.vtkMRMLScalarVolumeNode
    """The CT."""
    organs: tuple[Organ, ...]
    """What was looked for."""
    boxes: dict[int, Box]
    """What was found, and where."""
    layer: slicer.vtkOrientedImageData
    """All organs, ids as values."""
    facts: Mapping[str, Any]
    """Where the labels came from."""
    lesions: Sequence[Mapping[str, Any]] = ()
    """The list of lesions, from head to foot."""


def import_steps(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    labels: Labels,
    organs: Sequence[Organ] = ALL_TARGETS,
    *,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    facts: Mapping[str, Any] | None = None,
    lesions: Sequence[Mapping[str, Any]] = (),
) -> Done:
    """Bring labels into the scene in short steps; yield the share done, return the segmentation.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
        The CT that was segmented.
    labels : uint8 (Z, Y, X)
        Organ ids on the grid of the node's own array.
    organs : sequence of Organ
        What was looked for: absent ones are removed, segments of other organs stay as they are.
    segmentationNode : vtkMRMLSegmentationNode, optional
        An earlier result, to be updated; a new one is made without it.
    facts : mapping, optional
        Where the labels came from (`Segmentation.provenance`); becomes node attributes.
    lesions : sequence of mapping, optional
        The worker's list (`Lesion.to_dict`): which organ contains which lesion.

    Raises
    ------
    InputError
        If the labels are not on the volume's grid.
    Cancelled
        If volume or segmentation leave the scene meanwhile.
    """
    check_ct_node(volumeNode)
    shape = grid_shape(volumeNode)
    check_labels(labels, shape)
    if segmentationNode is not None:
        check_editable(segmentationNode)
    boxes = yield from _part(find_steps(labels, organs), 0.0, 0.4)
    layer = yield from _part(layer_steps(labels, boxes, ijk_to_ras(volumeNode)), 0.4, 0.6)
    _check_scene(volumeNode, segmentationNode)
    node = segmentationNode or _new_node(volumeNode)
    had_surfaces = node.GetSegmentation().ContainsRepresentation(SURFACE)
    what = _Import(volumeNode, tuple(organs), boxes, layer, facts or {}, lesions)
    work = _commit_steps(node, what, shape)
    with _hidden_in_3d(node) as shown:
        complete = False
        try:
            for share in work:
                yield share
                _check_scene(volumeNode, node)
            complete = True
        finally:
            if not complete and segmentationNode is None:
                work.close()
                remove_result(node)
            elif not complete and node.GetScene() is not None:
                deque(work, maxlen=0)
        again = (surface_steps(node) if had_surfaces else (), reveal_steps(node) if shown else ())
        for _ in chain(*again):
            _check_scene(volumeNode, node)
            yield 0.98
    return node


@contextmanager
def _hidden_in_3d(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Iterator[bool]:
    """Hide surfaces while their organs change, and tell whether there were any to be seen.

    Slicer would make all of them again at once, at the first change. At the end they are shown as
    before, whatever came between.
    """
    shown = is_shown_3d(segmentationNode)
    if shown:
        segmentationNode.GetDisplayNode().SetVisibility3D(False)
    try:
        yield shown
    finally:
        if shown and segmentationNode.GetScene() is not None:
            segmentationNode.GetDisplayNode().SetVisibility3D(True)


def remove_result(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove a result and what was kept for it from the scene."""
    scene = segmentationNode.GetScene()
    if scene is None:
        return
    forget_output(segmentationNode)
    for node in (segmentationNode.GetDisplayNode(), segmentationNode.GetStorageNode()):
        if node is not None:
            scene.RemoveNode(node)
    scene.RemoveNode(segmentationNode)
    drop_unused_colours(scene)


def nodes_of(scene: slicer.vtkMRMLScene, kind: str) -> list[slicer.vtkMRMLNode]:
    """Return all nodes of a class."""
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def result_facts(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """Return where a result came from, as `import_steps` was told; empty for other nodes."""
    names = segmentationNode.GetAttributeNames()
    return {
        name.removeprefix(FACT): json.loads(segmentationNode.GetAttribute(name))
        for name in names
        if name.startswith(FACT)
    }


def results_in(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSegmentationNode]:
    """Return all results of this module in a scene, whichever CT they are of."""
    nodes = nodes_of(scene, "vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(FACT + ASKED)]


def show_alone(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode | None
) -> None:
    """Show one result and hide the other ones of this module, which lie on other CTs or versions.

    None hides all of them; segmentations that other modules made stay as they are.
    """
    for node in results_in(scene):
        display = node.GetDisplayNode()
        wanted = node is segmentationNode
        if display is not None and bool(display.GetVisibility()) != wanted:
            display.SetVisibility(wanted)


def result_of(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the newest result for a volume, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    found = [
        node
        for node in results_in(volumeNode.GetScene())
        if node.GetNodeReferenceID(role) == volumeNode.GetID()
    ]
    return found[-1] if found else None


def _new_node(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """Return a new, empty segmentation for a volume."""
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} organs")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    return node


def _commit_steps(
    node: slicer.vtkMRMLSegmentationNode, what: _Import, shape: Index
) -> Generator[float, None, None]:
    """Change the segmentation, keep the model's output, write the facts; yield the share done."""
    lesions = Lesions(what.layer, node_geometry(what.volume), what.lesions)
    changes = segment_changes(node, what.volume, what.organs, what.boxes, lesions)
    for number, change in enumerate(changes, 1):
        change()
        yield 0.6 + 0.3 * number / len(changes)
    for _ in keep_steps(node, what.layer, what.organs, what.boxes, shape):
        yield 0.95
    _write_facts(node, what)


def _write_facts(node: slicer.vtkMRMLSegmentationNode, what: _Import) -> None:
    """Write where a result came from, and what is not there, into the node's attributes.

    The node tells it once: told of each attribute, Slicer's views draw in between.
    """
    absent = [target.key for target in what.organs if target.id not in what.boxes]
    keys = [target.key for target in what.organs]
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {DATE: now, **what.facts, ASKED: keys, NOT_FOUND: absent}
    was_modifying = node.StartModify()
    for name in node.GetAttributeNames():
        if name.startswith(FACT) and name.removeprefix(FACT) not in STAYING:
            node.RemoveAttribute(name)
    for name, value in facts.items():
        node.SetAttribute(FACT + name, json.dumps(value, default=str))
    node.EndModify(was_modifying)


def _part(steps: Generator[float, None, Any], start: float, stop: float) -> Any:
    """Take steps whose share done becomes one from `start` to `stop`; return what they make."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value
        yield start + (stop - start) * share


def _check_scene(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLSegmentationNode | None
) -> None:
    """Stop if the person has removed what the labels are for.

    Raises
    ------
    Cancelled
        If volume or segmentation is in no scene any more.
    """
    if volumeNode.GetScene() is None or (node is not None and node.GetScene() is None):
        raise Cancelled("The input volume or the segmentation was removed from the scene.")
