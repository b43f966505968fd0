"""What is left of a result after saving and loading: as a scene, and as a segmentation file."""

from __future__ import annotations

import numpy as np
import pytest
from FLARESegLib.correction.corrections import changes, current_labels
from FLARESegLib.correction.submission import submit
from FLARESegLib.scene import volumes
from FLARESegLib.scene.kept_output import KEPT_ROLE, kept_output
from FLARESegLib.scene.results import nodes_of, result_facts, result_of
from FLARESegLib.scene.segment_identity import identify, organ_segment_ids
from FLARESegLib.scene.volumes import finish
from FLARESegLib.statistics.chart import chart_steps
from FLARESegLib.statistics.nodes import statistics_table, table_node

import slicer
from flare_core.anatomy.organs import ORGANS, organ
from flare_core.cases.store import open_store
from flare_core.imaging.files import read_labels, read_volume
from flare_core.segment.statistics import organ_statistics
from scene_nodes import show_result

PLACE = np.array(
    [[-0.8, 0, 0, 100], [0, -0.9, 0, 120], [0, 0, 2.5, -40], [0, 0, 0, 1]], dtype=float
)
FACTS = {"model": "default", "settings": {"note": "a: \"b\"; c = <d> & 'ü'"}}


@pytest.fixture
def result(add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array, PLACE, "CT")
    return volume, show_result(volume, labels, facts=FACTS), labels


@pytest.fixture
def other_scene():
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    yield scene
    scene.Clear(1)


def saved_and_loaded(scene, other, path):
    """The scene as an .mrb, read into another scene."""
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    folder = path.with_suffix("")
    folder.mkdir()
    assert application.SaveSceneToSlicerDataBundleDirectory(str(folder), None)
    (mrml,) = folder.glob("*.mrml")
    other.SetURL(str(mrml))
    other.SetRootDirectory(str(folder))
    assert other.Import()


def test_a_saved_scene_has_everything_a_correction_needs(
    result, scene, other_scene, tmp_path, draw
):
    volume, node, labels = result
    grown = ((labels == 3) | (np.roll(labels, 1, axis=2) == 3)).astype(np.uint8)
    draw(node, organ_segment_ids(node)["spleen"], grown)
    before = changes(node)
    edited = current_labels(node, volume).array
    rows = organ_statistics(volumes.node_volume(volume), current_labels(node, volume), ORGANS)
    statistics_table(node, rows)
    finish(chart_steps(node, rows))
    saved_and_loaded(scene, other_scene, tmp_path / "scene.mrb")
    (again,) = nodes_of(other_scene, "vtkMRMLSegmentationNode")
    ct = other_scene.GetFirstNodeByName("CT")
    assert result_of(ct) is again
    assert result_facts(again) == result_facts(node)
    assert np.array_equal(current_labels(again, ct).array, edited)
    assert np.array_equal(kept_output(again).whole(), labels)
    assert again.GetNodeReference(KEPT_ROLE).GetHideFromEditors()
    assert changes(again) == before
    table = table_node(again).GetTable()
    names = table.GetColumnByName("Organ")
    assert [names.GetValue(n) for n in range(names.GetNumberOfTuples())] == [
        target.name for target in ORGANS
    ]
    assert table.GetColumnByName("Volume [mL]").IsNumeric()
    assert table_node(again).GetColumnUnitLabel("Volume [mL]") == "mL"
    assert len(nodes_of(other_scene, "vtkMRMLPlotChartNode")) == 1


def test_running_again_after_loading_updates_what_was_loaded(
    result, scene, other_scene, tmp_path, small_ct
):
    saved_and_loaded(scene, other_scene, tmp_path / "scene.mrb")
    ct = other_scene.GetFirstNodeByName("CT")
    moved = np.roll(small_ct[1], 1, axis=0)
    node = show_result(ct, moved, segmentationNode=result_of(ct))
    assert len(nodes_of(other_scene, "vtkMRMLSegmentationNode")) == 1
    assert len(nodes_of(other_scene, "vtkMRMLLabelMapVolumeNode")) == 1
    assert np.array_equal(current_labels(node, ct).array, moved)
    assert np.array_equal(kept_output(node).whole(), moved)


def test_a_segmentation_file_keeps_names_codes_and_values(result, scene, tmp_path):
    volume, node, labels = result
    path = tmp_path / "organs.seg.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
    assert storage.ReadData(loaded)
    found = identify(loaded)
    assert list(found.segments) == ["liver", "right_kidney", "spleen", "left_kidney"]
    assert found.doubts == ()
    for key, number in found.segments.items():
        segment = loaded.GetSegmentation().GetSegment(number)
        assert segment.GetLabelValue() == organ(key).id
        assert segment.GetName() == organ(key).name
    assert np.array_equal(current_labels(loaded, volume).array, labels)


def test_a_real_ct_as_slicer_loads_it_and_back(scene, real_data, tmp_path):
    path = real_data / "ct" / "hcc009thick.nii.gz"
    truth = read_labels(real_data / "labels" / path.name)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(volume)
    volume.SetAndObserveStorageNodeID(storage.GetID())
    read = read_volume(path)
    ours = volumes.node_volume(volume)
    # Slicer may store the axes in another order than the file: compare in the body's own.
    straight, expected = ours.canonical()[0], read.canonical()[0]
    assert straight.geometry.same_grid(expected.geometry, tolerance_mm=1e-2)
    assert np.array_equal(straight.array, expected.array)
    axis_map = ours.geometry.canonical_map()
    labels = np.ascontiguousarray(axis_map.undo(truth.canonical()[0].array))
    node = show_result(volume, labels)
    assert np.array_equal(current_labels(node, volume).array, labels)
    rows = organ_statistics(ours, current_labels(node, volume), ORGANS)
    reference = organ_statistics(read, truth, ORGANS)
    for row, wanted in zip(rows, reference, strict=True):
        assert row.value == pytest.approx(wanted.value, rel=1e-3, nan_ok=True), (row, wanted)
    version = submit(tmp_path / "store", node, organ_segment_ids(node), author="Ada", patient="P1")
    with open_store(tmp_path / "store") as store:
        assert store.case(version.case).image.read_bytes() == path.read_bytes()
