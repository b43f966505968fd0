"""Statistics as nodes of the scene: a table, and a chart of volumes against the usual range.

Both belong to a segmentation, are found again and updated when it is measured again, and are saved
with the scene. The table has one line per organ in the order of the organ table, those that were
not found as well; numbers are numbers (they sort), and what is not defined is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import vtk

import slicer
from flare_core.anatomy.organs import ALL_TARGETS
from FLARESegLib.scene.organ_layer import box_of
from FLARESegLib.scene.result_segments import BINARY
from FLARESegLib.scene.segment_identity import organ_segment_ids
from FLARESegLib.scene.subject_place import place_beside
from FLARESegLib.scene.volumes import as_array, image_voxels, to_world
from FLARESegLib.statistics.lines import lines_of

if TYPE_CHECKING:
    from flare_core.segment.statistics import StatisticsRow

TABLE_ROLE = "FLARESeg.statistics"
"""Node reference from the segmentation to its table."""

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("volume", "Volume", "mL"),
    ("hu_mean", "Mean", "HU"),
    ("hu_median", "Median", "HU"),
    ("hu_sd", "SD", "HU"),
    ("hu_p5", "5 %", "HU"),
    ("hu_p95", "95 %", "HU"),
    ("surface", "Surface", "cm2"),
    ("components", "Pieces", ""),
)
"""Measure, what people call it, unit."""
ORGAN, REMARK = "Organ", "Remark"
LOW, HIGH = "Usual from [mL]", "Usual to [mL]"
"""Titles of the other columns."""

UCUM = {"HU": "[hnsf'U]"}
"""Units that Slicer writes another way than people do."""

Ras = tuple[float, float, float]


def statistics_table(
    segmentationNode: slicer.vtkMRMLSegmentationNode, rows: Sequence[StatisticsRow]
) -> slicer.vtkMRMLTableNode:
    """Write rows into the segmentation's table node, which is made if it is not there.

    Columns: organ, one per measure with its unit in the title and as a column property, the usual
    range of adults, a remark (not found, cut by the scan's edge, larger or smaller than usual).
    """
    node = _table_of(segmentationNode)
    values = _values(rows)
    organs = [target for target in ALL_TARGETS if target.key in values]
    remarks = {line.key: line.remark for line in lines_of(rows)}
    was_modifying = node.StartModify()
    node.RemoveAllColumns()
    _add_texts(node, ORGAN, [target.name for target in organs])
    for measure, title, unit in COLUMNS:
        numbers = [
            _rounded(measure, values[target.key].get(measure, math.nan)) for target in organs
        ]
        _add_numbers(node, column_title(title, unit), numbers, unit)
    for title, end in ((LOW, 0), (HIGH, 1)):
        ranges = [target.volume_range_ml or (math.nan, math.nan) for target in organs]
        _add_numbers(node, title, [each[end] for each in ranges], "mL")
    _add_texts(node, REMARK, [remarks[target.key] for target in organs])
    node.EndModify(was_modifying)
    return node


def table_node(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLTableNode | None:
    """Return the table that belongs to a segmentation, or None."""
    return segmentationNode.GetNodeReference(TABLE_ROLE)


def column_title(title: str, unit: str) -> str:
    """Return a column's name.

    Examples
    --------
    >>> column_title("Volume", "mL"), column_title("Pieces", "")
    ('Volume [mL]', 'Pieces')
    """
    return f"{title} [{unit}]" if unit else title


def organ_centre(segmentationNode: slicer.vtkMRMLSegmentationNode, key: str) -> Ras | None:
    """Return a point in world RAS, mm, where an organ is worth looking at; None if it is not there.

    It lies inside the organ: in the plane in which most of it is, the voxel nearest to the middle.
    A centre of gravity may lie outside a bent organ.

    Raises
    ------
    InputError
        If the segmentation lies under a transform that bends space.
    """
    segment_id = organ_segment_ids(segmentationNode).get(key)
    segment = segmentationNode.GetSegmentation().GetSegment(segment_id) if segment_id else None
    image = segment.GetRepresentation(BINARY) if segment is not None else None
    if image is None or image.IsEmpty():
        return None
    voxels = image_voxels(image)
    areas = [np.count_nonzero(plane == segment.GetLabelValue()) for plane in voxels]
    plane = int(np.argmax(areas))
    if areas[plane] == 0:
        return None
    spots = np.argwhere(voxels[plane] == segment.GetLabelValue())
    y, x = spots[np.argmin(np.square(spots - spots.mean(axis=0)).sum(axis=1))]
    z0, y0, x0 = box_of(image).start
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    point = to_world(segmentationNode) @ as_array(matrix) @ (x + x0, y + y0, plane + z0, 1.0)
    right, anterior, superior = (float(mm) for mm in point[:3])
    return right, anterior, superior


def _table_of(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLTableNode:
    """Return the segmentation's table node, a new one if there is none."""
    node = table_node(segmentationNode)
    if node is None:
        scene = segmentationNode.GetScene()
        name = scene.GenerateUniqueName(f"{segmentationNode.GetName()} statistics")
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        segmentationNode.SetNodeReferenceID(TABLE_ROLE, node.GetID())
        place_beside(node, segmentationNode)
    return node


def _values(rows: Sequence[StatisticsRow]) -> Mapping[str, dict[str, float]]:
    """Return organ key -> measure -> value."""
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        values.setdefault(row.organ, {})[row.measure] = row.value
    return values


def _rounded(measure: str, value: float) -> float:
    """Return a value with its measure's decimals; NaN stays."""
    from flare_core.segment.statistics import MEASURES  # scipy; a panel opens without it

    decimals = {each.key: each.decimals for each in MEASURES}[measure]
    return value if math.isnan(value) else round(value, decimals)


def _add_numbers(
    node: slicer.vtkMRMLTableNode, title: str, values: Sequence[float], unit: str
) -> None:
    """Add a column of numbers with its unit."""
    column = vtk.vtkDoubleArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    node.AddColumn(column)
    if unit:
        node.SetColumnUnitLabel(title, UCUM.get(unit, unit))


def _add_texts(node: slicer.vtkMRMLTableNode, title: str, values: Sequence[str]) -> None:
    """Add a column of texts."""
    column = vtk.vtkStringArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    node.AddColumn(column)
