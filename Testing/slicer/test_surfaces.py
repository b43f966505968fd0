from __future__ import annotations

import numpy as np
import pytest
import vtk
from FLARESegLib.scene.result_segments import SURFACE
from FLARESegLib.scene.results import import_steps
from FLARESegLib.scene.segment_identity import organ_segment_ids, segment_ids
from FLARESegLib.scene.surfaces import show_3d, smoothing_of, surface_steps

import slicer
from scene_nodes import show_result

PLACES = {
    "usual": np.diag([-0.8, -0.9, 2.5, 1.0]),
    "left-handed": np.diag([0.8, -0.9, 2.5, 1.0]),
}


def surface(node, key):
    segment = node.GetSegmentation().GetSegment(organ_segment_ids(node)[key])
    return segment.GetRepresentation(SURFACE)


def volume_of(polydata):
    measures = vtk.vtkMassProperties()
    measures.SetInputData(polydata)
    return measures.GetVolume()


@pytest.mark.parametrize("place", PLACES)
def test_surfaces_are_those_of_slicers_own_conversion(add_volume, small_ct, place):
    array, labels = small_ct
    node = show_result(add_volume(array, PLACES[place]), labels)
    for _ in surface_steps(node):
        pass
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for key, number in organ_segment_ids(node).items():
        ours = surface(node, key)
        own = logic.CreateRepresentationForOneSegment(node.GetSegmentation(), number, SURFACE)
        assert ours.GetNumberOfPoints() == own.GetNumberOfPoints() > 0
        assert ours.GetBounds() == pytest.approx(own.GetBounds(), abs=1e-3)
        assert volume_of(ours) == pytest.approx(volume_of(own), rel=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_normals_point_outwards(add_volume, small_ct, place):
    array, labels = small_ct
    node = show_result(add_volume(array, PLACES[place]), labels)
    for _ in surface_steps(node):
        pass
    polydata = surface(node, "liver")
    middle = np.array(polydata.GetCenter())
    points = vtk.util.numpy_support.vtk_to_numpy(polydata.GetPoints().GetData())
    normals = vtk.util.numpy_support.vtk_to_numpy(polydata.GetPointData().GetNormals())
    outwards = np.einsum("ij,ij->i", points - middle, normals)
    assert (outwards > 0).mean() > 0.99


def test_an_organ_at_the_scans_edge_is_closed(add_volume, small_ct):
    array, labels = small_ct
    node = show_result(add_volume(array), np.where(labels >= 0, 1, 1).astype(np.uint8))
    for _ in surface_steps(node):
        pass
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(surface(node, "liver"))
    edges.BoundaryEdgesOn()
    edges.FeatureEdgesOff()
    edges.NonManifoldEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()
    assert edges.GetOutput().GetNumberOfCells() == 0


def test_a_persons_empty_segment_does_not_disturb(add_volume, small_ct):
    array, labels = small_ct
    node = show_result(add_volume(array), labels)
    own = node.GetSegmentation().AddEmptySegment("", "Mine")
    for _ in surface_steps(node):
        pass
    segments = [node.GetSegmentation().GetSegment(n) for n in segment_ids(node)]
    assert all(segment.GetRepresentation(SURFACE) is not None for segment in segments)
    empty = node.GetSegmentation().GetSegment(own).GetRepresentation(SURFACE)
    assert empty.GetNumberOfPoints() == 0


def test_a_segment_removed_or_edited_meanwhile_gets_no_old_surface(add_volume, small_ct, draw):
    array, labels = small_ct
    node = show_result(add_volume(array), labels)
    ids = organ_segment_ids(node)
    steps = surface_steps(node)
    next(steps)
    node.GetSegmentation().RemoveSegment(ids["spleen"])
    draw(node, ids["liver"], (labels == 1) & (np.indices(labels.shape)[0] < 5))
    for _ in steps:
        pass
    found = node.GetSegmentation().GetSegment(ids["liver"]).GetRepresentation(SURFACE)
    assert found is None or found.GetBounds()[5] < 6


def test_slicer_hears_of_surfaces_once_all_are_there(add_volume, small_ct):
    """Its 3D views make what is missing at once, and hold Qt up, as soon as the first is there."""
    array, labels = small_ct
    node = show_result(add_volume(array), labels)
    heard = []
    node.AddObserver(
        slicer.vtkSegmentation.SegmentModified,
        lambda *_: heard.append([surface(node, key) for key in organ_segment_ids(node)]),
    )
    for _ in surface_steps(node):
        pass
    assert len(heard) == 1 and None not in heard[0]


def test_stopped_early_no_surface_is_there_and_3d_makes_them(add_volume, small_ct):
    array, labels = small_ct
    node = show_result(add_volume(array), labels)
    assert smoothing_of(node) == 0.5
    steps = surface_steps(node)
    next(steps)
    steps.close()
    assert not node.GetSegmentation().ContainsRepresentation(SURFACE)
    show_3d(node)
    assert all(surface(node, key) is not None for key in organ_segment_ids(node))
    assert node.GetDisplayNode().GetVisibility3D()
    show_3d(node, visible=False)
    assert not node.GetDisplayNode().GetVisibility3D()


def test_running_again_makes_new_surfaces_of_those_that_were_there(add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array)
    node = show_result(volume, labels)
    for _ in surface_steps(node):
        pass
    before = surface(node, "liver").GetBounds()
    show_result(volume, np.roll(labels, 1, axis=0), segmentationNode=node)
    after = surface(node, "liver").GetBounds()
    assert after[4:] == pytest.approx((before[4] + 1, before[5] + 1), abs=0.01)


def test_surfaces_are_hidden_while_their_organs_change(add_volume, small_ct):
    """Slicer makes all of them at once at the first change else, which holds Qt for a second."""
    array, labels = small_ct
    volume = add_volume(array)
    node = show_result(volume, labels)
    show_3d(node)
    display = node.GetDisplayNode()
    hidden, *seen = segment_ids(node)
    display.SetSegmentVisibility3D(hidden, False)
    shown = {}
    for share in import_steps(volume, np.roll(labels, 1, axis=0), segmentationNode=node):
        shown.setdefault(share, display.GetVisibility3D())
    changing = [is_shown for share, is_shown in shown.items() if 0.6 < share < 0.98]
    assert changing and not any(changing)
    assert display.GetVisibility3D() and surface(node, "liver").GetNumberOfPoints()
    assert not display.GetSegmentVisibility3D(hidden)
    assert all(display.GetSegmentVisibility3D(number) for number in seen)


def test_a_stopped_run_shows_the_surfaces_that_were_shown(add_volume, small_ct):
    array, labels = small_ct
    volume = add_volume(array)
    node = show_result(volume, labels)
    show_3d(node)
    steps = import_steps(volume, np.roll(labels, 1, axis=0), segmentationNode=node)
    while node.GetDisplayNode().GetVisibility3D():
        next(steps)
    steps.close()
    assert node.GetDisplayNode().GetVisibility3D()
    show_3d(node, False)
    for _ in import_steps(volume, labels, segmentationNode=node):
        assert not node.GetDisplayNode().GetVisibility3D()
