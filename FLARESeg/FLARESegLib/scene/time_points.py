"""A CT with time points: one volume node on display, the others in a sequence (4D).

Slicer shows one item of a sequence at a time in a proxy node, which is the volume that a person
chooses. The results become a sequence beside it, played by the same browser, so that each time
point has its own segmentation and what is corrected there stays there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
from FLARESegLib.scene.kept_output import forget_output
from FLARESegLib.scene.results import nodes_of, remove_result
from FLARESegLib.scene.subject_place import place_beside

BROWSER = "vtkMRMLSequenceBrowserNode"

Volume = slicer.vtkMRMLScalarVolumeNode
Segmentation = slicer.vtkMRMLSegmentationNode


@dataclass(frozen=True)
class TimePoints:
    """The time points of a volume."""

    browser: Any
    """The sequence browser node that plays them."""
    values: tuple[str, ...]
    """Index value of each, such as ``35.2``."""
    name: str
    """What the index is, such as ``time``."""
    unit: str
    """Its unit, such as ``s``; may be empty."""

    @property
    def shown(self) -> int:
        """Which one is on display, from 0."""
        return int(self.browser.GetSelectedItemNumber())

    def show(self, number: int) -> None:
        """Put a time point on display: the volume node then holds its voxels."""
        self.browser.SetSelectedItemNumber(number)


def time_points_of(volumeNode: Volume | None) -> TimePoints | None:
    """Return the time points of a volume; None if it is not one of several."""
    scene = None if volumeNode is None else volumeNode.GetScene()
    if scene is None:
        return None
    for browser in nodes_of(scene, BROWSER):
        sequence = browser.GetSequenceNode(volumeNode)
        if sequence is not None and browser.GetNumberOfItems() > 1:
            master = browser.GetMasterSequenceNode()
            count = browser.GetNumberOfItems()
            values = tuple(master.GetNthIndexValue(n) for n in range(count))
            return TimePoints(browser, values, master.GetIndexName(), master.GetIndexUnit())
    return None


class Series:
    """The segmentations of all time points, while they are made and afterwards.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
        The CT on display.
    times : TimePoints
        Its time points.
    """

    def __init__(self, volumeNode: Volume, times: TimePoints) -> None:
        self._volume, self._times = volumeNode, times
        self._sequence = slicer.vtkMRMLSequenceNode()
        master = times.browser.GetMasterSequenceNode()
        self._sequence.SetIndexName(master.GetIndexName())
        self._sequence.SetIndexUnit(master.GetIndexUnit())
        self._sequence.SetIndexType(master.GetIndexType())
        self._made = False
        self.segmentation = self._old() or self._new()
        """The segmentation on display: that of an earlier series, else a new one."""
        self._before = times.browser.GetSequenceNode(self.segmentation)
        if self._before is not None:
            self._part_from_before()

    def keep(self, number: int) -> None:
        """Keep the segmentation on display as that of a time point."""
        forget_output(self.segmentation)  # the model's output is that of one time point only
        self._sequence.SetDataNodeAtValue(self.segmentation, self._times.values[number])

    def finish(self) -> None:
        """Let the browser play the segmentations with the volumes; what was edited is kept."""
        browser, node, before = self._times.browser, self.segmentation, self._before
        if before is not None and before.GetScene() is not None:
            browser.RemoveSynchronizedSequenceNode(before.GetID())
            node.GetScene().RemoveNode(before)
        self._sequence.SetName(f"{node.GetName()} (all time points)")
        node.GetScene().AddNode(self._sequence)
        was_modifying = browser.StartModify()  # or Slicer would make a node of its own to show it
        browser.AddSynchronizedSequenceNode(self._sequence)
        browser.AddProxyNode(node, self._sequence, False)
        browser.SetOverwriteProxyName(self._sequence, False)
        browser.SetSaveChanges(self._sequence, True)
        browser.EndModify(was_modifying)

    def drop(self) -> None:
        """Leave the scene as it was: no new segmentation, the old one's own time points."""
        if self._made:
            remove_result(self.segmentation)
        elif self._before is not None and self._before.GetScene() is not None:
            self._times.browser.SetSaveChanges(self._before, True)  # and shows it again

    def _part_from_before(self) -> None:
        """Have what is done to the node not be done to its time points of before.

        A browser that keeps changes lets the node have the very segments of the time point; one
        that does not would then copy them to themselves, which empties them.
        """
        browser, own = self._times.browser, slicer.vtkSegmentation()
        own.DeepCopy(self.segmentation.GetSegmentation())
        was_modifying = browser.StartModify()
        browser.SetSaveChanges(self._before, False)
        self.segmentation.SetAndObserveSegmentation(own)
        browser.EndModify(was_modifying)

    def _old(self) -> Segmentation | None:
        """Return the segmentation of an earlier series of this volume."""
        role = Segmentation.GetReferenceImageGeometryReferenceRole()
        for node in nodes_of(self._volume.GetScene(), "vtkMRMLSegmentationNode"):
            mine = node.GetNodeReferenceID(role) == self._volume.GetID()
            if mine and self._times.browser.GetSequenceNode(node) is not None:
                return node
        return None

    def _new(self) -> Segmentation:
        scene = self._volume.GetScene()
        name = scene.GenerateUniqueName(f"{self._volume.GetName()} organs")
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self._volume)
        place_beside(node, self._volume)
        self._made = True
        return node
