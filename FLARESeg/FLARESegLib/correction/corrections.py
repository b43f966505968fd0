"""What a person changed: the segments now against the model's output that was kept.

`current_labels` and `label_steps` (here by name, from `current_labels.py`) read the scene in Qt's
thread; `count_changes` compares two label maps and touches no node, so a thread can do it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import slicer
from flare_core.anatomy.organs import ALL_TARGETS, Organ
from flare_core.errors import InputError
from FLARESegLib.correction.current_labels import current_labels as current_labels
from FLARESegLib.correction.current_labels import label_steps as label_steps
from FLARESegLib.scene.kept_output import KeptOutput, kept_output
from FLARESegLib.scene.organ_layer import Labels
from FLARESegLib.scene.volumes import slabs

IDS = 16
"""More than the largest organ id; two ids fit into one byte."""


@dataclass(frozen=True)
class OrganChange:
    """How one organ differs from the model's output."""

    organ: str
    """Organ key."""
    added_voxels: int
    """Voxels that are the organ's now and were not."""
    removed_voxels: int
    """Voxels that were the organ's and are not now."""
    changed_ml: float
    """Volume of both, mL."""
    before_ml: float
    """Volume in the model's output, mL."""
    after_ml: float
    """Volume now, mL."""
    dsc: float
    """Dice similarity of now and before, 0 to 1; 1 if the organ is in neither."""

    @property
    def changed_voxels(self) -> int:
        """Voxels that differ."""
        return self.added_voxels + self.removed_voxels


def changes(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> tuple[OrganChange, ...]:
    """Compare the segments with the model's output; one entry per organ that is in either.

    Raises
    ------
    InputError
        As `current_labels`; also if no model's output was kept, or the volume has another grid now.
    """
    volume = volumeNode or volume_of(segmentationNode)
    labels = current_labels(segmentationNode, volume)
    kept = kept_for(segmentationNode, labels.array.shape)
    return count_changes(kept.whole(), labels.array, labels.geometry.voxel_ml)


def count_changes(before: Labels, after: Labels, voxel_ml: float) -> tuple[OrganChange, ...]:
    """Compare two label maps (Z, Y, X) organ by organ; touches no node.

    Examples
    --------
    >>> before, after = np.array([[[1, 1, 0]]], np.uint8), np.array([[[1, 0, 3]]], np.uint8)
    >>> [(c.organ, c.added_voxels, c.removed_voxels) for c in count_changes(before, after, 1.0)]
    [('liver', 0, 1), ('spleen', 1, 0)]
    """
    table = np.zeros(IDS * IDS, np.int64)
    for part in slabs(before.shape):
        table += np.bincount((before[part] * IDS + after[part]).ravel(), minlength=IDS * IDS)
    pairs = table.reshape(IDS, IDS)  # (id before, id after)
    found = [o for o in ALL_TARGETS if pairs[o.id].any() or pairs[:, o.id].any()]
    return tuple(_change(target, pairs, voxel_ml) for target in found)


def volume_of(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Return the CT that a segmentation was made from.

    Raises
    ------
    InputError
        If it refers to none, or it was removed.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    volume = segmentationNode.GetNodeReference(role)
    if volume is None:
        raise InputError(
            f"segmentation {segmentationNode.GetName()!r}",
            "without the volume it was made from",
            "a segmentation whose CT is in the scene",
            "Load the CT, and choose it as source volume in the Segment Editor.",
        )
    return volume


def kept_for(
    segmentationNode: slicer.vtkMRMLSegmentationNode, shape: tuple[int, ...]
) -> KeptOutput:
    """Return the model's output on the grid of a volume of this shape.

    Raises
    ------
    InputError
        If none was kept, or it was made for a volume of another shape.
    """
    kept = kept_output(segmentationNode)
    if kept is None or kept.shape != shape:
        came = "no model output" if kept is None else f"model output of {kept.shape} voxels"
        raise InputError(
            f"segmentation {segmentationNode.GetName()!r}",
            came,
            f"a result of this module for a volume of {shape} voxels (z, y, x)",
            "Segment the volume again, or choose the volume that was segmented.",
        )
    return kept


def _change(target: Organ, pairs: npt.NDArray[np.int64], voxel_ml: float) -> OrganChange:
    """Return the change of one organ out of the table of (before, after)."""
    both = int(pairs[target.id, target.id])
    before, after = int(pairs[target.id].sum()), int(pairs[:, target.id].sum())
    return OrganChange(
        target.key,
        after - both,
        before - both,
        (after + before - 2 * both) * voxel_ml,
        before * voxel_ml,
        after * voxel_ml,
        2 * both / (before + after) if before + after else 1.0,
    )
