from __future__ import annotations

import numpy as np
from FLARESegLib.scene import volumes
from FLARESegLib.scene.results import nodes_of, remove_result
from FLARESegLib.scene.segment_identity import organ_segment_ids, segment_ids

import slicer
from scene_nodes import show_result

PLACE = np.array(
    [[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]], dtype=float
)
"""A usual CT: axes towards left, posterior, superior."""


def export(node, volume, scene):
    """The label map that Slicer exports, as its Segmentations module does."""
    import vtk

    target = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "export")
    ids = vtk.vtkStringArray()
    for number in segment_ids(node):
        ids.InsertNextValue(number)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    colours = node.GetLabelmapConversionColorTableNode()
    assert logic.ExportSegmentsToLabelmapNode(node, ids, target, volume, extent, colours)
    return volumes.voxels(target)


def test_slicers_own_export_has_the_organ_ids_in_any_order(add_volume, small_ct, scene, draw):
    array, labels = small_ct
    volume = add_volume(array, PLACE)
    node = show_result(volume, labels)
    assert np.array_equal(export(node, volume, scene), labels)
    segmentation = node.GetSegmentation()
    ids = organ_segment_ids(node)
    segmentation.RemoveSegment(ids["liver"])
    again = segmentation.AddEmptySegment("", "Liver")
    draw(node, again, labels == 1)
    segmentation.ReorderSegments([ids["left_kidney"]], ids["right_kidney"])
    segmentation.GetSegment(ids["spleen"]).SetName("Milz")
    assert np.array_equal(export(node, volume, scene), labels)


def test_all_results_share_one_colour_table(add_volume, small_ct, scene):
    array, labels = small_ct
    nodes = [show_result(add_volume(array, PLACE), labels) for _ in range(2)]
    (table,) = nodes_of(scene, "vtkMRMLColorTableNode")
    assert table.GetNumberOfColors() == 15
    assert table.GetColorName(6) == "Inferior vena cava"
    remove_result(nodes[0])
    assert nodes_of(scene, "vtkMRMLColorTableNode") == [table]
    remove_result(nodes[1])
    assert nodes_of(scene, "vtkMRMLColorTableNode") == []
